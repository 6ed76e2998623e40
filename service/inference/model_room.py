"""What the loaded models of a worker may take of its memory, beside what its calls and requests may."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from thinned.models.errors import SettingsError
from thinned.models.storage.footprint import loaded_bytes
from thinned.models.storage.stored_model import StoredModel
from thinned.service.inference.memory import machine_memory
from thinned.service.settings import Settings

__all__ = ["ModelRoom", "calls_bytes"]

_MIB = 1 << 20
PROCESS = 512 * _MIB
"""Of a worker without a model: Python, TensorFlow and BentoML."""


def calls_bytes(settings: Settings) -> int:
    """Bytes that calls and requests of a worker may take."""
    return settings.memory_mib << 20 or _share(settings) // 2


class ModelRoom:
    """Counts what loaded models take, by tag. Where one alone is served it is not bounded.

    Args:
        settings: Name the models, and what calls may take.
    """

    def __init__(self, settings: Settings) -> None:
        self._calls, self._share = calls_bytes(settings), _share(settings)
        self._bounded = len(settings.references) > 1
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def check(self, models: Iterable[StoredModel]) -> None:
        """Find out whether these can be loaded together; raises as `take` does."""
        for stored in models:
            self.take(stored)

    def take(self, stored: StoredModel) -> int:
        """Count a model that is about to be loaded; the bytes that it takes.

        Raises:
            SettingsError: It does not fit beside the others.
        """
        size = loaded_bytes(stored)
        with self._lock:
            others = {tag: held for tag, held in self._held.items() if tag != stored.tag}
            left = self._share - PROCESS - self._calls - sum(others.values())
            if self._bounded and size > left:
                held = "".join(f"; {tag} takes {_mib(taken)}" for tag, taken in others.items())
                raise SettingsError(
                    f"{stored.tag} takes {_mib(size)} once it is loaded, and {_mib(max(0, left))} are left{held}; "
                    f"THINNED_MEMORY_MIB sets {_mib(self._calls)} apart for calls and requests, of {_mib(self._share)} "
                    "for the worker; serve fewer models, or set it lower"
                )
            self._held[stored.tag] = size
        return size

    def give(self, stored: StoredModel) -> None:
        """A model is no longer loaded."""
        with self._lock:
            self._held.pop(stored.tag, None)


def _share(settings: Settings) -> int:
    """Of the memory of the machine or the container, what one worker has."""
    return machine_memory() // settings.workers


def _mib(size: int) -> str:
    return f"{size / _MIB:,.0f} MiB"
