"""What tells rows unlike the calibration rows: by which features, next to which rows, and how far such rows lie."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thinned.models.calibration.fitted import SEED, now
from thinned.models.card import ModelCard, OodReference
from thinned.models.errors import CalibrationError
from thinned.models.uncertainty.folds import Units
from thinned.models.uncertainty.nearest_rows import NearestRows

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["FittedOod", "fit_ood"]

SHARE = 2
"""One row in two is a reference: neighbours need more rows than a temperature does."""
MOST_REFERENCES = 2000
MOST_SCORED = 10_000
ROWS = 256
"""Rows whose features are held at a time."""
_NUMBERS = 1 << 28  # of all reference rows together
Inputs = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class FittedOod:
    """What the card says, and the file that it is of."""

    card: OodReference
    content: bytes


def fit_ood(
    model: StochasticModel,
    card: ModelCard,
    inputs: Inputs,
    *,
    groups: npt.NDArray[Any] | None = None,
    reference: Inputs | None = None,
) -> FittedOod:
    """Fit what tells unlike rows.

    Args:
        model: The model.
        card: Its card.
        inputs: Calibration rows, by input name.
        groups: For each row what it belongs to, (B,), where rows are not exchangeable but groups of them are.
        reference: Rows to look for neighbours among, such as those of the training; those that are calibration rows
            too are left out. By default a half of the calibration rows, and the other half is scored.

    Raises:
        CalibrationError: The rows of this model cannot be compared, or no reference is left; says why.
        InputError: The model refuses the values.
    """
    from thinned.models.dropout.prefix_features import prefix_features

    told = prefix_features(model, card.inputs, card.split.frontier)

    def features(rows: Inputs, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return told.of(model.prefix({name: x[chosen] for name, x in rows.items()}))

    rows = len(next(iter(inputs.values())))
    units = Units.of_rows(rows) if groups is None else Units.of_groups(groups)
    if reference is None:
        fits, scored = units.parted(SEED, SHARE)
        reference, near, far = inputs, np.flatnonzero(fits), np.flatnonzero(~fits)
    else:
        near, far, scored = _none_of(inputs, reference, model), np.arange(rows), units
    draw = np.random.default_rng(SEED)
    near = draw.permutation(near)[: min(MOST_REFERENCES, max(1, _NUMBERS // told.numbers))]
    kept = np.isin(scored.of, draw.permutation(scored.count)[: _most_units(scored)])
    known = features(reference, near)
    fitted = NearestRows.of(known, told.scale(known), seed=SEED)
    pieces = np.array_split(far[kept], -(-int(kept.sum()) // ROWS))
    distances = np.concatenate([fitted.answer(features(inputs, piece)).score for piece in pieces])
    fitted = fitted.compared_with(distances, scored.of[kept])
    content = fitted.to_bytes()
    said = OodReference(
        created=now(),
        reference=len(fitted.reference),
        n=fitted.units,
        counted=scored.counted,
        tensors=told.names,
        numbers=told.numbers,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return FittedOod(said, content)


def _none_of(inputs: Inputs, reference: Inputs, model: StochasticModel) -> npt.NDArray[np.int64]:
    """The numbers of the reference rows that are no calibration rows, which would lie at no distance from themselves.

    Raises:
        CalibrationError: All of them are.
    """
    known = set(_keys(model.flat(inputs)))
    others = np.flatnonzero([key not in known for key in _keys(model.flat(reference))])
    if not len(others):
        raise CalibrationError(
            "every row of --reference is among the calibration rows, which would lie at no distance from it; give "
            "other rows, such as those of the training, or leave --reference out"
        )
    return others


def _keys(arrays: list[npt.NDArray[Any]]) -> list[tuple[Any, ...]]:
    """What is the same for the same row."""
    columns = [[repr(x.tolist()) if array.dtype == object else x.tobytes() for x in array] for array in arrays]
    return list(zip(*columns, strict=True))


def _most_units(units: Units) -> int:
    """How many units have about as many rows as are kept at most."""
    return max(1, units.count * MOST_SCORED // max(MOST_SCORED, len(units.of)))
