"""The passes that one request asks for, as a sequence of work items: each a part of a graph call that others may share.

A run that fits one call is one item. Any other first has its prefix run, once, and then takes its passes from that in
chunks of whole blocks of 32. Many rows are taken in pieces, so that a chunk of 32 passes fits a call. Where not even a
block of one row fits, it is drawn in even parts.

*Adaptive* runs stop before their cap: where every row's standard error, widened by Student's t for the few blocks that
tell it, is below `tolerance`, or where the next block would end after `budget_ms`. Whether the tolerance is met is
looked at after each block of 32 in turn, not after each chunk, and blocks beyond that one are thrown away: so the
answer does not depend on how passes were cut or joined.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from thinned.models.dropout.batching import BatchItem, Frontier
from thinned.models.dropout.noise.draws import DrawnNoise
from thinned.models.dropout.refused_values import placed
from thinned.models.errors import InputError
from thinned.models.sampling import BLOCK, Estimator, Sampling
from thinned.models.uncertainty import BlockStatistics, RunningStatistics, widening

__all__ = ["LEAST_PASSES", "MonteCarloRun", "PassSource", "WorkItem", "complete"]

Array: TypeAlias = npt.NDArray[Any]
Inputs: TypeAlias = Mapping[str, Array]
Part: TypeAlias = dict[str, BlockStatistics]

LEAST_PASSES = 4 * BLOCK
"""Passes before a tolerance may stop a run: from 4 blocks on their spread tells the error.

Stopping picks the moments at which the estimated error happens to be small. What a stop covers was measured by
`load/studies/stopping.py`, and stands in `docs/passes.md`.
"""


class PassSource(Protocol):
    """What draws passes: `StochasticModel`."""

    def prefix(self, inputs: Inputs) -> Frontier:
        """Run the prefix for some rows."""

    def draw(self, items: Sequence[BatchItem], *, sampling: Sampling, estimator: Estimator) -> list[Part]:
        """Draw the passes of each item in one graph call."""


@dataclass(slots=True)
class _Piece:
    """Some rows of a run, and what their passes say so far."""

    inputs: Inputs
    rows: slice
    statistics: dict[str, RunningStatistics]
    frontier: Frontier | None = None

    @property
    def height(self) -> int:
        """Number of rows."""
        return int(self.rows.stop - self.rows.start)


@dataclass(slots=True)
class WorkItem:
    """What a run wants of the next call: at most `count` passes of a piece, from pass `first` on."""

    piece: _Piece
    first: int
    count: int
    whole: bool
    """Whether it must be taken as it is: its prefix and all its passes in this one call."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.piece.height


class MonteCarloRun:
    """The passes of one request, drawn item by item. `item` is what it wants next; `take` what the call gave for it.

    Args:
        inputs: Checked arrays by input name, (B, *input_shape).
        outputs: Names of the model's outputs.
        row_passes: How many rows x passes may be computed at once; at least 1.
        n_samples: Passes; the most there may be where a tolerance or budget is given.
        seed: Of the passes; None where whoever draws them may choose it.
        sampling: How passes relate to each other.
        keep_passes: Whether to keep the passes themselves, in `passes`.
        tolerance: Stop where the widened standard errors of every row are below this, in the outputs' units: mean
            ± 1.96 tolerance is then no narrower than the 95 % interval by Student's t.
        budget_ms: Stop at the last block that ends within this time.
        began: When that time began, on the clock of `time.monotonic`; now by default.
        estimator: How mean and variance are made of the passes.
        exact: Whether closed forms give all that is asked for: the model is then run once, whatever `n_samples`, and no
            noise is drawn.
        on_frontier: Called with some of the rows and the frontier that the prefix made of them, for all rows in turn;
            the prefix then runs by itself, once, before the passes.
        on_blocks: Called with some of the rows and what new passes say of them, as it is added to the statistics.
            Pieces of the rows then take turns, so that all rows come on at the same pace.
    """

    def __init__(
        self,
        inputs: Inputs,
        outputs: Sequence[str],
        *,
        row_passes: int,
        n_samples: int,
        seed: int | None,
        sampling: Sampling = "stratified",
        keep_passes: bool = False,
        tolerance: float | None = None,
        budget_ms: float | None = None,
        began: float | None = None,
        estimator: Estimator = "best",
        exact: bool = False,
        on_frontier: Callable[[slice, Frontier], None] | None = None,
        on_blocks: Callable[[slice, Part], None] | None = None,
    ) -> None:
        self.rows = len(next(iter(inputs.values())))
        self.cap = 1 if exact else n_samples
        self.estimator: Estimator = estimator
        self.exact = exact
        self.seed = seed
        self.noise: DrawnNoise | None = None
        """What that seed draws, where whoever chose it has drawn it ahead."""
        self.sampling: Sampling = sampling
        self.keeps_passes = keep_passes
        self.tolerance = tolerance
        self.stop_at = math.inf if budget_ms is None else (began or time.monotonic()) + budget_ms / 1000
        """When the budget ends it, on that clock; infinity without one."""
        self._row_passes = row_passes
        self._on_frontier = on_frontier
        self._on_blocks = on_blocks
        self._kept: dict[str, Array] = {}
        self.in_one_call = not self.adaptive and on_frontier is None and self.rows * self.cap <= row_passes
        """Whether one call is enough."""
        most = self.rows if self.in_one_call else max(1, row_passes // BLOCK)  # rows of a piece
        self._pieces: list[_Piece] = []
        for start in range(0, self.rows, most):
            rows = slice(start, min(start + most, self.rows))
            part = inputs if self.rows <= most else {name: array[rows] for name, array in inputs.items()}
            self._pieces.append(_Piece(part, rows, {name: RunningStatistics() for name in outputs}))
        self._plan: Generator[WorkItem, Part, None] = self._adaptive() if self.adaptive else self._fixed()
        self.stopped_by: Literal["tolerance", "budget_ms", "n_samples", "exact"] | None = None
        """What ended a run with a tolerance or a budget, once it is complete."""
        if self._may_end_sooner:
            self.stopped_by = "exact" if exact else "n_samples"
        self.item: WorkItem | None = next(self._plan)

    @property
    def adaptive(self) -> bool:
        """Whether it may stop before `cap`."""
        return self._may_end_sooner and not self.exact

    @property
    def _may_end_sooner(self) -> bool:
        return self.tolerance is not None or self.stop_at < math.inf

    # What is drawn next

    def batch_item(self, source: PassSource, count: int | None = None) -> BatchItem:
        """The next item, cut down to `count` passes, as `source` draws it; runs its prefix where that is due.

        Raises:
            InputError: The model refuses the values.
        """
        if self.item is None or self.seed is None:
            raise RuntimeError("there is nothing left to draw, or no seed to draw it from")
        piece, item = self.item.piece, self.item
        if not item.whole and piece.frontier is None:
            piece.frontier = source.prefix(piece.inputs)
            if self._on_frontier is not None:
                self._on_frontier(piece.rows, piece.frontier)
        return BatchItem(
            piece.height,
            0 if self.exact else self.seed,  # nothing is drawn: all that are exact may share a call
            item.first,
            count or item.count,
            inputs=piece.inputs if item.whole else None,
            frontier=piece.frontier,
            keep_passes=self.keeps_passes,
            noise=self.noise,
        )

    def take(self, part: Part) -> None:
        """Take what the call gave for `item`, and plan the next one."""
        try:
            self.item = self._plan.send(part)
        except StopIteration:
            self.item = None
        if self.noise is not None and (self.item is None or self.item.first >= self.noise.passes):
            self.noise = None  # It may be large, and is not needed again.

    def _fixed(self) -> Generator[WorkItem, Part, None]:
        pending = self._pieces
        while pending:
            for piece in pending if self._on_blocks is not None else pending[:1]:
                drawn = _count(piece)
                most = self.cap if self.in_one_call else max(1, self._row_passes // piece.height)
                part = yield WorkItem(piece, drawn, _whole_blocks(self.cap - drawn, most), whole=self.in_one_call)
                self._add(piece, part)
                if _count(piece) >= self.cap:
                    piece.frontier = None  # It may be large, and is not needed again.
            pending = [piece for piece in pending if _count(piece) < self.cap]

    def _adaptive(self) -> Generator[WorkItem, Part, None]:
        """All pieces side by side, since all rows are given the same number of passes."""
        ahead = BLOCK if self.stop_at < math.inf else LEAST_PASSES
        while self.drawn < self.cap:
            began = time.monotonic()
            most = max(1, self._row_passes // self._pieces[0].height)
            wanted = _whole_blocks(self.cap - self.drawn, min(ahead, most))
            parts: list[Part] = []
            for piece in self._pieces:
                # The first call may have been shortened for others: the rest follow it.
                parts.append((yield WorkItem(piece, self.drawn, wanted, whole=False)))
                wanted = next(iter(parts[-1].values())).count
            self._add_blocks(parts)
            if self._may_stop():
                self.stopped_by = "tolerance"
                return
            ahead = self._affordable(wanted, time.monotonic() - began)
            if not ahead:
                self.stopped_by = "budget_ms" if self.drawn < self.cap else "n_samples"
                return

    def _add(self, piece: _Piece, part: Part) -> None:
        for name, blocks in part.items():
            piece.statistics[name].update(blocks)
            if blocks.passes is not None:
                several = blocks.members
                shape = (self.cap * several, self.rows, *blocks.passes.shape[2:])
                kept = self._kept.setdefault(name, np.empty(shape, blocks.passes.dtype))
                first = blocks.first * several
                kept[first : first + len(blocks.passes), piece.rows] = blocks.passes
        if self._on_blocks is not None:
            self._on_blocks(piece.rows, part)

    def _add_blocks(self, parts: Sequence[Part]) -> None:
        """Add blocks in turn until the tolerance is met."""
        for blocks in zip(*(_by_block(part) for part in parts), strict=True):
            for piece, block in zip(self._pieces, blocks, strict=True):
                self._add(piece, block)
            if self._may_stop():
                return

    def _affordable(self, last: int, took_s: float) -> int:
        """How many passes to ask for next: 0 if not even a block fits the time that is left."""
        ahead = max(BLOCK, self.drawn)  # Doubling costs few calls, and throws away half at most.
        if self.stop_at < math.inf:
            left = self.stop_at - time.monotonic()
            blocks = int(left / (took_s / math.ceil(last / BLOCK)))
            ahead = min(ahead, max(0, blocks) * BLOCK)
        return ahead

    # What is known so far

    @property
    def drawn(self) -> int:
        """Passes that the statistics stand on; 0 where they are exact."""
        return 0 if self.exact else _count(self._pieces[0])

    @property
    def left(self) -> int:
        """Rows x passes that are still to be drawn, at most."""
        return 0 if self.item is None else sum(p.height * (self.cap - _count(p)) for p in self._pieces)

    @property
    def passes(self) -> dict[str, Array]:
        """The passes themselves by output name, (S, B, *output_shape); empty where they are not kept.

        Of an ensemble those of all members, pass by pass, (S * M, B, ...).
        """
        told = self._pieces[0].statistics
        return {name: passes[: told[name].count * told[name].members] for name, passes in self._kept.items()}

    def statistics(self) -> dict[str, RunningStatistics]:
        """Statistics of all rows, by output name."""
        return {
            name: RunningStatistics.of_rows([piece.statistics[name] for piece in self._pieces])
            for name in self._pieces[0].statistics
        }

    @property
    def size(self) -> int:
        """Numbers in the means of all outputs."""
        return sum(statistics.mean.size for piece in self._pieces for statistics in piece.statistics.values())

    def converged(self) -> npt.NDArray[np.bool_] | None:
        """For each row, whether its widened standard errors are below the tolerance; None without a tolerance."""
        if self.tolerance is None:
            return None
        if self.exact:
            return np.ones(self.rows, bool)
        found: npt.NDArray[np.bool_] = np.concatenate([self._errors(piece) < self.tolerance for piece in self._pieces])
        return found

    def _may_stop(self) -> bool:
        """Whether every row is below the tolerance, after enough passes to tell."""
        if self.tolerance is None or self.drawn < LEAST_PASSES or self.drawn % BLOCK:
            return False
        return all((self._errors(piece) < self.tolerance).all() for piece in self._pieces)

    def _errors(self, piece: _Piece) -> Array:
        """Each row's largest standard error, widened by Student's t."""
        told = list(piece.statistics.values())
        errors = [statistics.standard_error(self.sampling)[0] for statistics in told]
        largest: Array = np.max([error.reshape(len(error), -1).max(axis=1) for error in errors], axis=0)
        return largest * widening(told[0].degrees_of_freedom(self.sampling))


def complete(run: MonteCarloRun, source: PassSource) -> MonteCarloRun:
    """Draw all passes of a run that names its seed, by itself."""
    while run.item is not None:
        piece = run.item.piece
        try:
            run.take(source.draw([run.batch_item(source)], sampling=run.sampling, estimator=run.estimator)[0])
        except InputError as error:
            raise placed(error, piece.inputs, first_row=piece.rows.start) from error
    return run


def _count(piece: _Piece) -> int:
    return next(iter(piece.statistics.values())).count


def _whole_blocks(left: int, most: int) -> int:
    """Passes to draw next: all that are left, or as many whole blocks as `most` holds.

    Where it holds none, an even part of a block: 16 passes, 8, down to one.
    """
    if left <= most:
        return left
    return most // BLOCK * BLOCK if most >= BLOCK else 1 << (most.bit_length() - 1)


def _by_block(part: Part) -> Iterator[Part]:
    for blocks in zip(*(statistics.blocks() for statistics in part.values()), strict=True):
        yield dict(zip(part, blocks, strict=True))
