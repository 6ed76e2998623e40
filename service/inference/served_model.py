"""One loaded model and the requests that it answers: each becomes a job, and waits until that has its answer."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy.typing as npt

from thinned.models.card import ModelCard
from thinned.models.errors import ClientGoneError, DeadlineError, OverloadedError
from thinned.models.sampling import BLOCK
from thinned.models.storage.model_store import StoredModel
from thinned.models.uncertainty import BlockStatistics
from thinned.service.inference.memory import Hold
from thinned.service.metrics import Metrics
from thinned.service.schema.request_fields import PredictRequest, SampleRequest
from thinned.service.settings import Settings

if TYPE_CHECKING:
    from thinned.service.inference.compute_thread import ComputeThread
    from thinned.service.inference.engine import Engine
    from thinned.service.inference.jobs import Job, OodRows, PredictJob, SampleJob
    from thinned.service.inference.scheduler import Scheduler

__all__ = ["Gone", "OnAnswer", "OnBlocks", "ServedModel"]

Array: TypeAlias = npt.NDArray[Any]
_ANSWER_BYTES = 32
"""Of a number of an answer: in an array, as Python's object and as text."""
_BLOCK_BYTES = 24
"""Of a number of an output: what a block of passes says of it."""
_CAUTION = 1.33
"""What is predicted is taken so many times: requests advance side by side, so that later ones delay earlier ones."""
Gone: TypeAlias = Callable[[], Awaitable[object]]
"""Waits until the client has gone."""


OnBlocks: TypeAlias = "Callable[[slice, dict[str, BlockStatistics]], None]"
"""Called in the event loop with some rows and what new passes say of them, by output name."""

OnAnswer: TypeAlias = "Callable[[StoredModel, PredictRequest | SampleRequest, PredictJob | SampleJob], None]"
"""Called in the event loop with the model, a request and the job that has its answer."""


class ServedModel:
    """A model that answers. All is called from the event loop, but for `stuck_s`.

    A request that has borrowed it (`lend` of the manager) is answered by it, whatever is served meanwhile to others.

    Args:
        stored: The model in the store.
        engine: The same, loaded and checked.
        settings: Bound what may wait.
        metrics: What is told of calls and of what waits.
        thread: Computes for all models.
        on_answer: Called with each request that has its answer.
        background: Whether it computes only where no other model wants to.
    """

    def __init__(
        self,
        stored: StoredModel,
        engine: Engine,
        settings: Settings,
        metrics: Metrics,
        thread: ComputeThread,
        *,
        on_answer: OnAnswer | None = None,
        background: bool = False,
    ) -> None:
        self._on_answer, self._background = on_answer, background
        self.stored, self.engine, self.settings = stored, engine, settings
        self.admitted = 0
        """Requests that wait for their answer."""
        self._metrics, self._thread = metrics, thread
        self._scheduler: Scheduler | None = None
        self._borrowers = 0
        self._retired = False
        self.idle = threading.Event()
        """Set when it is retired and nobody has borrowed it any longer."""

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self.stored.card

    @property
    def version(self) -> str:
        """The model's version in the store."""
        return self.stored.version

    def borrow(self) -> None:
        """A request begins that will be answered by this model."""
        self._borrowers += 1

    def give_back(self) -> None:
        """A request that had borrowed it has ended."""
        self._borrowers -= 1
        self._end_if_idle()

    def retire(self) -> None:
        """Nobody will borrow it any longer; its thread ends with its last request."""
        self._retired = True
        self._end_if_idle()

    def close(self) -> None:
        """Let go of what waits; what is being computed ends."""
        if self._scheduler is not None:
            self._scheduler.close()

    def stuck_s(self) -> float:
        """For how many seconds the compute thread has been longer in its call than calls take; 0 while it turns."""
        return 0.0 if self._scheduler is None else self._scheduler.stuck_s()

    def check_admission(self) -> None:
        """Say early, before a body is read, that no more may wait.

        Raises:
            OverloadedError: As many requests wait as may.
        """
        if self.admitted > self.settings.max_waiting:
            raise OverloadedError(f"{self.admitted - 1} requests wait already, the most that may; try again soon")

    async def predict(self, request: PredictRequest, gone: Gone, *, began: float, hold: Hold) -> PredictJob:
        """A job that has its deterministic answer.

        Args:
            request: The request.
            gone: Waits until the client has gone.
            began: When its first byte was there, on the clock of `time.monotonic`.
            hold: Where the memory that it needs is taken from.

        Raises:
            OverloadedError: As much waits as may, or as can be answered in time.
            MemoryLimitError: It needs more memory than there is for requests.
            DeadlineError: It was not there in time.
            ClientGoneError: The client went before it was.
            InputError: The model refuses the values.
        """
        from thinned.service.inference.jobs import PredictJob

        engine = self.engine
        most = self.row_passes(request.inputs, "predict")
        outputs = engine.numbers_per_row(request.inputs) * len(next(iter(request.inputs.values())))
        hold.take("answers", _ANSWER_BYTES * outputs)
        deadline = began + request.timeout_ms / 1000
        job = PredictJob(request.inputs, row_passes=most, deadline=deadline, ood=self._ood(request))
        await self._answered(job, request.timeout_ms, gone)
        self._tell_answer(request, job)
        return job

    async def sample(
        self, request: SampleRequest, gone: Gone, *, began: float, hold: Hold, on_blocks: OnBlocks | None = None
    ) -> SampleJob:
        """A job that has its passes. Arguments are those of `predict`; `on_blocks` is told of passes as they come.

        Raises:
            NoSitesError: The model draws no noise.
            ThinnedError: As for `predict`.
        """
        from thinned.models.dropout import MonteCarloRun
        from thinned.service.inference.jobs import SampleJob

        engine = self.engine
        engine.model.require_passes()
        exact = engine.model.needs_no_pass(request.estimator, keep_passes=request.needs_passes)
        made = "exact" if exact else request.estimator
        most = self.row_passes(request.inputs, "whole", request.sampling, made)
        numbers = engine.numbers_per_row(request.inputs) * len(next(iter(request.inputs.values())))
        if request.needs_passes:
            hold.take("passes", 4 * numbers * request.kept_passes)
        hold.take("answers", _ANSWER_BYTES * numbers * (3 + request.return_samples * request.kept_passes))
        if on_blocks is not None:
            hold.take("passes", _BLOCK_BYTES * numbers * math.ceil(request.n_samples / BLOCK))
            # Those that are told of before the run has all of them.
            hold.take("passes", 4 * numbers * request.return_samples * request.kept_passes)
        ood = self._ood(request)
        run = MonteCarloRun(
            request.inputs,
            engine.output_names,
            row_passes=most,
            n_samples=request.n_samples,
            seed=request.seed,
            sampling=request.sampling,
            keep_passes=request.needs_passes,
            tolerance=request.tolerance,
            budget_ms=request.budget_ms,
            began=began,
            estimator=request.estimator,
            exact=exact,
            on_frontier=None if ood is None else ood.take,
            on_blocks=None if on_blocks is None else _in_this_loop(on_blocks, with_passes=request.return_samples),
        )
        job = SampleJob(request.inputs, run, row_passes=most, deadline=began + request.timeout_ms / 1000, ood=ood)
        await self._answered(job, request.timeout_ms, gone)
        self._tell_answer(request, job)
        return job

    def submit(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        """Have a job computed that no request waits for; its `answered` is called when it has ended."""
        self._scheduler_of(loop).submit(job)

    def _tell_answer(self, request: PredictRequest | SampleRequest, job: PredictJob | SampleJob) -> None:
        if self._on_answer is not None:
            # In the next round of the loop: an answer that is written at once is on its way then.
            asyncio.get_running_loop().call_soon(self._on_answer, self.stored, request, job)

    def _ood(self, request: PredictRequest | SampleRequest) -> OodRows | None:
        """What takes the frontier of a request that asks how unlike its rows are."""
        from thinned.service.inference.jobs import OodRows

        scorer = self.engine.ood if request.ood else None
        return None if scorer is None else OodRows(len(next(iter(request.inputs.values()))), scorer)

    def row_passes(self, inputs: Mapping[str, Array], *kind: str) -> int:
        """Rows x passes of a call of such rows: what memory allows, and no more than takes a quarter of a second."""
        limit = self.engine.row_passes_for({name: x.shape[1:] for name, x in inputs.items()})
        if self._scheduler is None:
            return limit
        shapes = tuple(x.shape[1:] for x in inputs.values())
        return self._scheduler.costs.most((kind[0], shapes, *kind[1:]), limit)

    async def _answered(self, job: Job, timeout_ms: float, gone: Gone) -> None:
        """Wait until a job has its answer; its place is free again when that is there, too late, or nobody waits."""
        self.check_admission()
        loop = asyncio.get_running_loop()
        scheduler = self._scheduler_of(loop)
        self.check_time(job.deadline, job)
        answered: asyncio.Future[Exception | None] = loop.create_future()
        watches: list[asyncio.Task[None] | asyncio.TimerHandle] = []

        def finish(error: Exception | None = None) -> None:
            if not answered.done():
                answered.set_result(error)

        async def watch_client() -> None:
            await gone()
            finish(ClientGoneError("the client has gone"))

        def watch() -> None:
            # Not for an answer that is there at once: it needs no watching.
            if not answered.done():
                watches.append(loop.create_task(watch_client()))
                watches.append(loop.call_later(job.deadline - time.monotonic(), finish, self._too_late(timeout_ms)))

        job.answered = finish
        self.admitted += 1
        began = time.perf_counter()
        try:
            scheduler.submit(job)
            loop.call_soon(watch)  # behind what `submit` has the loop do
            error = await answered
        finally:
            job.took_s = time.perf_counter() - began
            self.admitted -= 1
            scheduler.abandon(job)
            for one in watches:
                one.cancel()
        error, job.error = error or job.error, None
        if isinstance(error, DeadlineError):
            error = self._too_late(timeout_ms)
        if error is not None:
            try:
                raise error
            finally:
                # What is raised knows this frame, and so the inputs: it would know itself, and stay until the garbage
                # collector comes.
                del error

    def check_time(self, deadline: float, job: Job | None = None) -> None:
        """Refuse at once what cannot be answered in time, by what calls have taken; never where nothing else waits.

        Args:
            deadline: When the answer must be there, on the clock of `time.monotonic`.
            job: What is to be computed; before the body is parsed, nothing.

        Raises:
            OverloadedError: What waits takes too long.
        """
        if not self.admitted or self._scheduler is None:
            return
        own_s = 0.0 if job is None else self._scheduler.costs.waiting_s([job])
        enough_s = (deadline - time.monotonic()) / _CAUTION - own_s
        waiting_s = self._scheduler.waiting_s(enough_s)
        if waiting_s > enough_s:
            raise OverloadedError(
                f"what waits already takes about {waiting_s:.1f} s, so that the answer would not be there in time; "
                "come again, or allow more with timeout_ms",
                retry_after_s=max(1, math.ceil(waiting_s)),
            )

    def _too_late(self, timeout_ms: float) -> DeadlineError:
        return DeadlineError(
            f"the answer was not there within {timeout_ms:g} ms; allow more with timeout_ms (up to "
            f"{self.settings.max_timeout_ms}), ask for less, or ask again when there is less to do"
        )

    def _scheduler_of(self, loop: asyncio.AbstractEventLoop) -> Scheduler:
        if self._scheduler is None:
            from thinned.service.inference.scheduler import Scheduler

            self._scheduler = Scheduler(
                self.engine,
                soon=loop.call_soon,
                soon_from_elsewhere=loop.call_soon_threadsafe,
                join=self.settings.join,
                metrics=self._metrics,
                thread=self._thread,
                background=self._background,
            )
        return self._scheduler

    def _end_if_idle(self) -> None:
        if self._retired and not self._borrowers:
            self.close()
            self.idle.set()


def _in_this_loop(on_blocks: OnBlocks, *, with_passes: bool) -> OnBlocks:
    """The same, to be called from the thread that computes."""
    loop = asyncio.get_running_loop()

    def told(rows: slice, part: dict[str, BlockStatistics]) -> None:
        if not with_passes:  # They are kept by the run, where they are kept.
            part = {name: replace(blocks, passes=None) for name, blocks in part.items()}
        with suppress(RuntimeError):  # The event loop has ended.
            loop.call_soon_threadsafe(on_blocks, rows, part)

    return told
