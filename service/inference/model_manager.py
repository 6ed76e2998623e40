"""The one model of a worker process: loaded and checked in the background, then lent out to requests."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.errors import (
    ClientGoneError,
    DeadlineError,
    NotReadyError,
    OverloadedError,
    ThinnedError,
)
from thinned.models.storage.model_store import StoredModel, find
from thinned.service.inference.threads import set_threads
from thinned.service.metrics import Metrics
from thinned.service.schema.request_fields import PredictRequest, SampleRequest
from thinned.service.settings import Settings

if TYPE_CHECKING:
    from thinned.service.inference.engine import Engine
    from thinned.service.inference.jobs import Job, PredictJob, SampleJob
    from thinned.service.inference.scheduler import Scheduler

__all__ = ["Gone", "ModelManager"]

Gone: TypeAlias = Callable[[], Awaitable[object]]
"""Waits until the client has gone."""

# Children of BentoML's logger, so that BentoML's handlers show what is written here.
log = logging.getLogger("bentoml.thinned")


class ModelManager:
    """A stored model and what computes with it. All but `start` and `load` is called from the event loop.

    Args:
        settings: Names the model, and bounds what may wait.

    Raises:
        ModelNotFoundError: The store does not hold the model.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stored: StoredModel = find(settings.model)
        self.metrics = Metrics(self.stored.tag)
        self._engine: Engine | None = None
        self._scheduler: Scheduler | None = None
        self._failure: str | None = None
        self._admitted = 0

    def start(self) -> None:
        """Begin to load the model, and return at once."""
        threading.Thread(target=self.load, name="thinned-load", daemon=True).start()

    def load(self) -> None:
        """Load the model and check it. A failure is kept for `engine` to raise, and logged in one line."""
        try:
            # TensorFlow takes seconds to import, in which the service already answers that it lives.
            set_threads(self.settings.compute_threads)
            import_tensorflow()
            from thinned.service.inference.engine import Engine

            engine = Engine(self.stored, block_row_passes=self.settings.block_row_passes)
            engine.warm_up()
        except ThinnedError as error:
            self._failure = f"{self.stored.tag} cannot be served: {error}"
            log.error(self._failure)
        except Exception as error:
            self._failure = f"{self.stored.tag} could not be loaded; the service's log says more"
            log.exception("%s could not be loaded: %s", self.stored.tag, error)
        else:
            # The graphs stay for good. The garbage collector need not walk them again and again, 100 ms each time.
            gc.collect()
            gc.freeze()
            self._engine = engine
            self.metrics.ready()
            log.info("%s is ready", self.stored.tag)
            engine.warm_up_rest()
            gc.freeze()

    @property
    def engine(self) -> Engine:
        """The loaded and proved model.

        Raises:
            NotReadyError: It is not that yet, or never will be.
        """
        if self._engine is None:
            raise NotReadyError(self._failure or f"{self.stored.tag} is being loaded; try again in some seconds")
        return self._engine

    def check_admission(self) -> None:
        """Say early, before a body is read, that no more may wait.

        Raises:
            NotReadyError: The model is not loaded.
            OverloadedError: As many requests wait as may.
        """
        if self._engine is None:
            _ = self.engine
        if self._admitted > self.settings.max_waiting:
            raise OverloadedError(f"{self._admitted - 1} requests wait already, the most that may; try again soon")

    async def predict(self, request: PredictRequest, gone: Gone) -> PredictJob:
        """A job that has its deterministic answer.

        Raises:
            NotReadyError: The model is not loaded.
            OverloadedError: As many requests wait as may.
            DeadlineError: It was not there in time.
            ClientGoneError: The client went before it was.
            InputError: The model refuses the values.
        """
        from thinned.service.inference.jobs import PredictJob

        job = PredictJob(request.inputs, deadline=time.monotonic() + request.timeout_ms / 1000)
        await self._answered(job, request.timeout_ms, gone)
        return job

    async def sample(self, request: SampleRequest, gone: Gone) -> SampleJob:
        """A job that has its passes.

        Raises:
            NoSitesError: The model draws no noise.
            ThinnedError: As for `predict`.
        """
        from thinned.models.dropout import MonteCarloRun
        from thinned.service.inference.jobs import SampleJob

        engine = self.engine
        engine.model.require_sites()
        run = MonteCarloRun(
            request.inputs,
            engine.output_names,
            row_passes=engine.row_passes,
            n_samples=request.n_samples,
            seed=request.seed,
            sampling=request.sampling,
            keep_passes=request.needs_passes,
            tolerance=request.tolerance,
            budget_ms=request.budget_ms,
        )
        job = SampleJob(request.inputs, run, deadline=time.monotonic() + request.timeout_ms / 1000)
        await self._answered(job, request.timeout_ms, gone)
        return job

    async def _answered(self, job: Job, timeout_ms: float, gone: Gone) -> None:
        """Wait until a job has its answer; its place is free again when that is there, or the client has gone."""
        self.check_admission()
        loop = asyncio.get_running_loop()
        answered = loop.create_future()
        watch: list[asyncio.Task[None]] = []

        def finish() -> None:
            if not answered.done():
                answered.set_result(None)

        async def give_up() -> None:
            await gone()
            if not answered.done():
                scheduler.abandon(job)
                answered.set_exception(ClientGoneError("the client has gone"))

        job.answered = finish
        job.waiting = lambda: watch.append(loop.create_task(give_up()))
        scheduler = self._scheduler_of(loop)
        self._admitted += 1
        began = time.perf_counter()
        try:
            scheduler.submit(job)
            await answered
        finally:
            job.took_s = time.perf_counter() - began
            self._admitted -= 1
            job.abandoned = True
            for task in watch:
                task.cancel()
        if isinstance(job.error, DeadlineError):
            raise DeadlineError(
                f"the answer was not there within {timeout_ms:g} ms; allow more with timeout_ms (up to "
                f"{self.settings.max_timeout_ms}), ask for less, or ask again when there is less to do"
            )
        if job.error is not None:
            raise job.error

    def _scheduler_of(self, loop: asyncio.AbstractEventLoop) -> Scheduler:
        if self._scheduler is None:
            from thinned.service.inference.scheduler import Scheduler

            self._scheduler = Scheduler(
                self.engine,
                soon=loop.call_soon,
                soon_from_elsewhere=loop.call_soon_threadsafe,
                join=self.settings.join,
            )
        return self._scheduler

    def close(self) -> None:
        """Let go of what waits; what is being computed ends."""
        if self._scheduler is not None:
            self._scheduler.close()
