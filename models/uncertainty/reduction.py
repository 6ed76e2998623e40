"""Answers that are maps, reduced to a few numbers for each row: over all positions, a box of them, or some classes.

Passes come first: each pass of the output is reduced by itself, so that the variance of the reduced value is that of a
region as a whole, whose positions err together. It is not the mean of the variances of its positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from thinned.models.card import OutputSpec
from thinned.models.uncertainty.answer import OutputAnswer
from thinned.models.uncertainty.members import parts_of_passes

__all__ = ["MAPS", "Box", "Reduced", "Reduction", "has_positions", "reduce_output"]

Array: TypeAlias = npt.NDArray[np.float64]
Box: TypeAlias = tuple[tuple[int, int], ...]
MAPS = ("predictive_entropy", "expected_entropy", "mutual_information", "variance")
"""What of an answer is reduced, beside the values themselves."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """How a map becomes a number.

    `by` is "mean", "maximum", or the level of a quantile. `box` holds, for each axis of positions, the first position
    and the one behind the last; `classes` the numbers of the classes whose positions count, as the mean over passes has
    them. None for all.
    """

    by: Literal["mean", "maximum"] | float = "mean"
    box: Box | None = None
    classes: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Reduced:
    """What a reduction gives of one output, for B rows.

    `positions` (B,) counts the positions of the region. `mean`, `variance` (ddof=1) and `standard_error` are those of
    the reduced values of S passes, (B, C): the error is sqrt(variance / S), too large for stratified passes; of an
    ensemble the variance within members alone tells it. `maps`
    holds the reduced maps by name: entropies (B,), the variance (B, C). All is NaN where a region has no positions.
    """

    positions: npt.NDArray[np.int64]
    mean: Array
    variance: Array
    standard_error: Array
    maps: dict[str, Array]


def has_positions(spec: OutputSpec) -> bool:
    """Whether an output has several positions in a row: an image, a map, a sequence."""
    return len(spec.shape) >= 2


def reduce_output(answer: OutputAnswer, passes: npt.NDArray[Any], reduction: Reduction, *, members: int = 1) -> Reduced:
    """Reduce what an answer says of one output that has positions.

    Args:
        answer: What its passes say, position by position.
        passes: The passes, (S, B, *positions, C).
        reduction: How.
        members: Of an ensemble, whose passes these are, pass by pass: S is that of all.
    """
    chosen = _region(answer, passes.shape[1:-1], reduction)
    values = _reduced(passes, chosen, reduction.by)
    if members == 1:
        variance = within = values.var(axis=0, ddof=1)
    else:
        within, between = parts_of_passes(values, members)
        variance = within + between
    found = {name: getattr(answer, name) for name in MAPS}
    return Reduced(
        positions=chosen.reshape(len(chosen), -1).sum(axis=1),
        mean=values.mean(axis=0),
        variance=variance,
        standard_error=np.sqrt(within / len(values)),
        maps={
            name: _reduced(array[np.newaxis], chosen, reduction.by)[0]
            for name, array in found.items()
            if array is not None
        },
    )


def _region(answer: OutputAnswer, shape: tuple[int, ...], reduction: Reduction) -> npt.NDArray[np.bool_]:
    """Which positions count, (B, *positions)."""
    chosen = np.zeros(shape, bool)
    box = reduction.box or tuple((0, length) for length in shape[1:])
    chosen[(slice(None), *(slice(start, end) for start, end in box))] = True
    if reduction.classes is not None and answer.likeliest is not None:
        chosen &= np.isin(answer.likeliest, reduction.classes)
    return chosen


def _reduced(arrays: npt.NDArray[Any], chosen: npt.NDArray[np.bool_], by: Literal["mean", "maximum"] | float) -> Array:
    """(S, B, *positions) to (S, B), or (S, B, *positions, C) to (S, B, C); a row at a time, in float64."""
    empty = np.full((len(arrays), *arrays.shape[1 + chosen.ndim :]), np.nan)
    rows = [arrays[:, row, here].astype(np.float64) for row, here in enumerate(chosen)]
    return np.stack([_number(row, by) if row.shape[1] else empty for row in rows], axis=1)


def _number(positions: Array, by: Literal["mean", "maximum"] | float) -> Array:
    """(S, P, ...) to (S, ...)."""
    if by == "mean":
        return np.asarray(positions.mean(axis=1))
    if by == "maximum":
        return np.asarray(positions.max(axis=1))
    return np.asarray(np.quantile(positions, float(by), axis=1))
