"""What the store holds: every version, damaged ones too, and what points to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thinned.models.errors import ModelCorruptError
from thinned.models.storage.model_store import StoredModel, folders
from thinned.models.storage.stored_model import read, verify_files
from thinned.models.storage.versions import aliases_of, latest, versions

__all__ = ["Entry", "entry_of", "survey"]


@dataclass(frozen=True)
class Entry:
    """One version in the store.

    `stored` is None where its card cannot be read; `damage` says what is wrong with it, or is None. `latest` tells
    whether the name alone stands for it, and `aliases` what else does.
    """

    name: str
    version: str
    stored: StoredModel | None
    damage: str | None
    latest: bool
    aliases: tuple[str, ...]


def survey() -> list[Entry]:
    """Every version, by name and then from the oldest; each file is read and compared with its digest."""
    return [_entry(place, there) for folder in folders() for there in [versions(folder)] for place in there]


def entry_of(stored: StoredModel) -> Entry:
    """The entry of a version that was found."""
    return _entry(stored.path, versions(stored.path.parent))


def _entry(place: Path, there: list[Path]) -> Entry:
    stored, damage = None, None
    try:
        stored = read(place)
        verify_files(stored)
    except ModelCorruptError as error:
        damage = str(error)
    folder = place.parent
    pointing = tuple(aliases_of(folder, place.name))
    return Entry(folder.name, place.name, stored, damage, latest(folder, there) == place, pointing)
