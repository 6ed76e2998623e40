"""One request that waits for its answer: its deadline, who is called when it is there, and what is computed for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy.typing as npt

from thinned.models.dropout import MonteCarloRun

__all__ = ["Job", "PredictJob", "SampleJob"]

Array: TypeAlias = npt.NDArray[Any]
Inputs: TypeAlias = Mapping[str, Array]


class Job:
    """One request that waits for its answer.

    Args:
        inputs: Checked arrays by input name, (B, *input_shape).
        deadline: When it is too late to answer, on the clock of `time.monotonic`.
    """

    def __init__(self, inputs: Inputs, *, deadline: float = math.inf) -> None:
        self.inputs = inputs
        self.rows = len(next(iter(inputs.values())))
        self.deadline = deadline
        self.abandoned = False
        """Whether nobody waits for the answer any longer."""
        self.answered: Callable[[], None] = lambda: None
        """Called, by the thread that waits, when `error` or the result is there."""
        self.waiting: Callable[[], None] = lambda: None
        """Called, by the thread that waits, when the answer does not come at once."""
        self.error: Exception | None = None
        self.compute_s = 0.0
        """Seconds of the graph calls that it took part in, alone or with others."""
        self.took_s = 0.0
        """Seconds from when it was submitted to when its answer was there."""
        # Requests whose rows differ in shape, where a length varies, cannot be put into one array.
        self.shapes = tuple(array.shape[1:] for array in inputs.values())


class PredictJob(Job):
    """A request for the deterministic answer."""

    outputs: dict[str, Array]


class SampleJob(Job):
    """A request for statistics over passes.

    Args:
        inputs: As for `Job`.
        run: Its passes.
        deadline: As for `Job`.
    """

    def __init__(self, inputs: Inputs, run: MonteCarloRun, *, deadline: float = math.inf) -> None:
        super().__init__(inputs, deadline=deadline)
        self.run = run
