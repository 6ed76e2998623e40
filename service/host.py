"""The one model of a worker process: loaded and proved in the background, then lent out a few calls at a time."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from models.errors import ThinnedError
from models.quiet import import_tensorflow
from models.registry import StoredModel, find
from service.errors import NotReadyError, OverloadedError
from service.settings import Settings

if TYPE_CHECKING:
    from service.engine import Engine

__all__ = ["ModelHost"]

T = TypeVar("T")

# Children of BentoML's logger, so that BentoML's handlers show what is written here.
log = logging.getLogger("bentoml.thinned")


class ModelHost:
    """A stored model and the threads that compute with it.

    Args:
        settings: Names the model, and bounds what may wait.

    Raises:
        ModelNotFoundError: The store does not hold the model.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stored: StoredModel = find(settings.model)
        self._engine: Engine | None = None
        self._failure: str | None = None
        self._admitted = 0
        self._counting = threading.Lock()
        self._executor = ThreadPoolExecutor(
            settings.threads,
            thread_name_prefix="thinned-compute",
            # Answers that are not finite are refused when they are written; NumPy need not warn of them in the log.
            initializer=partial(np.seterr, over="ignore", invalid="ignore"),
        )

    def start(self) -> None:
        """Begin to load the model, and return at once."""
        threading.Thread(target=self.load, name="thinned-load", daemon=True).start()

    def load(self) -> None:
        """Load the model and prove it. A failure is kept for `engine` to tell, and logged in one line."""
        try:
            # TensorFlow takes seconds to import, in which the service already answers that it lives.
            import_tensorflow()
            from service.engine import Engine

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
            log.info("%s is ready", self.stored.tag)

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
        _ = self.engine
        if self._admitted >= self.settings.threads + self.settings.max_waiting:
            raise OverloadedError(
                f"{self._admitted - self.settings.threads} requests wait already, the most that may; try again soon"
            )

    async def run(self, call: Callable[[], T]) -> T:
        """Run `call` in a compute thread when its turn comes. Called from the event loop only.

        Raises:
            NotReadyError: The model is not loaded.
            OverloadedError: As many requests wait as may.
        """
        self.check_admission()
        with self._counting:
            self._admitted += 1
        future = self._executor.submit(call)
        # Not when the client goes: a call that has begun cannot be stopped, and holds its thread until it ends.
        future.add_done_callback(self._release)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let go of what waits; what is being computed ends."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _release(self, _: object) -> None:
        with self._counting:
            self._admitted -= 1
