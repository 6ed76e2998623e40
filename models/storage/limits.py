"""What a model file may hold: sizes, depths and counts beyond which it is refused before it is read."""

from __future__ import annotations

import os
from pathlib import Path

from thinned.models.errors import SettingsError

__all__ = [
    "DEEPEST",
    "LONGEST_TEXT",
    "MAX_MODEL",
    "MOST_ITEMS",
    "MOST_LAYERS",
    "MOST_MEMBERS",
    "MOST_OBJECTS",
    "allowed_bytes",
    "allowed_elements",
    "allowed_seconds",
    "free_bytes",
    "is_bomb",
    "max_model_bytes",
    "size_text",
]

MAX_MODEL = "THINNED_MAX_MODEL_MIB"
"""Environment variable: MiB that a model file may hold once it is inflated."""

LONGEST_TEXT = 64 << 20
"""Bytes of a configuration."""

DEEPEST = 120
"""Levels of objects and lists in a configuration. A model inside a model takes five."""

MOST_ITEMS = 5_000_000
"""Numbers, texts, lists and objects in a configuration: each takes some 60 bytes once it is parsed."""

MOST_LAYERS = 20_000

MOST_MEMBERS = 10_000
"""Members of an archive: three, and the files of vocabularies."""

MOST_OBJECTS = 100_000
"""Groups, arrays and names in an HDF5 file."""

_DEFAULT_MIB = 8192
_FLOOR = 64 << 20
_RATIO = 100


def allowed_bytes(file_size: int) -> int:
    """The most bytes of weights that an HDF5 file of this size may declare: Keras compresses nothing."""
    return 4 * file_size + _FLOOR


def allowed_elements(weights_bytes: int) -> int:
    """The most numbers that a configuration may ask for beside weights of this size: half a byte each, four times."""
    return 2 * allowed_bytes(weights_bytes)


def allowed_seconds(file_size: int, layers: int) -> float:
    """How long Keras may take to build a model; some ten times what it takes."""
    return 60.0 + 0.2 * layers + file_size / (4 << 20)


def is_bomb(size: int, compressed: int) -> bool:
    """Whether a member declares far more than numbers that were trained, or the text of a model, compress to."""
    return size > _FLOOR // 16 and size > _RATIO * compressed


def max_model_bytes() -> int:
    """Bytes that a model file may hold, by `THINNED_MAX_MODEL_MIB`.

    Raises:
        SettingsError: The variable holds something else than a number of MiB.
    """
    given = os.environ.get(MAX_MODEL, str(_DEFAULT_MIB)).strip()
    if not given.isdecimal() or int(given) < 1:
        raise SettingsError(f"{MAX_MODEL}: expected a whole number of MiB, 1 or more, received {given!r}")
    return int(given) << 20


def free_bytes() -> int | None:
    """Memory that is free, swap left out; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def size_text(size: float) -> str:
    """A number of bytes for a person: "12 kB", "4.0 GB"."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= least:
            return f"{size / least:.3g} {unit}"
    return f"{size:.0f} bytes"
