"""The results of a sweep as one JSON document, whose schema is `results.schema.json` beside this module."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thinned.loadtest.sweep.plan import Cell
from thinned.loadtest.sweep.record import Run
from thinned.loadtest.sweep.summary import add_speed_ups, fit, summarise

__all__ = ["FORMAT_VERSION", "SCHEMA", "assemble", "name_of", "read", "write"]

FORMAT_VERSION = 1
SCHEMA = Path(__file__).with_name("results.schema.json")

MET, MISSED, NONE = "met", "missed", "none"


def assemble(
    runs: Mapping[Cell, Sequence[Run]],
    *,
    about: Mapping[str, Any],
    slo: Mapping[str, float],
    precision: Mapping[str, Any] | None,
    ceilings: Sequence[Mapping[str, Any]],
    interrupted: str | None,
) -> dict[str, Any]:
    """The document, but for its recommendation.

    Args:
        runs: What was measured, by cell; cells that were not are left out.
        about: `run`, `model` and `settings`.
        slo: Limits on percentiles, in ms.
        precision: The Monte Carlo error by sample count, if it was measured.
        ceilings: The largest rates that met the limits.
        interrupted: Where it ended early: how far it had come.
    """
    cells = [summarise(cell, done, slo) for cell, done in runs.items() if done]
    add_speed_ups(cells)
    targets = dict.fromkeys(cell["target"] for cell in cells)
    return {
        "format": "thinned-load",
        "format_version": FORMAT_VERSION,
        "partial": interrupted is not None,
        "partial_reason": interrupted,
        **about,
        "cells": cells,
        "fits": [line for target in targets if (line := fit(cells, target))],
        "precision": precision,
        "largest_rates": list(ceilings),
        "slo_ms": dict(slo),
        "verdict": _verdict(cells, slo),
        "recommendation": None,
    }


def write(results: Mapping[str, Any], folder: Path, runs: Mapping[Cell, Sequence[Run]] | None = None) -> None:
    """Writes `results.json`, and every latency as it was measured to `latencies.npz`."""
    text = json.dumps(_rounded(results), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    if runs:
        arrays = {
            f"{cell.name} #{run.repeat}": run.latencies_ms.astype(np.float32)
            for cell, done in runs.items()
            for run in done
        }
        np.savez_compressed(folder / "latencies.npz", **arrays)


def read(path: Path) -> dict[str, Any]:
    """Reads results.

    Raises:
        ValueError: It is no file of results that this version can read.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected the results.json of a sweep ({error})") from error
    if not isinstance(document, dict) or document.get("format") != "thinned-load":
        raise ValueError(f"{path}: expected the results.json of a sweep, this is another document")
    if document["format_version"] != FORMAT_VERSION:
        was = document["format_version"]
        raise ValueError(f"{path}: expected results of format version {FORMAT_VERSION}, received {was}")
    return document


def name_of(cell: Mapping[str, Any]) -> str:
    """A cell of the results in words."""
    return Cell(cell["target"], cell["n_samples"], cell["rows"], cell["clients"], cell["rate"]).name


def _verdict(cells: Sequence[Mapping[str, Any]], slo: Mapping[str, float]) -> str:
    """Over all cells of the service: a failure is a miss whether limits were set or not."""
    own = [cell for cell in cells if cell["target"] == "service"]
    if any(cell["errors"] for cell in own) or any(not cell["answers"] for cell in own):
        return MISSED
    if not slo or not own:
        return NONE
    return MET if all(limit["met"] for cell in own for limit in cell["slo"].values()) else MISSED


def _rounded(value: Any) -> Any:
    """Six significant digits: what is beyond them no clock here can tell."""
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
