"""One request that waits for its answer: what it still wants computed, until when, and who is called when it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from thinned.models.dropout import Frontier, MonteCarloRun
from thinned.models.dropout.refused_values import placed
from thinned.models.errors import InputError
from thinned.models.sampling import BLOCK
from thinned.models.uncertainty.nearest_rows import OodScores

__all__ = ["Job", "OodRows", "PredictJob", "SampleJob", "Share"]

Array: TypeAlias = npt.NDArray[Any]
Inputs: TypeAlias = Mapping[str, Array]


class Share(NamedTuple):
    """What a job gets of one call: some of its rows, and so many passes of each (1 for a deterministic answer)."""

    job: Job
    rows: int
    passes: int

    @property
    def row_passes(self) -> int:
        """Rows x passes."""
        return self.rows * self.passes


class OodRows:
    """How unlike the calibration rows the rows of a request are, as far as their frontier is known."""

    def __init__(self, rows: int, scorer: Callable[[Frontier], OodScores]) -> None:
        self._scorer = scorer
        self.found = OodScores(np.full(rows, np.nan), np.full(rows, np.nan))
        """Of all rows, once every one has been taken."""

    def take(self, rows: slice, frontier: Frontier) -> None:
        """Score some rows by their frontier."""
        self.found.score[rows], self.found.p_value[rows] = self._scorer(frontier)


class Job:
    """One request that waits for its answer. It ends once: with its result, or with an error.

    Args:
        inputs: Checked arrays by input name, (B, *input_shape).
        row_passes: Rows x passes that one call may hold for rows of these shapes.
        deadline: When it is too late to answer, on the clock of `time.monotonic`.
        ood: Takes the frontier of its rows, where it is asked how unlike they are.
    """

    def __init__(
        self, inputs: Inputs, *, row_passes: int, deadline: float = math.inf, ood: OodRows | None = None
    ) -> None:
        self.inputs, self.ood = inputs, ood
        self.rows = len(next(iter(inputs.values())))
        self.row_passes = row_passes
        self.deadline = deadline
        self.abandoned = False
        """Whether nobody waits for the answer any longer."""
        self.ended = False
        self.error: Exception | None = None
        self.answered: Callable[[], None] = lambda: None
        """Called, by the thread that waits, when it has ended."""
        self.on_end: Callable[[Job], None] | None = None
        """Called, by the thread that computes, when it ends, and before `answered`."""
        self.compute_s = 0.0
        """Seconds of the graph calls that it took part in, alone or with others."""
        self.took_s = 0.0
        """Seconds from when it was submitted to when its answer was there."""
        # Requests whose rows differ in shape, where a length varies, cannot be put into one array.
        self.shapes = tuple(array.shape[1:] for array in inputs.values())

    def end(self, error: Exception | None = None) -> Job:
        """It has ended: with its result, or with an error."""
        self.error, self.ended = placed(error, self.inputs) if isinstance(error, InputError) else error, True
        if self.on_end is not None:
            self.on_end(self)
        return self

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Jobs with the same key may share a call."""
        raise NotImplementedError

    @property
    def draw(self) -> Hashable:
        """Jobs with the same key and draw share masks too, which is cheaper."""
        return None

    def wants(self, most: int) -> Share:
        """What it would take of a call in which it may take `most` row-passes; more where it cannot be cut so far."""
        raise NotImplementedError

    @property
    def left(self) -> int:
        """Rows x passes that are still to be computed, at most."""
        raise NotImplementedError

    @property
    def left_s(self) -> float:
        """Seconds after which it wants no more calls, whatever is left; infinite where there is no such time."""
        return math.inf


class PredictJob(Job):
    """A request for the deterministic answer. Many rows are computed some at a time."""

    def __init__(
        self, inputs: Inputs, *, row_passes: int, deadline: float = math.inf, ood: OodRows | None = None
    ) -> None:
        super().__init__(inputs, row_passes=row_passes, deadline=deadline, ood=ood)
        self._parts: list[dict[str, Array]] = []
        self._done = 0

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Jobs with the same key may share a call."""
        return ("predict", self.shapes)

    def wants(self, most: int) -> Share:
        """Some rows."""
        return Share(self, max(1, min(self.left, most)), 1)

    @property
    def left(self) -> int:
        """Rows x passes that are still to be computed, at most."""
        return self.rows - self._done

    def next_rows(self, count: int) -> Inputs:
        """The next rows that have no answer yet."""
        if count == self.rows:
            return self.inputs
        return {name: x[self._done : self._done + count] for name, x in self.inputs.items()}

    def take(self, outputs: dict[str, Array], frontier: Frontier | None = None) -> None:
        """Take the answers to the rows that `next_rows` gave, and their frontier where that is asked for."""
        if self.ood is not None and frontier is not None:
            self.ood.take(slice(self._done, self._done + frontier.rows), frontier)
        self._parts.append(outputs)
        self._done += len(next(iter(outputs.values())))

    @property
    def outputs(self) -> dict[str, Array]:
        """The answer, by output name."""
        if len(self._parts) == 1:
            return self._parts[0]
        return {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}


class SampleJob(Job):
    """A request for statistics over passes.

    Args:
        inputs: As for `Job`.
        run: Its passes; made with the same `row_passes`.
        row_passes: As for `Job`.
        deadline: As for `Job`.
        ood: As for `Job`; what the run gives its frontier to.
    """

    def __init__(
        self,
        inputs: Inputs,
        run: MonteCarloRun,
        *,
        row_passes: int,
        deadline: float = math.inf,
        ood: OodRows | None = None,
    ) -> None:
        super().__init__(inputs, row_passes=row_passes, deadline=deadline, ood=ood)
        self.run = run

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Jobs with the same key may share a call."""
        run = self.run
        made = "exact" if run.exact else run.estimator
        return ("whole" if run.in_one_call else "chunks", self.shapes, run.sampling, made)

    @property
    def draw(self) -> Hashable:
        """The seed: who shares it shares masks. What is exact draws none."""
        return "none" if self.run.exact else self.run.seed

    def wants(self, most: int) -> Share:
        """All rows of a piece, and all passes or whole blocks of them."""
        item = self.run.item
        if item is None:
            raise ValueError("a run that is complete wants no call")
        if item.whole or item.count < BLOCK:
            return Share(self, item.rows, item.count)
        blocks = max(1, most // item.rows // BLOCK)
        return Share(self, item.rows, min(item.count, blocks * BLOCK))

    @property
    def left(self) -> int:
        """Rows x passes that are still to be computed, at most."""
        return self.run.left

    @property
    def left_s(self) -> float:
        """Seconds until its budget ends it."""
        return max(0.0, self.run.stop_at - time.monotonic())
