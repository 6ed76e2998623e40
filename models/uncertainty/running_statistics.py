"""Statistics of passes that come block by block, and how sure their mean is when passes of a block are stratified."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from thinned.models.sampling import BLOCK, Made, Sampling
from thinned.models.uncertainty.moments import Moments

__all__ = ["LEAST_BLOCKS", "BlockStatistics", "ErrorSource", "RunningStatistics", "VarianceParts", "widening"]

Array = NDArray[np.float64]
ErrorSource = Literal["passes", "blocks", "exact"]
LEAST_BLOCKS = 4
"""Full blocks from which their spread tells the error of the mean; fewer say too little."""


class VarianceParts(NamedTuple):
    """The variance of a pass of an ensemble, whose sum it is; of the same shape.

    `within` is the mean over members of their variance over passes, `between` the variance over members of their means.
    """

    within: Array
    between: Array


@dataclass(frozen=True, slots=True)
class BlockStatistics:
    """What some passes say of one output, block by block. A block has 32 passes, the first and the last maybe fewer.

    `first` is the index of the first pass and `counts` (G,) tells how many passes each block has. `mean` and
    `deviations` (sum of squared deviations from the block's mean) have shape (G, B, *output_shape), float64. For a
    classification `probabilities` (G, B, ..., C) is the block's mean of class probabilities and `entropy` (G, B, ...)
    its mean of the passes' entropies in nats. `passes` (S, B, *output_shape) are the passes themselves, where they were
    asked for.

    `made` says what the moments are of. Unless it is of passes, `mean` and `deviations` are of the passes' means over
    their last masks, and `within` (G, B, *output_shape) is the block's mean of their variances over these.

    Where there are several `members`, all arrays but `passes` have an axis of them behind that of rows, and the passes
    are (S * members, B, *output_shape): those of all members, pass by pass.
    """

    first: int
    counts: NDArray[np.int64]
    mean: Array
    deviations: Array
    probabilities: Array | None = None
    entropy: Array | None = None
    passes: NDArray[Any] | None = None
    within: Array | None = None
    made: Made = "passes"
    members: int = 1

    @classmethod
    def of_passes(cls, passes: NDArray[Any], *, first: int = 0) -> BlockStatistics:
        """Statistics of passes `first` and on, (S, B, ...), that are at hand; without class probabilities."""
        values = np.asarray(passes, np.float64)
        borders = [0, *range(BLOCK - first % BLOCK, len(values), BLOCK), len(values)]
        blocks = [values[start:end] for start, end in pairwise(borders)]
        return cls(
            first,
            np.array([len(block) for block in blocks], np.int64),
            np.stack([block.mean(axis=0) for block in blocks]),
            np.stack([((block - block.mean(axis=0)) ** 2).sum(axis=0) for block in blocks]),
        )

    @property
    def count(self) -> int:
        """Passes in all blocks, S."""
        return int(self.counts.sum())

    def blocks(self) -> Iterator[BlockStatistics]:
        """The same, a block at a time."""
        start = 0
        for i, count in enumerate(self.counts.tolist()):
            block, end = slice(i, i + 1), start + count
            yield BlockStatistics(
                self.first + start,
                self.counts[block],
                self.mean[block],
                self.deviations[block],
                None if self.probabilities is None else self.probabilities[block],
                None if self.entropy is None else self.entropy[block],
                None if self.passes is None else self.passes[start * self.members : end * self.members],
                None if self.within is None else self.within[block],
                self.made,
                self.members,
            )
            start = end


class RunningStatistics:
    """Mean, variance, standard error and entropies over the passes of some rows, added block by block from pass 0 on.

    Blocks are independent of each other; passes within a stratified block are not. So the spread of the means of full
    blocks tells the error of the mean, where the spread of passes would overstate it.

    Of an ensemble all that is said is of the passes of all members together. Its members are these and no sample of
    others: the error of the mean is that of their passes alone.

    References:
        McKay, Beckman & Conover 1979, A Comparison of Three Methods for Selecting Values of Input Variables,
        https://doi.org/10.2307/1268522
    """

    def __init__(self) -> None:
        self._all = Moments()
        self._full = 0
        self._few: list[Array] = []
        self._means = Moments()
        self._open = Moments()
        self._probabilities: Array | None = None
        self._entropy: Array | None = None
        self._within: Array | None = None
        self.made: Made = "passes"
        """What mean and variance are made of."""
        self.members = 1
        """How many members' passes are pooled."""

    def update(self, part: BlockStatistics) -> Self:
        """Add blocks, or pieces of them.

        Raises:
            ValueError: Passes are missing, or come twice.
        """
        if part.first != self.count:
            raise ValueError(f"expected passes from {self.count} on, received passes from {part.first} on")
        self.members = part.members
        weights, whole = part.counts.astype(np.float64), part.counts == BLOCK
        self._add_means(part.mean[whole])
        # Whole blocks are whole pieces; a block that was cut is put together from pieces that follow each other.
        for i in np.flatnonzero(~whole).tolist():
            end = part.first + int(part.counts[: i + 1].sum())
            self._open.merge(Moments.from_parts(int(part.counts[i]), part.mean[i], part.deviations[i]))
            if end % BLOCK == 0:
                self._add_means(self._open.mean[np.newaxis])
                self._open = Moments()
        self._all.merge(_joined(weights, part.mean, part.deviations))
        if part.probabilities is not None and part.entropy is not None:
            self._probabilities = _add(self._probabilities, weights, part.probabilities)
            self._entropy = _add(self._entropy, weights, part.entropy)
        if part.within is not None:
            self._within = _add(self._within, weights, part.within)
            self.made = part.made
        return self

    def _add_means(self, means: Array) -> None:
        """Add means of full blocks; the first few only lie by, since their spread tells nothing yet."""
        self._full += len(means)
        self._few += list(means)
        if self._full >= LEAST_BLOCKS and self._few:
            self._means.update(np.stack(self._few))
            self._few.clear()

    @classmethod
    def of_rows(cls, parts: Sequence[RunningStatistics]) -> RunningStatistics:
        """Rows whose passes were added separately, as many for each, one below the other."""
        if len(parts) == 1:
            return parts[0]
        made = cls()
        made._all = Moments.of_rows([part._all for part in parts])
        made._full = parts[0]._full
        made._few = [np.concatenate(few) for few in zip(*(part._few for part in parts), strict=True)]
        made._means = Moments.of_rows([part._means for part in parts])
        made._open = Moments.of_rows([part._open for part in parts])
        made._probabilities = _rows([part._probabilities for part in parts])
        made._entropy = _rows([part._entropy for part in parts])
        made._within = _rows([part._within for part in parts])
        made.made, made.members = parts[0].made, parts[0].members
        return made

    @property
    def count(self) -> int:
        """Passes seen, S; of an ensemble, of each member."""
        return self._all.count

    @property
    def mean(self) -> Array:
        """Mean over the passes, (B, *output_shape)."""
        return self._pooled(self._all.mean)

    @property
    def variance(self) -> Array:
        """Variance of a pass, (B, *output_shape): over the passes (ddof=1), or with what closed forms say of it.

        Of an ensemble that of a pass of any of its members, as likely one as another.
        """
        parts = self.parts
        return self._own_variance if parts is None else parts.within + parts.between

    @property
    def parts(self) -> VarianceParts | None:
        """The parts of the variance of an ensemble; None of a model by itself."""
        if self.members == 1:
            return None
        return VarianceParts(self._own_variance.mean(axis=1), self._all.mean.var(axis=1))

    @property
    def population_variance(self) -> Array:
        """The variance with ddof=0: of these very passes, (B, *output_shape)."""
        parts, share = self.parts, (self.count - 1) / self.count
        return share * self._own_variance if parts is None else share * parts.within + parts.between

    @property
    def _own_variance(self) -> Array:
        """Variance of a pass, of each member by itself."""
        if self._within is None:
            return self._all.variance
        within = self._within / self.count
        return within if self.made == "exact" else self._all.variance + within

    def _pooled(self, values: Array) -> Array:
        """The mean over members."""
        return values if self.members == 1 else np.asarray(values.mean(axis=1))

    @property
    def mean_probabilities(self) -> Array | None:
        """Mean class probabilities, (B, ..., C), of a classification."""
        return None if self._probabilities is None else self._pooled(self._probabilities / self.count)

    @property
    def mean_entropy(self) -> Array | None:
        """Mean entropy of the passes in nats, (B, ...), of a classification."""
        return None if self._entropy is None else self._pooled(self._entropy / self.count)

    def standard_error(self, sampling: Sampling) -> tuple[Array, ErrorSource]:
        """Standard error of the mean, and what told it: the spread of passes, or that of full blocks.

        It is the plain estimate: an interval about the mean takes Student's t with `degrees_of_freedom`.
        """
        if self.made == "exact":
            return self.error_of_passes, "exact"
        if sampling == "stratified" and self.enough_blocks():
            return self.error_of_blocks, "blocks"
        return self.error_of_passes, "passes"

    def degrees_of_freedom(self, sampling: Sampling) -> int:
        """How many free deviations `standard_error` stands on: passes, or full blocks, less 1.

        Passes beyond the last full block can only add to them (Welch & Satterthwaite), and are not counted. Nor are
        those of further members, whose errors need not be alike.
        """
        by_blocks = sampling == "stratified" and self.enough_blocks()
        return (self._full if by_blocks else self.count) - 1

    def enough_blocks(self) -> bool:
        """Whether the spread of blocks can tell the error of the mean."""
        return self._full >= LEAST_BLOCKS

    @property
    def error_of_passes(self) -> Array:
        """Standard error of the mean, sqrt(variance / S) of what it is the mean of: too large for stratified passes."""
        return np.zeros_like(self.mean) if self.made == "exact" else self._error(self._all.standard_error**2)

    @property
    def error_of_blocks(self) -> Array:
        """Standard error of the mean from the spread of full blocks.

        Passes beyond the last full block count as independent ones, which overstates their part.

        Raises:
            ValueError: There are fewer than 4 full blocks.
        """
        blocks = self._full
        if not self.enough_blocks():
            raise ValueError(f"expected {LEAST_BLOCKS} full blocks or more, received {blocks}; use error_of_passes")
        within = blocks * BLOCK / self.count
        if self.made == "exact":
            return np.zeros_like(self.mean)
        variance = within**2 * self._means.variance / blocks
        rest = 1.0 - within
        if rest > 0:
            variance = variance + rest**2 * self._all.variance / (self.count - blocks * BLOCK)
        return self._error(variance)

    def _error(self, variance: Array) -> Array:
        """The standard error of the mean, of the variance of each member's mean: their noise is independent."""
        summed = variance if self.members == 1 else variance.sum(axis=1) / self.members**2
        error: Array = np.sqrt(summed)
        return error


def widening(degrees_of_freedom: int, level: float = 0.95) -> float:
    """By how much an interval of this level must be wider than a normal one, for an error that is estimated itself.

    Args:
        degrees_of_freedom: Of the standard error, 1 or more.
        level: How often the interval is to hold the mean.

    Returns:
        Student's quantile over the normal one: 1.62 with 3 degrees of freedom at 95 %, towards 1 with many.
    """
    upper = (1 + level) / 2
    return float(stdtrit(degrees_of_freedom, upper) / ndtri(upper))


def _joined(weights: Array, means: Array, deviations: Array) -> Moments:
    """All pieces of so many passes as one, at once: Chan, Golub & LeVeque (1983) for any number of parts."""
    total = int(weights.sum())
    if len(weights) == 1:
        return Moments.from_parts(total, means[0], deviations[0])
    flat = means.reshape(len(weights), -1)
    with np.errstate(invalid="ignore", over="ignore"):  # A pass may be infinite: the answer is then refused.
        mean = weights @ flat / total
        squares = np.add.reduce(deviations) + (weights @ (flat - mean) ** 2).reshape(means.shape[1:])
    return Moments.from_parts(total, mean.reshape(means.shape[1:]), squares)


def _add(total: Array | None, weights: Array, means: Array) -> Array:
    added: Array = (weights @ means.reshape(len(means), -1)).reshape(means.shape[1:])
    return added if total is None else total + added


def _rows(arrays: Sequence[Array | None]) -> Array | None:
    found = [array for array in arrays if array is not None]
    return np.concatenate(found) if found else None
