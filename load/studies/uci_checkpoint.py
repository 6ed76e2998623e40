"""Files from which an interrupted UCI study resumes; each has a key that states the settings it was made with."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["TrainingClock", "load_arrays", "read_value", "save_arrays", "write_value"]


class TrainingClock:
    """Seconds that a set took in all runs together, and the number of epochs of each of its stages.

    Args:
        path: File that holds them between runs.
        key: Settings that the file must have been made with.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        stored = read_value(path, key) or {}
        self.epochs: dict[str, int] = stored.get("epochs", {})
        self._before: float = stored.get("seconds", 0.0)
        self._begun = time.monotonic()

    def seconds(self) -> float:
        """Seconds so far, of earlier runs too."""
        return self._before + time.monotonic() - self._begun

    def save(self) -> None:
        """Write the file."""
        write_value(self._path, self._key, {"epochs": self.epochs, "seconds": self.seconds()})


def read_value(path: Path, key: str) -> dict[str, Any] | None:
    """Read what `write_value` wrote; None if there is no such file, or its key is another."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found: dict[str, Any] | None = document.get("value") if document.get("key") == key else None
    return found


def write_value(path: Path, key: str, value: dict[str, Any]) -> None:
    """Write a value as JSON, atomically."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"key": key, "value": value}, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)


def load_arrays(path: Path, key: str) -> dict[str, npt.NDArray[Any]] | None:
    """Read what `save_arrays` wrote; None if there is no such file, or its key is another."""
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except (OSError, ValueError, EOFError):
        return None
    return arrays if str(arrays.pop("key", "")) == key else None


def save_arrays(path: Path, key: str, state: dict[str, npt.NDArray[Any]]) -> None:
    """Write arrays, atomically."""
    fresh = path.with_suffix(".new.npz")
    np.savez(fresh, **{**state, "key": np.array(key)})  # type: ignore[arg-type]
    fresh.replace(path)
