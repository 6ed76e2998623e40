"""What a run has done, kept so that it goes on after a stop: each file with a key that says what it was made with."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Clock", "load", "read", "save", "write"]


class Clock:
    """Seconds that a set has taken over all runs, and the epochs that its stages were given."""

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        stored = read(path, key) or {}
        self.epochs: dict[str, int] = stored.get("epochs", {})
        self._before: float = stored.get("seconds", 0.0)
        self._begun = time.monotonic()

    def seconds(self) -> float:
        """Seconds so far."""
        return self._before + time.monotonic() - self._begun

    def save(self) -> None:
        """Write it down."""
        write(self._path, self._key, {"epochs": self.epochs, "seconds": self.seconds()})


def read(path: Path, key: str) -> dict[str, Any] | None:
    """Read what `write` wrote; None if there is nothing, or it was made with something else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found: dict[str, Any] | None = document.get("value") if document.get("key") == key else None
    return found


def write(path: Path, key: str, value: dict[str, Any]) -> None:
    """Write a value as JSON, whole or not at all."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"key": key, "value": value}, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)


def load(path: Path, key: str) -> dict[str, npt.NDArray[Any]] | None:
    """Read arrays that `save` wrote; None if there are none, or they were made with something else."""
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except (OSError, ValueError, EOFError):
        return None
    return arrays if str(arrays.pop("key", "")) == key else None


def save(path: Path, key: str, state: dict[str, npt.NDArray[Any]]) -> None:
    """Write arrays, whole or not at all."""
    fresh = path.with_suffix(".new.npz")
    np.savez(fresh, **{**state, "key": np.array(key)})  # type: ignore[arg-type]
    fresh.replace(path)
