"""Reading a `.keras` file: looked into before Keras builds anything from it, and refused with the reason."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.errors import ModelFileError
from thinned.models.storage.custom_layers import objects_of

if TYPE_CHECKING:
    import keras

__all__ = ["check_format", "read_keras"]

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_SAVE_AS_KERAS = 'load it with the Keras that wrote it and save it again with model.save("model.keras")'
_UNKNOWN = re.compile(r"Could not locate (?:class|function) '([^']+)'")


def read_keras(path: Path, module: Path | str | None = None) -> keras.Model:
    """Load a model from a `.keras` archive, not compiled and in Keras's safe mode.

    Args:
        path: The archive that `model.save("model.keras")` wrote.
        module: A `.py` file that defines the model's custom objects, or the name of an installed package. It is run.

    Returns:
        The model.

    Raises:
        ModelFileError: There is no such file, it is of another format or damaged, it holds Python code (a Lambda
            layer), or it needs custom objects that `module` does not define.
    """
    check_format(path)
    _refuse_lambdas(path, _config(path))
    import_tensorflow()
    objects = {} if module is None else objects_of(module)
    return _load(path, objects)


def check_format(path: Path) -> None:
    """Refuse a file that is plainly something else. Cheap: reads its first bytes.

    Raises:
        ModelFileError: There is no such file, or it is of another format.
    """
    if path.is_dir():
        if (path / "saved_model.pb").exists():
            raise ModelFileError(
                f"{path} is a TensorFlow SavedModel folder, which has no layers left to draw noise in; "
                'save the Keras model it came from with model.save("model.keras")'
            )
        raise ModelFileError(f'{path} is a folder; expected one .keras file, as model.save("model.keras") writes it')
    if not path.exists():
        raise ModelFileError(f'{path}: no such file; expected a .keras file, as model.save("model.keras") writes it')
    try:
        with path.open("rb") as file:
            start = file.read(len(_HDF5_MAGIC))
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}; check its permissions") from error
    if start == _HDF5_MAGIC:
        if path.name.endswith(".weights.h5"):
            raise ModelFileError(
                f"{path} holds weights without the model; build the model, load_weights into it, "
                'and save it with model.save("model.keras")'
            )
        raise ModelFileError(
            f"{path} is HDF5, Keras's legacy format, whose reader has no safe mode for code inside the file; "
            f"{_SAVE_AS_KERAS}"
        )
    if not zipfile.is_zipfile(path):
        raise ModelFileError(
            f"{path} is not a .keras archive (a zip file), or is cut short; save the model again with "
            'model.save("model.keras")'
        )
    if path.suffix != ".keras":
        raise ModelFileError(f"{path} does not end in .keras; rename it if it is a file that Keras saved")


def _config(path: Path) -> dict[str, Any]:
    """The model's configuration; nothing of it has been acted on yet."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise ModelFileError(
                    f"{path}: its part {damaged} is damaged (the checksum differs); copy the file again"
                )
            config = json.loads(archive.read("config.json"))
    except KeyError as error:
        raise ModelFileError(f"{path} is a zip file without a config.json, not a model; {_SAVE_AS_KERAS}") from error
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise ModelFileError(f"{path} is damaged: {error}; copy or save it again") from error
    if not isinstance(config, dict) or "class_name" not in config:
        raise ModelFileError(f"{path}: its config.json does not describe a Keras model; {_SAVE_AS_KERAS}")
    return config


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in a configuration, from the outside in. Not recursive: a file may nest as deep as it likes."""
    waiting = [node]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(reversed(item.values()))
        elif isinstance(item, list):
            waiting.extend(reversed(item))


def _refuse_lambdas(path: Path, config: dict[str, Any]) -> None:
    for item in _objects(config):
        if item.get("class_name") == "Lambda":
            inner = item.get("config")
            name = inner.get("name", "lambda") if isinstance(inner, dict) else "lambda"
            what = f"the Lambda layer {name!r}"
        elif item.get("class_name") == "__lambda__" or _is_code(item):
            what = "a Python lambda"
        else:
            continue
        raise ModelFileError(
            f"{path} holds {what}, that is, Python code which would run when the file is loaded; write it as a Layer "
            "subclass in a module of your own, pass that with --module, and save the model again"
        )


def _is_code(item: dict[str, Any]) -> bool:
    """Whether this is a lambda given as an activation: its code, defaults and closure, without a class name."""
    value = item.get("value")
    return item.keys() == {"value"} and isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)


def _load(path: Path, objects: dict[str, Any]) -> keras.Model:
    import keras

    try:
        with keras.saving.custom_object_scope(objects):
            model = keras.models.load_model(path, custom_objects=objects, compile=False, safe_mode=True)
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
    if unknown:
        return (
            f"it uses {unknown[-1]!r}, which is not part of Keras; pass the module that defines it with --module "
            "(a .py file or a module name; its code is run)"
        )
    text = text.rsplit("Exception encountered: ", 1)[-1].strip().split("\n")[0].split("Full object config:")[0].strip()
    return f"Keras could not load it: {text[:400] or 'no reason given'} ({type(error).__name__})"
