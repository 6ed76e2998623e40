"""A run of `thinned score`: the model, the data, what is asked, and where to; what makes two runs the same one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thinned.models.card import ModelCard
from thinned.models.errors import NoSitesError
from thinned.models.run_facts import versions
from thinned.models.storage.stored_model import StoredModel
from thinned.service.cli.scoring.addresses import digest_of
from thinned.service.cli.scoring.data_set import DataSet
from thinned.service.schema.request_fields import SampleRequest, read_predict_mc
from thinned.service.settings import Settings

__all__ = ["NO_LIMIT", "Run", "checked_request", "rows_of_part", "run_versions"]

_PACKAGES = ("tensorflow", "keras", "numpy")
NO_LIMIT = 2**63
_LIMITS = ("max_rows", "max_length", "max_row_passes", "max_returned_numbers", "max_timeout_ms")
_MOST_SAMPLES = 2**31 - 1

_ROW_PASSES = 1 << 22
_ROWS = 1 << 16
_BYTES = 1 << 28
_BYTES_OF_A_VALUE = 80
"""Of a number of an input while it is a value of Python."""
_NUMBERS_OF_AN_OUTPUT = 20
"""Arrays of the shape of an output while an answer is made."""


@dataclass(frozen=True)
class Run:
    """All that a process needs to score parts of a run.

    Args:
        tag: Of the model, NAME:VERSION.
        sha256: Digest of its file.
        data: The data set.
        asked: Fields of `/predict_mc` but its inputs: n_samples, seed and so on.
        folder: Where parts are written.
        key: The column that names rows; None where their number does.
        versions: Of the packages that answers depend on.
        identity: What is the same for every part, and differs between runs whose parts do not belong together.
    """

    tag: str
    sha256: str
    data: DataSet
    asked: Mapping[str, Any]
    folder: Path
    key: str | None
    versions: str
    identity: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        stored: StoredModel,
        data: DataSet,
        asked: Mapping[str, Any],
        folder: Path,
        *,
        part_rows: int,
        key: str | None,
    ) -> Run:
        """The run that scores a data set with a model, as asked."""
        identity = {
            "model": stored.tag,
            "sha256": stored.card.sha256,
            "input": digest_of(data.files),
            "columns": list(data.inputs),
            "key": key,
            **asked,
            "part_rows": part_rows,
            "rows": data.rows,
            "versions": run_versions(),
        }
        return cls(stored.tag, stored.card.sha256, data, asked, folder, key, run_versions(), identity)


def checked_request(stored: StoredModel, asked: Mapping[str, Any]) -> SampleRequest:
    """The request that every row is answered as, checked as the service checks it, but for the limits of a service.

    Args:
        stored: The model.
        asked: Fields of `/predict_mc`.

    Returns:
        The request, with made-up rows.

    Raises:
        NoSitesError: The model draws no noise.
        InputError: A field is wrong.
        CalibrationError: The model is not calibrated for what is asked.
    """
    card = stored.card
    if not card.has_passes:
        raise NoSitesError(
            f"{stored.tag} draws no noise, so its variance over passes would be 0; thinned predict gives its "
            "deterministic answers"
        )
    settings = Settings.read().model_copy(update={**dict.fromkeys(_LIMITS, NO_LIMIT), "max_samples": _MOST_SAMPLES})
    typical = {spec.name: [card.recipe(spec).typical_row] for spec in card.inputs}
    return read_predict_mc({"inputs": typical, **asked}, card, settings)


def rows_of_part(card: ModelCard, request: SampleRequest) -> int:
    """Rows of a part: some seconds of work, within some hundred MiB. It follows from card and request alone.

    Args:
        card: The model's.
        request: What is asked of each row.
    """
    inputs = sum(np.prod([n or 256 for n in spec.shape], dtype=np.int64) for spec in card.inputs)
    outputs = sum(np.prod([n or 256 for n in spec.shape], dtype=np.int64) for spec in card.outputs)
    kept = request.kept_passes * outputs * 4 * 3 if request.needs_passes else 0
    row_bytes = inputs * _BYTES_OF_A_VALUE + outputs * 8 * _NUMBERS_OF_AN_OUTPUT + kept
    most = min(_ROWS, _ROW_PASSES // request.n_samples, _BYTES // int(row_bytes))
    return int(most // 1024 * 1024 if most > 1024 else max(1, most))


def run_versions() -> str:
    """Those of the packages that answers depend on."""
    return versions(_PACKAGES)
