"""Aliases set and removed, and `latest` taken back to the version before it."""

from __future__ import annotations

from typing import NamedTuple

from thinned.models.errors import AliasError, ModelNotFoundError
from thinned.models.storage.model_store import StoredModel, find, folder_of
from thinned.models.storage.stored_model import read, verify_files
from thinned.models.storage.versions import (
    aliases,
    is_name,
    latest,
    remove_alias,
    versions,
    write_alias,
    write_latest,
)

__all__ = ["Moved", "remove", "rollback", "set_alias"]

_TAKEN = {
    "latest": "it is what the newest version is called",
    "shadow": "`thinned serve` takes NAME@shadow for a model that answers unseen",
}


class Moved(NamedTuple):
    """What points to another version now: the model that it points to, and the version that it pointed to before."""

    stored: StoredModel
    before: str | None


def set_alias(name: str, alias: str) -> Moved:
    """Have an alias point to a version.

    Args:
        name: The version, as `find` takes it.
        alias: The alias, of the characters that a name may have.

    Raises:
        ModelNotFoundError: There is no such version.
        ModelCorruptError: A file of it is not the one that was stored.
        AliasError: The alias cannot be one.
    """
    if not is_name(alias) or alias in _TAKEN:
        why = _TAKEN.get(alias, "expected 1 to 63 of a-z, 0-9, -_.")
        raise AliasError(f"{alias!r} cannot be an alias: {why}; choose another, such as live")
    stored = find(name)
    verify_files(stored)
    folder = folder_of(stored.card.name)
    before = aliases(folder).get(alias)
    write_alias(folder, alias, stored.version)
    return Moved(stored, before)


def remove(name: str, alias: str) -> str:
    """Remove an alias.

    Args:
        name: The name alone.
        alias: The alias.

    Returns:
        The version that it pointed to.

    Raises:
        AliasError: There is none.
    """
    known = aliases(folder_of(name)) if is_name(name) else {}
    if alias not in known:
        raise AliasError(f"{name} has no alias {alias!r} to remove; it has {', '.join(known) or 'none'}")
    remove_alias(folder_of(name), alias)
    return known[alias]


def rollback(name: str) -> Moved:
    """Have `latest` point to the version that was made before it. The newer one stays in the store.

    Args:
        name: The name alone.

    Raises:
        ModelNotFoundError: There is no model of that name.
        ModelCorruptError: A file of the version before is not the one that was stored.
        AliasError: There is none before, or more than a name is given.
    """
    if not is_name(name):
        raise AliasError(f"rollback moves what NAME alone stands for, and expects just that; received {name!r}")
    there = versions(folder_of(name))
    if not there:
        find(name)  # says what there is
        raise ModelNotFoundError(f"no model {name!r} in the store")
    now = latest(folder_of(name), there)
    place = there.index(now)
    if place == 0:
        raise AliasError(
            f"{name}:{now.name} is the first version of {name}: there is none before it to go back to. "
            "`thinned models` lists what there is"
        )
    stored = read(there[place - 1])
    verify_files(stored)
    write_latest(folder_of(name), stored.version)
    return Moved(stored, now.name)
