"""The models of a worker process, by name: loaded one after the other, ready together, exchanged together."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import ItemsView, Mapping

from thinned.models.errors import NotReadyError, ReloadError
from thinned.models.storage.model_store import StoredModel
from thinned.service.inference.model_manager import ModelManager
from thinned.service.inference.resources import Resources
from thinned.service.inference.siblings import Siblings
from thinned.service.inference.threads import give_way
from thinned.service.settings import Settings

__all__ = ["Catalogue"]

log = logging.getLogger("bentoml.thinned")


class Catalogue:
    """The models that a worker serves. The first answers where no other is named.

    Args:
        managers: Those that answer requests, by name.
        siblings: The service's other workers.
    """

    def __init__(self, managers: Mapping[str, ModelManager], siblings: Siblings | None = None) -> None:
        self._managers = dict(managers)
        self.siblings = siblings or Siblings(None)
        for manager in self._managers.values():
            manager.on_readiness = self._tell_readiness

    @classmethod
    def of(cls, settings: Settings, siblings: Siblings | None = None) -> Catalogue:
        """The models that the settings name. None of them is loaded yet."""
        siblings = siblings or Siblings(None)
        managers: dict[str, ModelManager] = {}
        first: Resources | None = None
        for place, reference in enumerate(settings.references):
            resources = Resources.of(settings, reference.text) if first is None else first.beside(reference.text)
            first = first or resources
            managers[reference.name] = ModelManager(
                settings, siblings.beside(place), reference=reference.text, resources=resources
            )
        return cls(managers, siblings)

    @property
    def first(self) -> ModelManager:
        """The model that answers where no other is named."""
        return next(iter(self._managers.values()))

    @property
    def names(self) -> list[str]:
        """Names of the models that answer, the first one first."""
        return list(self._managers)

    @property
    def settings(self) -> Settings:
        """The settings of the service."""
        return self.first.settings

    def items(self) -> ItemsView[str, ModelManager]:
        """The models that answer, with their names."""
        return self._managers.items()

    def find(self, name: str) -> ModelManager | None:
        """The model of this name; None where none that answers has it."""
        return self._managers.get(name)

    # Loading

    def start(self) -> None:
        """Begin to load all models, and return at once."""
        threading.Thread(target=self._load_in_background, name="thinned-load", daemon=True).start()

    def load(self) -> bool:
        """Load all models, one after the other; say whether all are served."""
        served = [manager.load() for manager in self._managers.values()]
        return all(served)

    def _load_in_background(self) -> None:
        give_way()  # TensorFlow's threads are started here.
        self.load()
        for manager in self._managers.values():
            if manager.is_loaded:
                manager.engine.warm_up_rest()
        gc.freeze()

    def reload(self) -> list[tuple[StoredModel, bool]]:
        """Exchange each model for what its name stands for today.

        Returns:
            For each model what is served, and whether it is another version than before.

        Raises:
            ReloadError: Some could not be exchanged; they go on as they were, and the others are exchanged.
        """
        done, failed = [], []
        for manager in self._managers.values():
            try:
                done.append(manager.reload())
            except ReloadError as error:
                failed.append(error)
        if failed:
            raise ReloadError("; ".join(map(str, failed))) from failed[0]
        return done

    # Readiness

    def check_ready(self) -> None:
        """Find out whether requests for any of the models should be sent here.

        Raises:
            NotReadyError: One is not loaded, the compute thread does not turn, or the service is stopping.
        """
        for manager in self._managers.values():
            manager.check_ready()

    def is_ready(self) -> bool:
        """Whether requests for any of the models should be sent here."""
        try:
            self.check_ready()
        except NotReadyError:
            return False
        return True

    def stuck_s(self) -> float:
        """For how many seconds the compute thread has been longer in its call than calls take; 0 while it turns."""
        return max(manager.stuck_s() for manager in self._managers.values())

    def leave(self) -> None:
        """Requests should be sent here no longer; those that come all the same are answered."""
        for manager in self._managers.values():
            manager.leave()

    def close(self) -> None:
        """Let go of what waits; what is being computed ends."""
        for manager in self._managers.values():
            manager.close()

    def _tell_readiness(self) -> None:
        self.siblings.tell(ready=all(manager.takes_requests for manager in self._managers.values()))
