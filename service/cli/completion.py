"""What a shell may complete a model's name to."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["stored_names"]


def stored_names(incomplete: str) -> list[str]:
    """Names in the store that begin so; after a name and a colon its versions, after an @ its aliases.

    Args:
        incomplete: What was typed.

    Returns:
        The names, in order; none where the store cannot be read: a shell has no place for a reason.
    """
    try:
        return [name for name in _known(incomplete) if name.startswith(incomplete)]
    except OSError:
        return []


def _known(incomplete: str) -> Iterator[str]:
    from thinned.models.storage.model_store import folders
    from thinned.models.storage.versions import aliases, versions

    for folder in folders():
        if ":" in incomplete:
            yield from (f"{folder.name}:{place.name}" for place in versions(folder))
        elif "@" in incomplete:
            yield from (f"{folder.name}@{alias}" for alias in aliases(folder))
        elif versions(folder):
            yield folder.name
