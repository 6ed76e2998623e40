"""Mean and variance over passes, accumulated in blocks so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Moments"]

Array = NDArray[np.float64]


class Moments:
    """Running mean and sum of squared deviations over the first axis, in float64.

    Blocks are joined by a formula that does not lose the variance of values that lie far from 0. A fresh instance holds
    no pass; `update` and `merge` change it in place and return it.

    References:
        Chan, Golub & LeVeque 1983, Algorithms for Computing the Sample Variance,
        https://doi.org/10.1080/00031305.1983.10483115
    """

    __slots__ = ("_deviations", "_mean", "count")

    count: int
    """Number of passes seen, S."""

    def __init__(self) -> None:
        self.count = 0
        self._mean: Array = np.zeros(())
        self._deviations: Array = np.zeros(())

    @classmethod
    def of(cls, passes: NDArray[Any]) -> Self:
        """Moments of one block of passes, shape (S, ...)."""
        return cls().update(passes)

    @classmethod
    def from_parts(cls, count: int, mean: NDArray[Any], deviations: NDArray[Any]) -> Self:
        """Moments that were computed elsewhere.

        Args:
            count: Number of passes, S.
            mean: Their mean, shape (...).
            deviations: Sum of their squared deviations from it, shape (...).
        """
        made = cls()
        return made._join(count, np.asarray(mean, np.float64), np.asarray(deviations, np.float64))

    @classmethod
    def of_rows(cls, parts: Sequence[Moments]) -> Self:
        """Moments of rows that were computed separately, from as many passes each, one below the other."""
        made = cls()
        made.count = parts[0].count
        if made.count:
            made._mean = np.concatenate([part._mean for part in parts])
            made._deviations = np.concatenate([part._deviations for part in parts])
        return made

    def update(self, passes: NDArray[Any]) -> Self:
        """Add a block of passes.

        Args:
            passes: Shape (S, ...); S may be 0, and the axes after it are those of every other block.

        Raises:
            ValueError: The block has no axis of passes, or its other axes differ from those seen before.
        """
        values = np.asarray(passes, dtype=np.float64)
        if values.ndim == 0:
            raise ValueError("expected passes of shape (S, ...), received a single number; add an axis of passes")
        count = values.shape[0]
        if count == 0:
            return self
        # `np.add.reduce` is what `sum` calls, in a third of the time where there are few numbers.
        mean = np.add.reduce(values) / count
        gap = values - mean
        # The rounding left in the mean is worked back in: this is the corrected two-pass algorithm.
        residue = np.add.reduce(gap)
        return self._join(count, mean + residue / count, np.add.reduce(gap * gap) - residue * residue / count)

    def merge(self, other: Moments) -> Self:
        """Add what another instance has seen; `other` stays as it is.

        Raises:
            ValueError: The two have seen passes of different shapes.
        """
        return self._join(other.count, other._mean, other._deviations)

    def _join(self, count: int, mean: Array, deviations: Array) -> Self:
        if count == 0:
            return self
        if self.count == 0:
            self.count, self._mean, self._deviations = count, mean, deviations
            return self
        if mean.shape != self._mean.shape:
            raise ValueError(f"expected passes of shape (S, {_axes(self._mean)}), received (S, {_axes(mean)})")
        total = self.count + count
        with np.errstate(invalid="ignore", over="ignore"):  # of infinite passes: whoever makes the answer tells of them
            gap = mean - self._mean
            self._mean = self._mean + gap * (count / total)
            self._deviations = self._deviations + deviations + gap * gap * (self.count * count / total)
        self.count = total
        return self

    @property
    def mean(self) -> Array:
        """Mean over the passes, shape (...).

        Raises:
            ValueError: No pass was seen yet.
        """
        self._need(1, "a mean")
        return self._mean

    @property
    def variance(self) -> Array:
        """Sample variance over the passes (ddof 1), shape (...), never below 0.

        Raises:
            ValueError: Fewer than 2 passes were seen.
        """
        self._need(2, "a sample variance")
        return np.maximum(self._deviations, 0.0) / (self.count - 1)

    @property
    def standard_error(self) -> Array:
        """Monte Carlo standard error of the mean, sqrt(variance / S), for independent passes; shape (...).

        Raises:
            ValueError: Fewer than 2 passes were seen.
        """
        error: Array = np.sqrt(self.variance / self.count)
        return error

    def _need(self, passes: int, what: str) -> None:
        if self.count < passes:
            raise ValueError(f"{what} needs {passes} or more passes, received {self.count}; draw more")


def _axes(array: Array) -> str:
    return ", ".join(map(str, array.shape))
