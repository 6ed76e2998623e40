"""The results of a sweep as one JSON document, described by `results.schema.json` beside this module."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thinned.loadtest.sweep.plan import Cell
from thinned.loadtest.sweep.record import Measurement
from thinned.loadtest.sweep.summary import add_speed_ups, fit_latency, summarise_cell

__all__ = ["FORMAT_VERSION", "MISSED", "SCHEMA", "Results", "assemble", "cell_name", "read_results", "write_results"]

Results = Mapping[str, Any]
"""The document, decoded."""

FORMAT_VERSION = 1
SCHEMA = Path(__file__).with_name("results.schema.json")

MET, MISSED, NONE = "met", "missed", "none"


def assemble(
    measurements: Mapping[Cell, Sequence[Measurement]],
    *,
    about: Mapping[str, Any],
    slo: Mapping[str, float],
    precision: Mapping[str, Any] | None,
    largest_rates: Sequence[Mapping[str, Any]],
    interrupted: str | None,
) -> dict[str, Any]:
    """Put the document together, without its recommendation.

    Args:
        measurements: By cell; cells without any are left out.
        about: The document's `run`, `model` and `settings`.
        slo: Limits on percentiles, in ms.
        precision: The Monte Carlo error at each sample count, if it was measured.
        largest_rates: The largest rates that met the limits.
        interrupted: How far the sweep came, in words, if it was interrupted.
    """
    cells = [summarise_cell(cell, done, slo) for cell, done in measurements.items() if done]
    add_speed_ups(cells)
    targets = dict.fromkeys(cell["target"] for cell in cells)
    return {
        "format": "thinned-load",
        "format_version": FORMAT_VERSION,
        "partial": interrupted is not None,
        "partial_reason": interrupted,
        **about,
        "cells": cells,
        "fits": [line for target in targets if (line := fit_latency(cells, target))],
        "precision": precision,
        "largest_rates": list(largest_rates),
        "slo_ms": dict(slo),
        "verdict": _verdict(cells, slo),
        "recommendation": None,
    }


def write_results(
    results: Results, folder: Path, measurements: Mapping[Cell, Sequence[Measurement]] | None = None
) -> None:
    """Write `results.json`, and all latencies in milliseconds to `latencies.npz`.

    Args:
        results: The document.
        folder: An existing folder.
        measurements: By cell; without them there is no `latencies.npz`.
    """
    text = json.dumps(_rounded(results), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    if measurements:
        arrays = {
            f"{cell.name} #{one.repeat}": one.latencies_ms.astype(np.float32)
            for cell, done in measurements.items()
            for one in done
        }
        np.savez_compressed(folder / "latencies.npz", **arrays)


def read_results(path: Path) -> dict[str, Any]:
    """Read a `results.json`.

    Raises:
        ValueError: The file cannot be read, is another document, or has another format version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected the results.json of a sweep ({error})") from error
    if not isinstance(document, dict) or document.get("format") != "thinned-load":
        raise ValueError(f"{path}: expected the results.json of a sweep, this is another document")
    if document["format_version"] != FORMAT_VERSION:
        received = document["format_version"]
        raise ValueError(f"{path}: expected results of format version {FORMAT_VERSION}, received {received}")
    return document


def cell_name(cell: Mapping[str, Any]) -> str:
    """Name of an entry of `cells` in words, as `Cell.name` gives it."""
    return Cell(cell["target"], cell["n_samples"], cell["rows"], cell["clients"], cell["rate"]).name


def _verdict(cells: Sequence[Mapping[str, Any]], slo: Mapping[str, float]) -> str:
    """Whether the service met the limits in all its cells. A failed request is a miss, also without limits."""
    own = [cell for cell in cells if cell["target"] == "service"]
    if any(cell["errors"] for cell in own) or any(not cell["answers"] for cell in own):
        return MISSED
    if not slo or not own:
        return NONE
    return MET if all(limit["met"] for cell in own for limit in cell["slo"].values()) else MISSED


def _rounded(value: Any) -> Any:
    """Round floats to six significant digits, beyond the resolution of the clocks; None for what is not finite."""
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
