"""Split conformal prediction: answers that hold the target as often as they say, whatever the model.

The promise is marginal: over calibration rows and a new row that come from the same source in any order, the answer
holds the target with at least the stated probability. It says nothing of a single row, nor of rows from elsewhere.

Where a unit (an image, a patient) has several scores, units are exchangeable and scores are not. The promise is then of
a new unit's share of targets that are held, on average: conformal risk control with the share that is missed as the
loss (Angelopoulos et al. 2024), which for one score a unit is split conformal prediction.

References:
    Lei et al. 2018, Distribution-Free Predictive Inference for Regression, https://arxiv.org/abs/1604.04173
    Romano, Patterson & Candes 2019, Conformalized Quantile Regression, https://arxiv.org/abs/1905.03222
    Angelopoulos, Bates, Fisch, Lei & Schuster 2024, Conformal Risk Control, https://arxiv.org/abs/2208.02814
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "factor_for",
    "interval",
    "quantile_interval",
    "quantile_scores",
    "largest_coverage",
    "least_rows",
    "scaled_scores",
    "thin",
]

Array = NDArray[np.float64]
TINY = 1e-12


def scaled_scores(targets: NDArray[Any], mean: NDArray[Any], variance: NDArray[Any]) -> Array:
    """How many predictive standard deviations each target lies from its mean (Lei et al. 2018, section 5.2).

    Args:
        targets: Shape (B, ...).
        mean: Of the same shape.
        variance: The predictive variance, of the same shape.
    """
    scores: Array = np.abs(np.asarray(targets, np.float64) - mean) / _deviation(variance)
    return scores


def interval(mean: NDArray[Any], variance: NDArray[Any], factor: float | NDArray[Any]) -> tuple[Array, Array]:
    """The mean ± factor predictive standard deviations: wider where the model is less sure.

    Args:
        mean: Shape (B, ...).
        variance: The predictive variance, of the same shape.
        factor: From `factor_for`; one for all, or one for each output, shape (...).
    """
    half = np.asarray(factor, np.float64) * _deviation(variance)
    centre = np.asarray(mean, np.float64)
    return centre - half, centre + half


def quantile_scores(targets: NDArray[Any], lower: NDArray[Any], upper: NDArray[Any]) -> Array:
    """How far each target lies outside its interval, less than 0 inside (Romano, Patterson & Candes 2019).

    Args:
        targets: Shape (B, ...).
        lower: The lower quantile, of the same shape.
        upper: The upper one.
    """
    truth = np.asarray(targets, np.float64)
    scores: Array = np.maximum(lower - truth, truth - upper)
    return scores


def quantile_interval(lower: NDArray[Any], upper: NDArray[Any], factor: float | NDArray[Any]) -> tuple[Array, Array]:
    """The quantiles moved apart by the factor, or together where it is below 0; where they would cross, their middle.

    Args:
        lower: The lower quantile, (B, ...).
        upper: The upper one, of the same shape.
        factor: From `factor_for` of `quantile_scores`; one for all, or one for each output, shape (...).
    """
    ends = np.asarray(lower, np.float64) - factor, np.asarray(upper, np.float64) + factor
    middle = (ends[0] + ends[1]) / 2
    return np.minimum(ends[0], middle), np.maximum(ends[1], middle)


def factor_for(scores: NDArray[Any], coverage: float, *, rows: int | None = None) -> Array:
    """The bound that a new score keeps with that probability: the ceil((n + 1) coverage)-th smallest of n scores.

    Of units with several scores it is the least that a share (n + 1) coverage / n of each unit's scores keeps, on
    average over the units.

    Args:
        scores: Scores of calibration rows, sorted, shape (M, ...): all n of them, or as `thin` leaves them.
        coverage: In (0, 1).
        rows: n, the number of units, where `scores` were thinned.

    Returns:
        Shape (...).

    Raises:
        ValueError: `coverage` lies outside (0, 1), or there are too few rows for it.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"expected a coverage between 0 and 1, both left out, received {coverage}")
    kept = np.asarray(scores, np.float64)
    count = len(kept) if rows is None else rows
    if count < least_rows(coverage):
        raise ValueError(
            f"a coverage of {coverage:g} needs {least_rows(coverage)} or more calibration rows, there are {count}; ask "
            "for less, or calibrate with more"
        )
    # A hair less, so that 0.9 of 9 + 1 rows is the 9th whatever 0.9 * 10 rounds to.
    place = math.ceil((count + 1) * coverage / count * len(kept) - 1e-9)
    return np.asarray(kept[max(1, place) - 1])


def least_rows(coverage: float) -> int:
    """Calibration rows from which intervals of this coverage are finite."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def largest_coverage(rows: int) -> float:
    """The largest coverage that so many rows can promise: n / (n + 1)."""
    return rows / (rows + 1)


def thin(scores: NDArray[Any], most: int, units: NDArray[np.int64] | None = None) -> Array:
    """Sorted scores, at most `most` of them; those between are given up upwards, so that no coverage falls.

    The k-th of K is the least that a share k / K of the scores keep; of units with several scores, a share of each
    unit's scores on average over the units.

    Args:
        scores: Shape (n, ...), in any order.
        most: At least 1.
        units: The unit of each score, (n,), from 0 on; None where each is its own.

    Returns:
        Shape (K, ...), sorted, the largest always among them; K is `most`, or n where n is less and each score is its
        own unit.
    """
    values = np.asarray(scores, np.float64)
    if units is None or len(np.unique(units)) == len(units):
        ordered, kept = np.sort(values, axis=0), min(most, len(values))
        ranks = -(-np.arange(1, kept + 1, dtype=np.int64) * len(values) // kept)
        return np.asarray(ordered[ranks - 1])
    sizes = np.bincount(units)
    weights = 1.0 / (sizes[units] * np.count_nonzero(sizes))
    levels = np.arange(1, most + 1) / most - 1e-9
    columns = []
    for column in values.reshape(len(values), -1).T:
        order = np.argsort(column)
        places = np.searchsorted(np.cumsum(weights[order]), levels)
        columns.append(column[order][np.minimum(places, len(order) - 1)])
    return np.stack(columns, axis=1).reshape(most, *values.shape[1:])


def _deviation(variance: NDArray[Any]) -> Array:
    deviation: Array = np.sqrt(np.maximum(np.asarray(variance, np.float64), TINY**2))
    return deviation
