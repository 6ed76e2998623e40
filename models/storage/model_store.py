"""Models and their cards in BentoML's model store: written whole or not at all, and checked when loaded."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from thinned.models.card import ModelCard
from thinned.models.compat.bentoml import creating_in, model_store_folder
from thinned.models.errors import ModelCorruptError, ModelExistsError, ModelFileError, ModelNotFoundError
from thinned.models.storage.keras_archive import read_keras
from thinned.models.storage.temporary_folders import DELETED, STAGING, sweep, temporary_folder

if TYPE_CHECKING:
    import keras

__all__ = [
    "StoredModel",
    "check_name",
    "delete",
    "digest",
    "find",
    "find_all",
    "load_keras",
    "load_rows",
    "store",
    "tags",
]

MODEL_FILE = "model.keras"
CARD_FILE = "card.json"
CARD_DIGEST_FILE = "card.sha256"
LAYERS_FILE = "layers.py"
ROWS_FILE = "rows.npz"

_NAME = re.compile(r"[a-z0-9]([-._a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class StoredModel:
    """A model in the store.

    `path` is the folder of `model.keras`, `card.json` and its digest `card.sha256`, for custom objects `layers.py`, and
    `rows.npz` where rows of the user's data were given.
    """

    card: ModelCard
    version: str
    path: Path

    @property
    def tag(self) -> str:
        """Name and version, as BentoML writes them: "digits:abc123"."""
        return f"{self.card.name}:{self.version}"


def check_name(name: str) -> None:
    """Refuse a name that BentoML would not take as it is.

    Raises:
        ModelExistsError: The name has other characters than a tag may have, or is too long.
    """
    if not _NAME.fullmatch(name):
        raise ModelExistsError(
            f"{name!r} cannot be a model's name: expected 1 to 63 lowercase letters, digits, '-', '_' or '.', "
            "with a letter or digit first and last; choose another with --name"
        )


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def store(
    source: Path, card: ModelCard, *, module: Path | None = None, rows: Mapping[str, npt.NDArray[Any]] | None = None
) -> StoredModel:
    """Put a model in the store as the newest version of its name.

    BentoML builds the version in a store of its own beside the real one, from where one rename brings it in: a crash
    on the way leaves nothing that could be found later.

    Args:
        source: The `.keras` file.
        card: Its card.
        module: The `.py` file of its custom objects.
        rows: A few rows of the user's data by input name; their digest goes into the card.

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
            card = _with_rows(Path(built.path), card, rows)
            _fill(Path(built.path), source, card, module)
            version = str(built.tag.version)
        folder = staging / card.name / version
        _sync(folder)
        place = root / card.name / version
        place.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(place)
    _write_latest(place.parent, version)
    return StoredModel(card, version, place)


def find(name: str, version: str | None = None) -> StoredModel:
    """Find a model.

    Args:
        name: "name" or "name:version".
        version: The version; the newest by default.

    Raises:
        ModelNotFoundError: There is none; the text lists what there is.
        ModelCorruptError: Its card cannot be read.
    """
    name, version = _split(name, version)
    versions = _versions(folder := _root() / name)
    if not versions:
        raise ModelNotFoundError(f"no model {name!r} in the store; {_what_there_is()}")
    if version is None or version == "latest":
        return _read(_latest(folder, versions))
    if folder / version not in versions:
        there = ", ".join(path.name for path in versions)
        raise ModelNotFoundError(f"no version {version!r} of the model {name!r}; the store has {there}")
    return _read(folder / version)


def find_all() -> list[StoredModel]:
    """Every readable model in the store, by name and then from the oldest version; others' models are left out."""
    root = _root()
    found = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        for place in _versions(folder):
            try:
                found.append(_read(place))
            except ModelCorruptError:
                continue  # Named when it is asked for; it must not hide the others.
    return sorted(found, key=lambda stored: (stored.card.name, stored.card.created))


def tags(name: str, version: str | None = None) -> list[str]:
    """Tags of all versions of a model, oldest first, or of the one version that is named.

    Args:
        name: "name" or "name:version".
        version: The version; all by default.

    Raises:
        ModelNotFoundError: There is none.
    """
    name, version = _split(name, version)
    versions = _versions(_root() / name)
    if version == "latest" and versions:
        version = _latest(_root() / name, versions).name
    found = [f"{name}:{path.name}" for path in versions if version in (None, path.name)]
    if not found:
        wanted = name if version is None else f"{name}:{version}"
        raise ModelNotFoundError(f"no model {wanted!r} in the store; {_what_there_is()}")
    return found


def delete(name: str, version: str | None = None) -> list[str]:
    """Delete one version of a model, or all of them.

    Args:
        name: "name" or "name:version".
        version: The version; all by default.

    Returns:
        The tags that were deleted.

    Raises:
        ModelNotFoundError: There is none.
    """
    deleted = tags(name, version)
    sweep(_root().parent)
    folder = _root() / deleted[0].partition(":")[0]
    for tag in deleted:
        # Renamed out of the store first, so that a half-deleted version is never found.
        with temporary_folder(folder.parent.parent, DELETED) as trash:
            (folder / tag.partition(":")[2]).rename(trash / "version")
    left = _versions(folder)
    if left:
        _write_latest(folder, left[-1].name)
    elif not any(path.is_dir() for path in folder.iterdir()):
        shutil.rmtree(folder)
    return deleted


def load_keras(stored: StoredModel) -> keras.Model:
    """Load a stored model, not compiled and in safe mode; runs its `layers.py` first if the card names one.

    Raises:
        ModelCorruptError: A file is missing or is not the one that was imported.
        ModelFileError: Keras cannot load it, for instance after an update.
    """
    model = stored.path / MODEL_FILE
    _verify(stored, model, stored.card.sha256)
    layers: Path | str | None = stored.card.package
    if stored.card.module_sha256 is not None:
        layers = path = stored.path / LAYERS_FILE
        _verify(stored, path, stored.card.module_sha256)
    return read_keras(model, layers)


def load_rows(stored: StoredModel) -> dict[str, npt.NDArray[Any]] | None:
    """The rows of the user's data that were kept beside a model, by input name; None where none were given.

    Raises:
        ModelCorruptError: The file is missing or is not the one that was stored.
    """
    if stored.card.rows_sha256 is None:
        return None
    path = stored.path / ROWS_FILE
    _verify(stored, path, stored.card.rows_sha256)
    with np.load(path, allow_pickle=False) as arrays:
        rows = {spec.name: arrays[str(i)] for i, spec in enumerate(stored.card.inputs)}
    return {name: x.astype(object) if x.dtype.kind == "U" else x for name, x in rows.items()}


def _with_rows(folder: Path, card: ModelCard, rows: Mapping[str, npt.NDArray[Any]] | None) -> ModelCard:
    """Write the rows of the user's data, by the number of their input: a name need not be one for a file."""
    if rows is None:
        return card
    path = folder / ROWS_FILE
    # Strings as NumPy's own: an array of Python objects would be a pickle.
    arrays: dict[str, Any] = {
        str(i): x.astype(str) if (x := rows[spec.name]).dtype == object else x for i, spec in enumerate(card.inputs)
    }
    np.savez_compressed(path, **arrays)
    return card.model_copy(update={"rows_sha256": digest(path)})


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


def _verify(stored: StoredModel, path: Path, expected: str) -> None:
    remedy = f"delete it (thinned delete {stored.tag}) and import it again"
    try:
        received = digest(path)
    except OSError as error:
        reason = error.strerror or error
        raise ModelCorruptError(f"{path.name} of {stored.tag} cannot be read ({reason}); {remedy}") from error
    if received != expected:
        raise ModelCorruptError(
            f"{path.name} of {stored.tag} is not the file that was imported: expected SHA-256 {expected[:12]}…, "
            f"received {received[:12]}…; {remedy}"
        )


def _read(place: Path) -> StoredModel:
    tag = f"{place.parent.name}:{place.name}"
    try:
        text = (place / CARD_FILE).read_bytes()
        card = ModelCard.model_validate_json(text)
    except (OSError, ValidationError) as error:
        what = f"{error.error_count()} wrong fields" if isinstance(error, ValidationError) else str(error.strerror)
        raise ModelCorruptError(
            f"the card of {tag} cannot be read ({what}); delete it (thinned delete {tag}) and import it again"
        ) from error
    expected, received = _card_digest(place), hashlib.sha256(text).hexdigest()
    if expected not in (None, received):
        raise ModelCorruptError(
            f"the card of {tag} is not the one that was stored: expected SHA-256 {str(expected)[:12]}…, received "
            f"{received[:12]}…; delete it (thinned delete {tag}) and import it again"
        )
    return StoredModel(card, place.name, place)


def _card_digest(place: Path) -> str | None:
    """The digest that the card was stored with; None for a card that was stored before there were digests."""
    try:
        return (place / CARD_DIGEST_FILE).read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"({error.strerror or error})"


def _root() -> Path:
    return model_store_folder()


def _versions(folder: Path) -> list[Path]:
    """Versions of one name that Thinned has stored, oldest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if (path / CARD_FILE).is_file()), key=_created)


def _created(place: Path) -> tuple[str, str]:
    try:
        return _read(place).card.created.isoformat(), place.name
    except ModelCorruptError:
        return "", place.name


def _latest(folder: Path, versions: list[Path]) -> Path:
    """The version that BentoML calls latest, if it still stands; the newest otherwise."""
    try:
        named = folder / (folder / "latest").read_text(encoding="utf-8").strip()
    except OSError:
        return versions[-1]
    return named if named in versions else versions[-1]


def _write_latest(folder: Path, version: str) -> None:
    fresh = folder / f"latest.{version}.new"
    fresh.write_text(version, encoding="utf-8")
    fresh.replace(folder / "latest")


def _sync(folder: Path) -> None:
    """Have the files on the disk before the rename that makes them findable."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _split(name: str, version: str | None) -> tuple[str, str | None]:
    base, _, tagged = name.partition(":")
    version = version or tagged or None
    for part in (base, version):
        if part is not None and not _NAME.fullmatch(part):
            raise ModelNotFoundError(f"{name!r} is no model's name; expected NAME or NAME:VERSION; {_what_there_is()}")
    return base, version


def _what_there_is() -> str:
    names = sorted({stored.card.name for stored in find_all()})
    if not names:
        return "the store is empty: run `thinned train digits` or `thinned import FILE.keras --name NAME`"
    return f"it has {', '.join(names)} (see `thinned models`; add one with `thinned import` or `thinned train`)"
