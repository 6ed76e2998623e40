"""The model of a worker process: loaded and checked in the background, lent to requests, exchanged for a newer one."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.errors import ModelNotFoundError, NotReadyError, ReloadError, ThinnedError
from thinned.models.storage.model_store import StoredModel, find
from thinned.service.inference import garbage
from thinned.service.inference.model_room import ModelRoom
from thinned.service.inference.resources import Resources
from thinned.service.inference.served_model import OnAnswer, ServedModel
from thinned.service.inference.siblings import Siblings
from thinned.service.inference.threads import set_threads, threads_for
from thinned.service.references import read_references
from thinned.service.settings import Settings

if TYPE_CHECKING:
    from thinned.service.inference.engine import Engine

__all__ = ["ModelManager"]

LATE_S = 10.0
"""A worker whose compute thread has been so much longer in a call than calls take is not ready."""

# Children of BentoML's logger, so that BentoML's handlers show what is written here.
log = logging.getLogger("bentoml.thinned")


class ModelManager:
    """A stored model and what computes with it.

    Args:
        settings: Bound what may wait.
        siblings: The service's other workers, which serve the same version.
        reference: Names the model, as the store finds it; by default the first of the settings.
        resources: What it shares with other models of the worker; its own by default.
        background: Whether it computes only where no other model wants to.
    """

    def __init__(
        self,
        settings: Settings,
        siblings: Siblings | None = None,
        *,
        reference: str | None = None,
        resources: Resources | None = None,
        background: bool = False,
    ) -> None:
        self.on_answer: OnAnswer | None = None
        """Called with each request that has its answer; set before it is loaded."""
        self._background = background
        self.settings = settings
        self.reference = reference or settings.references[0].text
        self.siblings = siblings or Siblings(None)
        self.on_readiness: Callable[[], object] = lambda: None
        """Called when it begins or ceases to take requests."""
        self._served: ServedModel | None = None
        self._found: StoredModel | None = None
        self._failure: str | None = None
        self._stopping = False
        self._resources = resources or Resources.of(settings, self.reference)
        self.metrics = self._resources.metrics
        self.memory = self._resources.memory
        """What requests hold beside the call under way."""
        try:
            self._found = self._in_force()
        except ThinnedError as error:
            self._fail(f"{self.reference} cannot be served: {error}")
        else:
            self.metrics.serve(self._found.tag)

    # Loading

    def load(self) -> bool:
        """Load the model and check it; say whether it is served.

        A failure is kept for requests to be told, and logged in one line.
        """
        with self._resources.loading:
            if self._found is None:
                return False
            try:
                self._serve(self._found, self._load(self._found))
            except ThinnedError as error:
                self._fail(f"{self._found.tag} cannot be served: {error}")
                return False
            except Exception as error:
                self._failure = f"{self._found.tag} could not be loaded; the service's log says more"
                log.exception("%s could not be loaded: %s", self._found.tag, error)
                return False
        return True

    def reload(self) -> tuple[StoredModel, bool]:
        """Load what the name stands for today beside what is served, and exchange them between two calls.

        Returns:
            The model that is served, and whether it is another one than before.

        Raises:
            ReloadError: The newer one cannot be served; the older one goes on.
        """
        with self._resources.loading:
            before = self._served
            try:
                stored = find(self.reference)
                if before is not None and before.stored.tag == stored.tag:
                    return before.stored, False
                engine = self._load(stored)
                engine.warm_up_rest()
            except Exception as error:
                text = f"{error}" if isinstance(error, ThinnedError) else f"{type(error).__name__}: {error}"
                kept = "nothing is served" if before is None else f"{before.stored.tag} goes on"
                raise ReloadError(f"{self.reference} could not be exchanged, and {kept}: {text}") from error
            self._serve(stored, engine)
        if before is not None:
            before.retire()
            arguments = (before, self._resources.room)
            threading.Thread(target=_forget, args=arguments, name="thinned-forget", daemon=True).start()
        return stored, True

    def _in_force(self) -> StoredModel:
        """What the siblings serve, so that a worker that is started again serves no other; else what is named."""
        version = self.siblings.version
        if version is not None:
            try:
                return find(version)
            except ModelNotFoundError:
                log.warning("%s, which the other workers serve, is no longer in the store", version)
        stored = find(self.reference)
        self.siblings.agree_on(stored.tag)
        return stored

    def _load(self, stored: StoredModel) -> Engine:
        self.metrics.memory("model", self._resources.room.take(stored))
        # TensorFlow takes seconds to import, in which the service already answers that it lives.
        set_threads(self.settings.compute_threads or threads_for(self.settings.workers))
        import_tensorflow()
        from thinned.service.inference.engine import Engine

        most = self._resources.call_memory
        try:
            engine = Engine(
                stored,
                block_row_passes=self.settings.block_row_passes,
                call_memory=most,
                noise_memory=0 if self._background else self._resources.noise_memory,
            )
            engine.warm_up()
        except Exception:
            self._resources.room.give(stored)
            raise
        return engine

    def _serve(self, stored: StoredModel, engine: Engine) -> None:
        garbage.keep()
        self.metrics.serve(stored.tag)
        self._served, self._found, self._failure = (
            ServedModel(
                stored,
                engine,
                self.settings,
                self.metrics,
                self._resources.thread,
                on_answer=self.on_answer,
                background=self._background,
            ),
            stored,
            None,
        )
        self.siblings.agree_on(stored.tag, now=True)
        self._tell_readiness()
        log.info("%s is ready", stored.tag)

    def _fail(self, text: str) -> None:
        self._failure = text
        log.error(text)

    # Lending

    @property
    def served(self) -> ServedModel:
        """What answers requests at this moment.

        Raises:
            NotReadyError: It is not loaded yet, or never will be.
        """
        if self._served is None:
            raise NotReadyError(self._failure or f"{self.stored.tag} is being loaded; try again in some seconds")
        return self._served

    @property
    def engine(self) -> Engine:
        """The loaded and proved model. Raises as `served` does."""
        return self.served.engine

    @property
    def stored(self) -> StoredModel:
        """The model that is served, or will be once it is loaded.

        Raises:
            NotReadyError: The store does not hold it.
        """
        if self._found is None:
            raise NotReadyError(self._failure or f"{self.reference} is not there")
        return self._found

    @property
    def name(self) -> str:
        """The name under which it is served."""
        return read_references(self.reference)[0].name

    @property
    def version(self) -> str | None:
        """Its version in the store; None where the store does not hold it."""
        return None if self._found is None else self._found.version

    @contextmanager
    def lend(self) -> Iterator[ServedModel]:
        """What answers a request from its beginning to its end, whatever is served meanwhile to others.

        Raises:
            NotReadyError: As for `served`.
        """
        served = self.served
        served.borrow()
        try:
            yield served
        finally:
            served.give_back()

    # Readiness

    def check_ready(self) -> None:
        """Find out whether requests should be sent here.

        Raises:
            NotReadyError: The model is not loaded, the compute thread does not turn, or the service is stopping.
        """
        if self._stopping:
            raise NotReadyError("the service is stopping; ask another one, or again in some seconds")
        late_s = self.served.stuck_s()
        if late_s > LATE_S:
            how_long = "has ended" if math.isinf(late_s) else f"is {late_s:.0f} s late"
            raise NotReadyError(f"the thread that computes {how_long}; the worker will be started again")

    def stuck_s(self) -> float:
        """For how many seconds the compute thread has been longer in its call than calls take; 0 while it turns."""
        return 0.0 if self._served is None else self._served.stuck_s()

    def is_ready(self) -> bool:
        """Whether requests should be sent here."""
        try:
            self.check_ready()
        except NotReadyError:
            return False
        return True

    def leave(self) -> None:
        """Requests should be sent here no longer; those that come all the same are answered."""
        self._stopping = True
        self._tell_readiness()

    def close(self) -> None:
        """Let go of what waits; what is being computed ends."""
        if self._served is not None:
            self._served.close()

    @property
    def is_loaded(self) -> bool:
        """Whether it is loaded and checked."""
        return self._served is not None

    @property
    def takes_requests(self) -> bool:
        """Whether it is loaded and checked, and the service is not stopping."""
        return self.is_loaded and not self._stopping

    def _tell_readiness(self) -> None:
        self.metrics.ready(self.takes_requests)
        self.on_readiness()


def _forget(served: ServedModel, room: ModelRoom) -> None:
    """Give the memory of a model back once its last request has ended."""
    served.idle.wait()
    stored = served.stored
    del served
    garbage.look_again()
    room.give(stored)
