"""Reading a `.keras` file: looked into before Keras builds anything from it, and refused with the reason."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.errors import ModelFileError
from thinned.models.storage.archive_members import (
    CONFIG,
    METADATA,
    check_members,
    check_weights,
    parsed_json,
    read_text,
)
from thinned.models.storage.bounded_building import bounded_building
from thinned.models.storage.config_safety import count_layers, refuse_lambdas
from thinned.models.storage.custom_layers import objects_of

if TYPE_CHECKING:
    import keras

__all__ = ["check_format", "is_hdf5", "keras_version", "read_keras"]

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_SAVE_AS_KERAS = 'load it with the Keras that wrote it and save it again with model.save("model.keras")'
_OF_KERAS = ("Functional", "Model", "Sequential")
_CONVERT = "`thinned import` converts it into the store"
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)
_UNKNOWN = re.compile(r"Could not locate (?:class|function) '([^']+)'")


def read_keras(path: Path, module: Path | str | None = None) -> keras.Model:
    """Load a model from a `.keras` archive, not compiled and in Keras's safe mode.

    Args:
        path: The archive that `model.save("model.keras")` wrote.
        module: A `.py` file that defines the model's custom objects, or the name of an installed package. It is run.

    Returns:
        The model.

    Raises:
        ModelFileError: There is no such file, it is of another format or damaged, it is larger than it may be, it holds
            Python code (a Lambda layer), it needs custom objects that `module` does not define, or its configuration
            asks for far more weights than it holds.
    """
    check_format(path)
    config, weights_bytes = _looked_into(path)
    refuse_lambdas(path, config)
    layers = count_layers(path, config)
    version = keras_version(path)
    if version is not None and version.startswith(("1.", "2.")):
        raise ModelFileError(f"{path} was saved by Keras {version}, whose layers mean other things; {_CONVERT}")
    import_tensorflow()
    objects = {} if module is None else objects_of(module)
    with bounded_building(path, weights_bytes=weights_bytes, layers=layers):
        return _load(path, objects)


def check_format(path: Path, *, hdf5_too: bool = False) -> None:
    """Refuse a file that is plainly something else. Cheap: reads its first bytes.

    Args:
        path: The file.
        hdf5_too: Whether a model in HDF5 will do, the format of earlier Keras.

    Raises:
        ModelFileError: There is no such file, or it is of another format.
    """
    if path.is_dir():
        if (path / "saved_model.pb").exists():
            keras_wrote_it = (path / "keras_metadata.pb").exists()
            how = "" if keras_wrote_it else ", if Keras wrote it,"
            raise ModelFileError(
                f"{path} is a TensorFlow SavedModel folder, a program without layers to draw noise in. With the "
                f'TensorFlow that wrote it{how} run tf.keras.models.load_model("{path.name}").save("model.h5"), and '
                "import model.h5; otherwise save the Keras model that it came from"
            )
        raise ModelFileError(f'{path} is a folder; expected one .keras file, as model.save("model.keras") writes it')
    if not path.exists():
        raise ModelFileError(f'{path}: no such file; expected a .keras file, as model.save("model.keras") writes it')
    try:
        hdf5 = is_hdf5(path)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}; check its permissions") from error
    if hdf5:
        if path.name.endswith(".weights.h5"):
            raise ModelFileError(
                f"{path} holds weights without the model; build the model, load_weights into it, "
                'and save it with model.save("model.keras")'
            )
        if hdf5_too:
            return
        raise ModelFileError(f"{path} is HDF5, the format of earlier Keras; {_CONVERT}")
    if not zipfile.is_zipfile(path):
        raise ModelFileError(
            f"{path} is not a .keras archive (a zip file), or is cut short; save the model again with "
            'model.save("model.keras")'
        )
    if path.suffix != ".keras":
        raise ModelFileError(f"{path} does not end in .keras; rename it if it is a file that Keras saved")


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5, by its first bytes.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return file.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC


def keras_version(path: Path) -> str | None:
    """The version of Keras that wrote an archive, as the archive says; None where it does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(METADATA).file_size > 1 << 20:
                return None
            metadata = json.loads(read_text(archive, METADATA))
    except (KeyError, ModelFileError, *_DAMAGED):
        return None
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    return version if isinstance(version, str) else None


def _looked_into(path: Path) -> tuple[dict[str, Any], int]:
    """The model's configuration, of which nothing has been acted on yet, and the declared bytes of its weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = check_members(archive)
            if CONFIG not in members:
                raise ModelFileError(f"it is a zip file without a {CONFIG}, not a model; {_SAVE_AS_KERAS}")
            damaged = archive.testzip()
            if damaged is not None:
                raise ModelFileError(f"its part {damaged} is damaged (the checksum differs); copy the file again")
            check_weights(archive)
            config = parsed_json(read_text(archive, CONFIG))
            weights = sum(info.file_size for name, info in members.items() if name not in (CONFIG, METADATA))
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    except _DAMAGED as error:
        raise ModelFileError(f"{path} is damaged: {error}; copy or save it again") from error
    if not isinstance(config, dict) or "class_name" not in config:
        raise ModelFileError(f"{path}: its config.json does not describe a Keras model; {_SAVE_AS_KERAS}")
    return config, weights


def _load(path: Path, objects: dict[str, Any]) -> keras.Model:
    import keras

    # Registers what a model that was converted from an old file refers to.
    import thinned.models.storage.old_functions  # noqa: F401

    try:
        with keras.saving.custom_object_scope(objects):
            model = keras.models.load_model(path, custom_objects=objects, compile=False, safe_mode=True)
    except (ModelFileError, MemoryError):
        raise
    except Exception as error:
        raise ModelFileError(f"{path}: {_reason(error)}") from error
    if not isinstance(model, keras.Model):
        raise ModelFileError(
            f"{path} holds a {type(model).__name__}; expected a keras.Model: wrap it in one and save that"
        )
    return model


def _reason(error: Exception) -> str:
    """What went wrong, without the configuration that Keras quotes around it."""
    text = str(error)
    unknown = _UNKNOWN.findall(text)
    if unknown and unknown[-1] in _OF_KERAS:
        return f"its configuration names {unknown[-1]!r} as no Keras 3 does; {_SAVE_AS_KERAS}"
    if unknown:
        return (
            f"it uses {unknown[-1]!r}, which is not part of Keras; pass the module that defines it with --module "
            "(a .py file or a module name; its code is run)"
        )
    text = text.rsplit("Exception encountered: ", 1)[-1].strip().split("\n")[0].split("Full object config:")[0].strip()
    return f"Keras could not load it: {text[:400] or 'no reason given'} ({type(error).__name__})"
