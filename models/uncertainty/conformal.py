"""Split conformal prediction: intervals and sets that hold the target as often as they say, whatever the model.

The promise is marginal: over calibration rows and a new row that come from the same source in any order, the answer
holds the target with at least the stated probability. It says nothing of a single row, nor of rows from elsewhere.

References:
    Lei et al. 2018, Distribution-Free Predictive Inference for Regression, https://arxiv.org/abs/1604.04173
    Sadinle, Lei & Wasserman 2019, Least Ambiguous Set-Valued Classifiers with Bounded Error Levels,
    https://arxiv.org/abs/1609.00451
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["class_scores", "factor_for", "interval", "least_rows", "prediction_set", "scaled_scores", "thin"]

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


def class_scores(probs: NDArray[Any], labels: NDArray[Any]) -> Array:
    """One less the probability of the true class (Sadinle, Lei & Wasserman 2019), the score behind `prediction_set`.

    Args:
        probs: Probabilities, shape (B, C).
        labels: The true classes, integers, shape (B,).
    """
    values = np.asarray(probs, np.float64)
    scores: Array = 1.0 - values[np.arange(len(values)), np.asarray(labels, np.int64)]
    return scores


def prediction_set(probs: NDArray[Any], factor: float) -> NDArray[np.bool_]:
    """Which classes are as probable as the stated share of true classes was.

    No other sets of this coverage hold fewer classes on average. A set may be empty: at a coverage below the model's
    accuracy, that marks the rows that are unlike the rest.

    Args:
        probs: Probabilities, shape (B, C).
        factor: From `factor_for`.

    Returns:
        Booleans of the same shape.
    """
    members: NDArray[np.bool_] = 1.0 - np.asarray(probs, np.float64) <= factor
    return members


def factor_for(scores: NDArray[Any], coverage: float, *, rows: int | None = None) -> Array:
    """The ceil((n + 1) coverage)-th smallest score: the bound that a new score keeps with that probability.

    Args:
        scores: Scores of calibration rows, sorted, shape (M, ...): all n of them, or as `thin` leaves them.
        coverage: In (0, 1).
        rows: n, where `scores` were thinned.

    Returns:
        Shape (...).

    Raises:
        ValueError: `coverage` lies outside (0, 1), or there are too few rows for it.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"expected a coverage between 0 and 1, both left out, received {coverage}")
    kept = np.asarray(scores, np.float64)
    count = len(kept) if rows is None else rows
    # A hair less, so that 0.9 of 9 + 1 rows is the 9th whatever 0.9 * 10 rounds to.
    rank = math.ceil((count + 1) * coverage - 1e-9)
    if rank > count:
        raise ValueError(
            f"a coverage of {coverage:g} needs {least_rows(coverage)} or more calibration rows, there are {count}; ask "
            "for less, or calibrate with more"
        )
    ranks = _ranks(count, len(kept))
    return np.asarray(kept[int(np.searchsorted(ranks, rank))])


def least_rows(coverage: float) -> int:
    """Calibration rows from which intervals of this coverage are finite."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def thin(scores: NDArray[Any], most: int) -> Array:
    """Sorted scores, at most `most` of them; those between are given up upwards, so that no coverage falls.

    Args:
        scores: Shape (n, ...), in any order.
        most: At least 1.

    Returns:
        Shape (min(n, most), ...), sorted, the largest always among them.
    """
    ordered = np.sort(np.asarray(scores, np.float64), axis=0)
    kept: Array = ordered[_ranks(len(ordered), min(most, len(ordered))) - 1]
    return kept


def _ranks(count: int, kept: int) -> NDArray[np.int64]:
    """The ranks, from 1, of `kept` scores among `count`: evenly spread, the last always there."""
    return -(-np.arange(1, kept + 1, dtype=np.int64) * count // kept)


def _deviation(variance: NDArray[Any]) -> Array:
    deviation: Array = np.sqrt(np.maximum(np.asarray(variance, np.float64), TINY**2))
    return deviation
