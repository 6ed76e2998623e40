"""A model file of any age as an archive of Keras 3: as it is, or converted into a temporary one."""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinned.models.compat.messages import message_of
from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.errors import ModelFileError
from thinned.models.storage.bounded_building import bounded_building
from thinned.models.storage.config_safety import count_layers, refuse_lambdas
from thinned.models.storage.custom_layers import objects_of
from thinned.models.storage.keras_archive import is_hdf5, keras_version
from thinned.models.storage.legacy.isolation import OldModel, read_apart

if TYPE_CHECKING:
    from thinned.models.storage.legacy.built import Built

__all__ = ["CurrentArchive", "archive_of", "current_archive"]

_REBUILD = (
    "build the model again in Keras 3, give its layers their weights with set_weights, and save that with "
    'model.save("model.keras")'
)


@dataclass(frozen=True, eq=False)
class CurrentArchive:
    """An archive of Keras 3. A converted one is deleted with the last reference to this object."""

    path: Path
    notes: tuple[str, ...] = ()


def current_archive(path: Path, module: Path | str | None = None) -> CurrentArchive:
    """Convert a file of earlier Keras; anything else is returned as it is, for its reader to judge.

    Args:
        path: The file.
        module: A `.py` file that defines the model's custom objects. It is run.

    Returns:
        The archive, and what its card should say of where it comes from.

    Raises:
        ModelFileError: The file is damaged, holds Python code, or holds a layer that Keras 3 has no counterpart for.
    """
    if not _is_old(path):
        return CurrentArchive(path)
    return _temporary(lambda folder: _convert(path, module, folder))


def archive_of(model: Any, notes: tuple[str, ...]) -> CurrentArchive:
    """Save a model that was made of one that was read.

    Args:
        model: The Keras model.
        notes: What its card should say of where it comes from.
    """

    def save(folder: Path) -> tuple[str, ...]:
        model.save(folder / "model.keras")
        return notes

    return _temporary(save)


def _temporary(write: Callable[[Path], tuple[str, ...]]) -> CurrentArchive:
    folder = Path(tempfile.mkdtemp(prefix="thinned-converted-"))
    try:
        archive = CurrentArchive(folder / "model.keras", write(folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(archive, shutil.rmtree, folder, ignore_errors=True)
    return archive


def _is_old(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        if is_hdf5(path):
            return not path.name.endswith(".weights.h5")
        return zipfile.is_zipfile(path) and _major(keras_version(path) or "3") < 3
    except OSError:
        return False


def _convert(path: Path, module: Path | str | None, folder: Path) -> tuple[str, ...]:
    """Write the converted model into the folder, and say what was done."""
    plain = folder / "plain"
    plain.mkdir()
    old = read_apart(path, plain)
    refuse_lambdas(path, old.config)
    layers = count_layers(path, old.config)
    import_tensorflow()
    objects = {} if module is None else objects_of(module)
    kind = "HDF5" if old.tree is None else "an archive"
    said = f"{kind} saved by Keras {old.version}"
    import keras

    from thinned.models.storage.legacy.built import LayerError

    try:
        with keras.saving.custom_object_scope(objects):
            with bounded_building(path, weights_bytes=path.stat().st_size, layers=layers):
                built = _built(old, objects)
            built.layer.save(folder / "model.keras")
    except (ModelFileError, MemoryError):
        raise
    except LayerError as error:
        raise ModelFileError(f"{path} is {said}, and {error}. To serve it, {_REBUILD}") from error
    except Exception as error:  # whatever Keras and Python raise on a configuration that no Keras wrote
        raise ModelFileError(
            f"{path} is {said}, and its configuration could not be followed: {message_of(error)} "
            f"({type(error).__name__}). To serve it, {_REBUILD}"
        ) from error
    shutil.rmtree(plain)
    return (f"Converted from {said} ({path.name}).", *_doubts(old))


def _built(old: OldModel, objects: Mapping[str, Any]) -> Built:
    from thinned.models.storage.legacy.building import Builder
    from thinned.models.storage.legacy.built import LayerError
    from thinned.models.storage.legacy.weights import assign_layers, assign_tree

    major = _major(old.version)
    config = old.config
    if not isinstance(config, Mapping) or "class_name" not in config:
        raise LayerError("its configuration describes no model")
    built = Builder(major, objects, stateful=_has(config, "stateful")).build(config)
    if built.children is None:
        raise LayerError(f"it holds a {built.class_name}, which is no Sequential or functional model")
    if not built.layer.built or not getattr(built.layer, "inputs", None):
        raise LayerError("its configuration does not say the shape of its inputs")
    if old.tree is None:
        assign_layers(built, old.layers or [], major, old.backend)
    else:
        assign_tree(built, old.tree)
    _finalize(built)
    return built


def _finalize(built: Built) -> None:
    """Let layers compute what they derive from their weights: `Normalization` does."""
    for child in built.children or []:
        _finalize(child)
    if built.children is None and hasattr(built.layer, "finalize_state"):
        built.layer.finalize_state()


def _doubts(old: OldModel) -> list[str]:
    """What the file does not tell, where versions differ."""
    found = []
    if _major(old.version) < 3 and _numbers(old.version) < (2, 3) and _has(old.config, "interpolation", "bilinear"):
        found.append(
            "It enlarges with bilinear interpolation, which TensorFlow 1 computed otherwise than TensorFlow 2, and "
            "the file does not say which it was."
        )
    if old.backend not in (None, "tensorflow"):
        found.append(f"It was trained with the backend {old.backend}, whose layers may differ from TensorFlow's.")
    return found


def _has(config: Any, key: str, value: Any = True) -> bool:
    """Whether a key has this value anywhere in a configuration."""
    if isinstance(config, Mapping):
        return config.get(key) == value or any(_has(item, key, value) for item in config.values())
    return isinstance(config, list) and any(_has(item, key, value) for item in config)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def _major(version: str) -> int:
    return (_numbers(version) or (1,))[0]
