"""What an import is asked for, as one digest: the same file with the same module and options is the same version."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from thinned._version import __version__
from thinned.models.errors import ModelCorruptError, ModelNotFoundError
from thinned.models.storage.model_store import StoredModel, find, folder_of
from thinned.models.storage.stored_model import digest, read, verify_files
from thinned.models.storage.versions import latest, versions, write_latest

__all__ = ["ImportRequest", "current_version"]


@dataclass(frozen=True)
class ImportRequest:
    """What an import is asked for. `sha256` is its digest, versions of Thinned and Keras included."""

    sha256: str

    @classmethod
    def of(cls, path: Path, *, module: Path | str | None, expect: Path | None, options: Sequence[Any]) -> ImportRequest:
        """The request for a file.

        Args:
            path: The file.
            module: The module of custom objects, a file or the name of an installed package.
            expect: The file of recorded answers.
            options: All else that decides what is stored: text, numbers, lists, mappings and specifications.
        """
        own = digest(module) if isinstance(module, Path) else _package(module)
        recorded = None if expect is None else digest(expect)
        versions_used = (__version__, importlib.metadata.version("keras"))
        parts = [digest(path), own, recorded, *versions_used, *(_canonical(option) for option in options)]
        return cls(hashlib.sha256(repr(parts).encode()).hexdigest())

    def find(self, name: str) -> StoredModel | None:
        """A sound version of a name that the same request has made, or that was calibrated from one; None if none is.

        The latest version comes first, then the newest.
        """
        folder = folder_of(name)
        there = versions(folder)
        for place in [latest(folder, there), *reversed(there)] if there else []:
            try:
                stored = read(place)
                if stored.card.import_sha256 == self.sha256:
                    verify_files(stored)
                    return stored
            except ModelCorruptError:
                continue
        return None

    def point_to(self, stored: StoredModel) -> StoredModel:
        """Have `latest` point to the version that the request has made."""
        write_latest(stored.path.parent, stored.version)
        return stored


def current_version(name: str) -> StoredModel | None:
    """What the name alone stands for; None where there is nothing, or nothing that can be read."""
    try:
        return find(name)
    except (ModelNotFoundError, ModelCorruptError):
        return None


def _package(name: str | None) -> tuple[str, str] | None:
    if name is None:
        return None
    try:
        return name, importlib.metadata.version(name.partition(".")[0].replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return name, ""


def _canonical(value: Any) -> Any:
    """The same for values that are equal, whatever their order."""
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, Mapping):
        return sorted((str(key), _canonical(item)) for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_canonical(item) for item in value]
    return value
