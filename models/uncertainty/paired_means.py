"""Means over rows that come in requests, with intervals that count requests: rows of one request may resemble another.

A mean is the sum over all rows by their number. Its variance is that of a ratio of two sums over requests, by
linearization, and its interval takes Student's t with a degree of freedom less than there are requests. A share takes
Wilson's interval instead, which holds near 0 and 1 too, for as many rows as would be that certain if they were
independent (Korn & Graubard); where all rows agree, or none, that number is not known, and requests are counted.

References:
    Cochran 1977, Sampling Techniques, chapter 6 (ratio estimators).
    Korn & Graubard 1998, Confidence intervals for proportions with small expected number of positive counts.
    Wilson 1927, Probable inference, the law of succession, and statistical inference.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

__all__ = ["LEAST_REQUESTS", "LEVEL", "Estimate", "PairedMean"]

LEVEL = 0.95
LEAST_REQUESTS = 10
"""Fewer requests than these say next to nothing of how their means vary."""


class Estimate(NamedTuple):
    """A mean and its 95 % interval; None for the ends where there are too few requests."""

    value: float
    low: float | None
    high: float | None


class PairedMean:
    """The mean over rows of a number, which is added request by request."""

    def __init__(self) -> None:
        self.requests = 0
        self.rows = 0
        # Of a request's sum and its number of rows: means over requests, and sums of squared and mixed deviations.
        self._sum, self._count = 0.0, 0.0
        self._sums, self._mixed, self._counts = 0.0, 0.0, 0.0

    def add(self, values: npt.NDArray[Any]) -> None:
        """Add the rows of a request, (B,), all of them finite."""
        total, count = float(np.sum(values, dtype=np.float64)), len(values)
        self.requests += 1
        self.rows += count
        off, off_count = total - self._sum, count - self._count
        self._sum += off / self.requests
        self._count += off_count / self.requests
        self._sums += off * (total - self._sum)
        self._mixed += off * (count - self._count)
        self._counts += off_count * (count - self._count)

    @property
    def value(self) -> float:
        """The mean over all rows; NaN without any."""
        return self._sum / self._count if self.rows else math.nan

    def mean(self) -> Estimate:
        """The mean with its interval."""
        error = self._error()
        if error is None:
            return Estimate(self.value, None, None)
        wide = self._quantile() * error
        return Estimate(self.value, self.value - wide, self.value + wide)

    def share(self) -> Estimate:
        """The same of numbers from 0 to 1, with an interval that stays within them."""
        p, error = self.value, self._error()
        if error is None:
            return Estimate(p, None, None)
        as_independent = p * (1 - p)
        rows = min(self.rows, as_independent / error**2) if error and as_independent else self.requests
        z = self._quantile() ** 2 / rows
        middle, wide = (p + z / 2) / (1 + z), math.sqrt(z * as_independent + z**2 / 4) / (1 + z)
        return Estimate(p, max(0.0, middle - wide), min(1.0, middle + wide))

    def _quantile(self) -> float:
        return float(stdtrit(self.requests - 1, (1 + LEVEL) / 2))

    def _error(self) -> float | None:
        """The standard error of the mean; None where there are too few requests."""
        if self.requests < LEAST_REQUESTS:
            return None
        p = self.value
        left = max(0.0, self._sums - 2 * p * self._mixed + p**2 * self._counts)
        return math.sqrt(left * self.requests / (self.requests - 1)) / self.rows
