"""Moments of passes that come in blocks, and how sure their mean is when passes within a block are stratified."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from thinned.models.uncertainty.moments import Moments

__all__ = ["LEAST_BLOCKS", "BlockMoments"]

Array = NDArray[np.float64]
LEAST_BLOCKS = 4
"""Full blocks from which their spread tells the error of the mean; fewer say too little."""


class BlockMoments:
    """Mean, variance and standard error over passes, from the mean and squared deviations of each block.

    Blocks are independent of each other; passes within a stratified block are not. So the spread of the means of full
    blocks tells the error of the mean, where the spread of passes would overstate it (McKay, Beckman & Conover 1979).

    Args:
        size: Passes in a full block.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._next = 0
        self._all = Moments()
        self._means = Moments()
        self._open = Moments()

    def update(
        self, first: int, counts: NDArray[np.integer[Any]], means: NDArray[Any], deviations: NDArray[Any]
    ) -> Self:
        """Add pieces of blocks.

        Args:
            first: Index of the first pass; the pass after the last one added.
            counts: Passes in each piece, shape (G,).
            means: Mean over each piece, shape (G, ...).
            deviations: Sum of squared deviations from that mean, shape (G, ...).

        Raises:
            ValueError: Passes are missing, or come twice.
        """
        if first != self._next:
            raise ValueError(f"expected passes from {self._next} on, received passes from {first} on")
        self._all.merge(_joined(counts, means, deviations))
        whole = counts == self._size
        self._means.update(means[whole])
        # Whole blocks are whole pieces; a block that was cut is put together from pieces that follow each other.
        for i in np.flatnonzero(~whole).tolist():
            end = first + int(counts[: i + 1].sum())
            self._open.merge(Moments.from_parts(int(counts[i]), means[i], deviations[i]))
            if end % self._size == 0:
                self._means.update(self._open.mean[np.newaxis])
                self._open = Moments()
        self._next = first + int(counts.sum())
        return self

    @property
    def count(self) -> int:
        """Passes seen, S."""
        return self._all.count

    @property
    def mean(self) -> Array:
        """Mean over the passes."""
        return self._all.mean

    @property
    def variance(self) -> Array:
        """Sample variance over the passes (ddof 1)."""
        return self._all.variance

    def enough_blocks(self) -> bool:
        """Whether the spread of blocks can tell the error of the mean."""
        return self._means.count >= LEAST_BLOCKS

    @property
    def error_of_passes(self) -> Array:
        """Standard error of the mean, sqrt(variance / S): exact for independent passes, too large for stratified."""
        return self._all.standard_error

    @property
    def error_of_blocks(self) -> Array:
        """Standard error of the mean from the spread of full blocks.

        It is widened by Student's t over the normal distribution, at 95 %, so that mean ± 1.96 standard errors covers
        as often as it says however few blocks there are. Passes beyond the last full block count as independent ones.

        Raises:
            ValueError: There are fewer than 4 full blocks.
        """
        blocks = self._means.count
        if not self.enough_blocks():
            raise ValueError(f"expected {LEAST_BLOCKS} full blocks or more, received {blocks}; use error_of_passes")
        within = blocks * self._size / self.count
        variance = within**2 * self._means.variance / blocks * _widening(blocks - 1) ** 2
        rest = 1.0 - within
        if rest > 0:
            variance = variance + rest**2 * self.variance / (self.count - blocks * self._size)
        error: Array = np.sqrt(variance)
        return error


def _joined(counts: NDArray[np.integer[Any]], means: NDArray[Any], deviations: NDArray[Any]) -> Moments:
    """All pieces as one, at once: Chan, Golub & LeVeque (1983) for any number of parts."""
    total = int(counts.sum())
    weights = counts.reshape(-1, *([1] * (means.ndim - 1))).astype(np.float64)
    mean = (weights * means).sum(axis=0) / total
    apart = deviations.sum(axis=0) + (weights * (means - mean) ** 2).sum(axis=0)
    return Moments.from_parts(total, mean, apart)


def _widening(freedom: int) -> float:
    """Student's t over the normal quantile, both at 97.5 %, by Cornish and Fisher's expansion (to 0.5 % from 3 on)."""
    z = 1.959963984540054
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return (z + math.fsum(term / freedom ** (i + 1) for i, term in enumerate(terms))) / z
