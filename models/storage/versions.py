"""The versions of one name, and what points to one of them: `latest`, which BentoML reads too, and aliases.

All stand in the store's folder of the name. A pointer is a file that holds a version, and is replaced as a whole.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from thinned.models.errors import ModelCorruptError, ModelExistsError
from thinned.models.storage.stored_model import CARD_DIGEST_FILE, CARD_FILE, read

__all__ = [
    "ALIAS",
    "aliases",
    "aliases_of",
    "check_name",
    "is_name",
    "latest",
    "remove_alias",
    "versions",
    "write_alias",
    "write_latest",
]

_NAME = re.compile(r"[a-z0-9]([-._a-z0-9]{0,61}[a-z0-9])?")
ALIAS = ".alias"
"""End of the name of an alias's file. BentoML looks at folders and at `latest` only."""


def is_name(text: str) -> bool:
    """Whether BentoML takes it as a name or version as it is; aliases are held to the same."""
    return _NAME.fullmatch(text) is not None


def check_name(name: str) -> None:
    """Refuse a name that BentoML would not take as it is.

    Raises:
        ModelExistsError: The name has other characters than a tag may have, or is too long.
    """
    if not is_name(name):
        raise ModelExistsError(
            f"{name!r} cannot be a model's name: expected 1 to 63 lowercase letters, digits, '-', '_' or '.', "
            "with a letter or digit first and last; choose another with --name"
        )


def versions(folder: Path) -> list[Path]:
    """Versions of one name that Thinned has stored, oldest first; one whose card cannot be read counts as oldest."""
    if not folder.is_dir():
        return []
    ours = (path for path in folder.iterdir() if any((path / name).is_file() for name in (CARD_FILE, CARD_DIGEST_FILE)))
    return sorted(ours, key=_created)


def latest(folder: Path, there: list[Path]) -> Path:
    """The version that BentoML calls latest, if it still stands; the newest otherwise."""
    named = _pointed(folder / "latest")
    return folder / named if named is not None and folder / named in there else there[-1]


def write_latest(folder: Path, version: str) -> None:
    """Have `latest` point to a version."""
    _point(folder / "latest", version)


def aliases(folder: Path) -> dict[str, str]:
    """Versions by alias, in alphabetical order. A version need not stand any more."""
    found = {path.name.removesuffix(ALIAS): _pointed(path) for path in folder.glob(f"*{ALIAS}")}
    return {name: version for name, version in sorted(found.items()) if version is not None}


def aliases_of(folder: Path, version: str) -> list[str]:
    """The aliases of one version."""
    return [alias for alias, named in aliases(folder).items() if named == version]


def write_alias(folder: Path, alias: str, version: str) -> None:
    """Have an alias point to a version."""
    _point(folder / f"{alias}{ALIAS}", version)


def remove_alias(folder: Path, alias: str) -> None:
    """Forget an alias."""
    (folder / f"{alias}{ALIAS}").unlink(missing_ok=True)


def _pointed(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if is_name(text) else None


def _point(path: Path, version: str) -> None:
    fresh = path.with_name(f"{path.name}.{version}.{os.getpid()}.new")
    fresh.write_text(version, encoding="utf-8")
    fresh.replace(path)


def _created(place: Path) -> tuple[str, str]:
    try:
        return read(place).card.created.isoformat(), place.name
    except ModelCorruptError:
        return "", place.name
