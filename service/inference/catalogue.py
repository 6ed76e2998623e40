"""The models of a worker process, by name: loaded one after the other, ready together, exchanged together."""

from __future__ import annotations

import logging
import threading
from collections.abc import ItemsView, Mapping, Sequence

from thinned.models.errors import ReloadError
from thinned.models.storage.model_store import StoredModel
from thinned.service.inference import garbage
from thinned.service.inference.model_manager import ModelManager
from thinned.service.inference.model_room import ModelRoom
from thinned.service.inference.resources import Resources
from thinned.service.inference.shadow import Shadow, check_comparable
from thinned.service.inference.siblings import Siblings
from thinned.service.inference.threads import give_way
from thinned.service.references import Reference
from thinned.service.settings import Settings

__all__ = ["Catalogue", "check_models", "check_shadows"]

log = logging.getLogger("bentoml.thinned")


class Catalogue:
    """The models that a worker serves. The first answers where no other is named.

    Args:
        managers: Those that answer requests, by name.
        siblings: The service's other workers.
        shadows: Those that answer unseen, by the name of the model whose requests they answer.
    """

    def __init__(
        self,
        managers: Mapping[str, ModelManager],
        siblings: Siblings | None = None,
        shadows: Mapping[str, Shadow] | None = None,
    ) -> None:
        self._managers, self._shadows = dict(managers), dict(shadows or {})
        self.siblings = siblings or Siblings(None)
        for manager in self._managers.values():
            manager.on_readiness = self._tell_readiness

    @classmethod
    def of(cls, settings: Settings, siblings: Siblings | None = None) -> Catalogue:
        """The models that the settings name. None of them is loaded yet."""
        siblings = siblings or Siblings(None)
        managers: dict[str, ModelManager] = {}
        shadows: dict[str, Shadow] = {}
        first: Resources | None = None
        for place, reference in enumerate(settings.references):
            resources = Resources.of(settings, reference.text) if first is None else first.beside(reference.text)
            first = first or resources
            unseen = reference.shadow_of is not None
            manager = ModelManager(
                settings, siblings.beside(place), reference=reference.text, resources=resources, background=unseen
            )
            if reference.shadow_of is None:
                managers[reference.name] = manager
                continue
            primary = managers[reference.shadow_of]
            shadow = shadows[reference.shadow_of] = Shadow(primary, manager, resources.shadow_memory)
            primary.on_answer = shadow.offer
        return cls(managers, siblings, shadows)

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

    def shadow_of(self, name: str) -> Shadow | None:
        """What answers unseen the requests of the model of this name; None where nothing does."""
        return self._shadows.get(name)

    @property
    def _with_shadows(self) -> list[ModelManager]:
        return [*self._managers.values(), *(shadow.manager for shadow in self._shadows.values())]

    # Loading

    def start(self) -> None:
        """Begin to load all models, and return at once."""
        garbage.look_seldom()
        threading.Thread(target=self._load_in_background, name="thinned-load", daemon=True).start()

    def load(self) -> bool:
        """Load all models, one after the other; say whether all that answer are served."""
        served = [manager.load() for manager in self._managers.values()]
        for shadow in self._shadows.values():
            shadow.manager.load()
        return all(served)

    def _load_in_background(self) -> None:
        give_way()  # TensorFlow's threads are started here.
        self.load()
        for manager in self._with_shadows:
            if manager.is_loaded:
                manager.engine.warm_up_rest()
        garbage.keep(look=False)

    def reload(self) -> list[tuple[StoredModel, bool]]:
        """Exchange each model for what its name stands for today.

        Returns:
            For each model what is served, and whether it is another version than before.

        Raises:
            ReloadError: Some could not be exchanged; they go on as they were, and the others are exchanged.
        """
        done, failed = [], []
        for manager in self._with_shadows:
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
        return all(manager.is_ready() for manager in self._managers.values())

    def stuck_s(self) -> float:
        """For how many seconds the compute thread has been longer in its call than calls take; 0 while it turns."""
        return max(manager.stuck_s() for manager in self._managers.values())

    def leave(self) -> None:
        """Requests should be sent here no longer; those that come all the same are answered."""
        for manager in self._managers.values():
            manager.leave()

    def close(self) -> None:
        """Let go of what waits; what is being computed ends."""
        for manager in self._with_shadows:
            manager.close()

    def _tell_readiness(self) -> None:
        self.siblings.tell(ready=all(manager.takes_requests for manager in self._managers.values()))


def check_models(settings: Settings, found: Sequence[StoredModel]) -> None:
    """Find out, before anything is loaded, whether the models of the settings can be served together.

    Args:
        settings: Name them.
        found: What the store has for each.

    Raises:
        SettingsError: They do not fit into the memory, or a shadow cannot be compared with its model.
    """
    ModelRoom(settings).check(found)
    check_shadows(settings.references, found)


def check_shadows(references: Sequence[Reference], found: Sequence[StoredModel]) -> None:
    """Find out whether each shadow can be compared with its model; `found` is what the store has for each reference.

    Raises:
        SettingsError: It takes or answers something else.
    """
    answering: dict[str, StoredModel] = {}
    for reference, stored in zip(references, found, strict=True):
        if reference.shadow_of is None:
            answering[reference.name] = stored
        else:
            check_comparable(answering[reference.shadow_of], stored)
