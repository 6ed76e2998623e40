"""Models and their cards in BentoML's model store: written whole or not at all, and checked when loaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from thinned.models.card import ModelCard
from thinned.models.compat.bentoml import creating_in, model_store_folder
from thinned.models.errors import AliasError, ModelCorruptError, ModelFileError, ModelNotFoundError
from thinned.models.storage.kept_rows import load_rows, write_rows
from thinned.models.storage.keras_archive import read_keras
from thinned.models.storage.stored_model import (
    CARD_DIGEST_FILE,
    CARD_FILE,
    LAYERS_FILE,
    MODEL_FILE,
    OOD_FILE,
    StoredModel,
    digest,
    read,
    verify,
)
from thinned.models.storage.temporary_folders import DELETED, STAGING, sweep, temporary_folder
from thinned.models.storage.versions import (
    aliases,
    aliases_of,
    check_name,
    is_name,
    latest,
    remove_alias,
    versions,
    write_latest,
)

if TYPE_CHECKING:
    import keras

__all__ = [
    "StoredModel",
    "check_name",
    "delete",
    "digest",
    "find",
    "find_all",
    "folder_of",
    "folders",
    "load_keras",
    "load_rows",
    "store",
    "store_folder",
    "tags",
]


def store(
    source: Path,
    card: ModelCard,
    *,
    module: Path | None = None,
    rows: Mapping[str, npt.NDArray[Any]] | None = None,
    ood: bytes | None = None,
) -> StoredModel:
    """Put a model in the store as the newest version of its name.

    BentoML builds the version in a store of its own beside the real one, from where one rename brings it in: a crash
    on the way leaves nothing that could be found later.

    Args:
        source: The `.keras` file.
        card: Its card.
        module: The `.py` file of its custom objects.
        rows: A few rows of the user's data by input name; their digest goes into the card.
        ood: What tells rows unlike the calibration rows; the card has its digest.

    Returns:
        The stored model.

    Raises:
        ModelExistsError: The card's name cannot be a model's name.
        ModelFileError: A file is not the one that the card describes.
    """
    check_name(card.name)
    root = _root()
    sweep(root.parent)
    with temporary_folder(root.parent, STAGING) as staging:
        with creating_in(staging, card.name, module=__name__, labels={"made-by": "thinned"}) as built:
            card = write_rows(Path(built.path), card, rows)
            if ood is not None:
                (Path(built.path) / OOD_FILE).write_bytes(ood)
            _fill(Path(built.path), source, card, module)
            version = str(built.tag.version)
        folder = staging / card.name / version
        _sync(folder)
        place = root / card.name / version
        place.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(place)
    write_latest(place.parent, version)
    return StoredModel(card, version, place)


def find(name: str, version: str | None = None) -> StoredModel:
    """Find a model. What `latest` and aliases point to is looked up anew each time.

    Args:
        name: "name", "name:version" or "name@alias".
        version: The version; that of `latest` by default.

    Raises:
        ModelNotFoundError: There is none; the text lists what there is.
        ModelCorruptError: Its card cannot be read.
    """
    name, version = _split(name, version)
    there = versions(folder := _root() / name)
    if not there:
        raise ModelNotFoundError(f"no model {name!r} in the store; {_what_there_is()}")
    if version is None or version == "latest":
        return read(latest(folder, there))
    if folder / version not in there:
        names = ", ".join(path.name for path in there)
        raise ModelNotFoundError(f"no version {version!r} of the model {name!r}; the store has {names}")
    return read(folder / version)


def store_folder() -> Path:
    """The store's own folder."""
    return _root()


def folder_of(name: str) -> Path:
    """The store's folder of a name, whether it is there or not."""
    return _root() / name


def folders() -> list[Path]:
    """The folders of all names in the store, those of others' models too."""
    root = _root()
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def find_all() -> list[StoredModel]:
    """Every readable model in the store, by name and then from the oldest version; others' models are left out."""
    found = []
    for folder in folders():
        for place in versions(folder):
            try:
                found.append(read(place))
            except ModelCorruptError:
                continue  # Named when it is asked for; it must not hide the others.
    return sorted(found, key=lambda stored: (stored.card.name, stored.card.created))


def tags(name: str, version: str | None = None) -> list[str]:
    """Tags of all versions of a model, oldest first, or of the one version that is named.

    Args:
        name: "name", "name:version" or "name@alias".
        version: The version; all by default.

    Raises:
        ModelNotFoundError: There is none.
    """
    name, version = _split(name, version)
    there = versions(_root() / name)
    if version == "latest" and there:
        version = latest(_root() / name, there).name
    found = [f"{name}:{path.name}" for path in there if version in (None, path.name)]
    if not found:
        wanted = name if version is None else f"{name}:{version}"
        raise ModelNotFoundError(f"no model {wanted!r} in the store; {_what_there_is()}")
    return found


def delete(name: str, version: str | None = None) -> list[str]:
    """Delete one version of a model, or all of them with their aliases.

    Where `latest` is deleted, the version before it is latest, or the newest if there is none before it.

    Args:
        name: "name", "name:version" or "name@alias".
        version: The version; all by default.

    Returns:
        The tags that were deleted.

    Raises:
        ModelNotFoundError: There is none.
        AliasError: An alias points to the one version.
    """
    deleted = tags(name, version)
    base = deleted[0].partition(":")[0]
    folder = _root() / base
    before = versions(folder)
    pointed = latest(folder, before)
    if len(deleted) < len(before):
        _refuse_where_aliased(folder, deleted[0])
    sweep(_root().parent)
    for tag in deleted:
        # Renamed out of the store first, so that a half-deleted version is never found.
        with temporary_folder(folder.parent.parent, DELETED) as trash:
            (folder / tag.partition(":")[2]).rename(trash / "version")
    left = versions(folder)
    if left and pointed not in left:
        older = [path for path in before[: before.index(pointed)] if path in left]
        write_latest(folder, (older or left)[-1].name)
    elif not left:
        for alias in aliases(folder):
            remove_alias(folder, alias)
        if not any(path.is_dir() for path in folder.iterdir()):
            shutil.rmtree(folder)
    return deleted


def _refuse_where_aliased(folder: Path, tag: str) -> None:
    name, _, version = tag.partition(":")
    if pointing := aliases_of(folder, version):
        raise AliasError(
            f"{tag} is {name}@{pointing[0]}: have that point to another version (thinned alias {name}:VERSION "
            f"{pointing[0]}), or remove it (thinned alias {name} {pointing[0]} --remove), first"
        )


def load_keras(stored: StoredModel) -> keras.Model:
    """Load a stored model, not compiled and in safe mode; runs its `layers.py` first if the card names one.

    Raises:
        ModelCorruptError: A file is missing or is not the one that was imported.
        ModelFileError: Keras cannot load it, for instance after an update.
    """
    model = stored.path / MODEL_FILE
    verify(stored, model, stored.card.sha256)
    layers: Path | str | None = stored.card.package
    if stored.card.module_sha256 is not None:
        layers = path = stored.path / LAYERS_FILE
        verify(stored, path, stored.card.module_sha256)
    return read_keras(model, layers)


def _fill(folder: Path, source: Path, card: ModelCard, module: Path | None) -> None:
    files = [(source, folder / MODEL_FILE, card.sha256)]
    if module is not None:
        files.append((module, folder / LAYERS_FILE, card.module_sha256 or ""))
    for origin, copy, expected in files:
        shutil.copyfile(origin, copy)
        received = digest(copy)
        if received != expected:
            raise ModelFileError(
                f"{origin} changed while it was imported: expected SHA-256 {expected[:12]}…, "
                f"received {received[:12]}…; import it again"
            )
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / CARD_DIGEST_FILE).write_text(digest(folder / CARD_FILE) + "\n", encoding="ascii")


def _root() -> Path:
    return model_store_folder()


def _sync(folder: Path) -> None:
    """Have the files on the disk before the rename that makes them findable."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _split(name: str, version: str | None) -> tuple[str, str | None]:
    """A name and a version, or None where none is named; an alias is looked up."""
    base, sign, pointer = name.partition("@" if "@" in name else ":")
    alias = pointer if sign == "@" else None
    version = version or (None if sign == "@" else pointer) or None
    for part in (base, version, alias):
        if part is not None and not is_name(part):
            expected = "expected NAME, NAME:VERSION or NAME@ALIAS"
            raise ModelNotFoundError(f"{name!r} is no model's name; {expected}; {_what_there_is()}")
    if alias is None or alias == "latest":
        return base, version
    return base, _pointed(base, alias)


def _pointed(name: str, alias: str) -> str:
    """The version that an alias points to."""
    folder = _root() / name
    there = versions(folder)
    if not there:
        raise ModelNotFoundError(f"no model {name!r} in the store; {_what_there_is()}")
    known = aliases(folder)
    if alias not in known:
        which = f"it has {', '.join(known)}" if known else "it has none"
        raise ModelNotFoundError(
            f"no alias {alias!r} of the model {name!r}; {which}; make it with: thinned alias {name}:VERSION {alias}"
        )
    if folder / known[alias] not in there:
        raise ModelNotFoundError(
            f"{name}@{alias} points to the version {known[alias]!r}, which is not in the store; have it point to "
            f"another: thinned alias {name}:VERSION {alias}"
        )
    return known[alias]


def _what_there_is() -> str:
    names = sorted({stored.card.name for stored in find_all()})
    if not names:
        return "the store is empty: run `thinned train digits` or `thinned import FILE.keras --name NAME`"
    return f"it has {', '.join(names)} (see `thinned models`; add one with `thinned import` or `thinned train`)"
