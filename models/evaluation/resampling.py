"""Bootstrap intervals of scores: rows (or images) are drawn anew, many times, and each draw is scored."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.evaluation.predictive import Array

__all__ = ["LEAST_UNITS", "LEVEL", "REPLICATES", "Resampling"]

REPLICATES = 1000
LEVEL = 0.95
LEAST_UNITS = 10
"""Fewer rows than these say next to nothing of how a score varies."""
MOST_GROUPS = 1000
_LEAST_FINITE = 0.9


class Resampling:
    """Draws, with replacement, of the units that a score is a mean over.

    A unit is a row; where a row holds several answers (the pixels of an image, several labels) they stay together,
    because they are not independent. More than 1,000 units are drawn in 1,000 groups of equal size, put together at
    random: the interval is the same but for chance, and its cost no longer depends on the number of rows.

    Every method gives a number for each draw, and before them, at place 0, that of the rows as they are.

    References:
        Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile intervals).
    """

    def __init__(self, units: int, *, answers: int = 1, seed: int, replicates: int = REPLICATES) -> None:
        """Draw them.

        Args:
            units: U, at least 1.
            answers: A, answers in a unit. What is scored has U * A entries, unit after unit.
            seed: Of the draws.
            replicates: Number of draws, R.
        """
        self.units, self.answers, self.groups = units, answers, min(units, MOST_GROUPS)
        draw = np.random.default_rng(seed)
        self._group = np.arange(units) if units == self.groups else draw.permutation(units) % self.groups
        chosen = draw.integers(0, self.groups, (replicates, self.groups))
        drawn = np.bincount(
            (chosen + self.groups * np.arange(replicates)[:, np.newaxis]).ravel(), minlength=replicates * self.groups
        )
        self._times = np.concatenate([np.ones((1, self.groups)), drawn.reshape(replicates, self.groups)])

    def by_unit(self) -> Resampling:
        """The same draws for values of which a unit has one line, (U, ...)."""
        alike = copy.copy(self)
        alike.answers = 1
        return alike

    def mean(self, values: npt.NDArray[Any]) -> Array:
        """Means of (U * A, ...) values; shape (1 + R,) or, of values with further axes, (1 + R, K)."""
        sums, counts = self.total(values), self.total(np.ones(self.units * self.answers))
        return sums / (counts if sums.ndim == 1 else counts[:, np.newaxis])

    def total(self, values: npt.NDArray[Any]) -> Array:
        """Sums of (U * A, ...) values; shape (1 + R,) or (1 + R, K)."""
        each = np.asarray(values, np.float64)
        by_unit = each.reshape(self.units, self.answers, -1).sum(axis=1)
        if self.groups < self.units:
            columns = [np.bincount(self._group, column, minlength=self.groups) for column in by_unit.T]
            by_unit = np.stack(columns, axis=1)
        totals: Array = self._times @ by_unit
        return totals[:, 0] if each.ndim == 1 else totals

    def histogram(self, places: npt.NDArray[np.int64], bins: int, weights: npt.NDArray[Any] | None = None) -> Array:
        """Sums of weights (U * A,), by default counts, in bins numbered by `places` (U * A,); shape (1 + R, bins)."""
        group = np.repeat(self._group, self.answers)
        each = np.bincount(group * bins + places, weights, minlength=self.groups * bins)
        totals: Array = self._times @ each.reshape(self.groups, bins).astype(np.float64)
        return totals

    def interval(self, value: float | None, drawn: npt.NDArray[Any] | None) -> tuple[float, float] | None:
        """The interval about a score that holds 95 % of its draws.

        Args:
            value: The score of the rows as they are; None where it has none.
            drawn: What the methods gave, (1 + R,). Where place 0 is not `value` because the score was computed in bins,
                all are moved by the difference.

        Returns:
            Lower and upper end; None of fewer than 10 units, or where the score is not defined for most draws.
        """
        if value is None or drawn is None or self.units < LEAST_UNITS:
            return None
        moved = drawn[1:] + (value - drawn[0])
        finite = moved[np.isfinite(moved)]
        if len(finite) < _LEAST_FINITE * len(moved):
            return None
        low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)
