"""Keras 3 layers and models from the configuration that earlier Keras wrote; only allow-listed classes are made."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import keras

from thinned.models.compat.messages import message_of
from thinned.models.storage.legacy.built import Built, LayerError, clean_name
from thinned.models.storage.legacy.graphs import build_functional, build_sequential
from thinned.models.storage.legacy.layer_arguments import (
    INPUT_KEYS,
    TAKEN_AS_FUNCTION,
    Untranslatable,
    function_name,
    held_against,
    plain_value,
    translate,
)

__all__ = ["MODEL_CLASSES", "Builder"]

MODEL_CLASSES = ("Functional", "Model", "Sequential", "Container", "Network")

# Layers that run code, read other files, or are no layer by themselves.
_NO_LAYERS = {"Layer", "Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "Wrapper"}
_PLACES = ("initializers", "regularizers", "constraints", "layers")


class Builder:
    """Makes the layers of one file.

    Args:
        major: Of the version of Keras that wrote it.
        objects: The user's own classes and functions, by plain and by registered name.
        stateful: Whether a layer keeps its state between calls, so that the number of rows is part of the model.
    """

    def __init__(self, major: int, objects: Mapping[str, Any], *, stateful: bool = False) -> None:
        self.major = major
        self.stateful = stateful
        self._objects = objects

    def build(self, item: Any) -> Built:
        """A layer, or a model inside a model.

        Args:
            item: An object with `class_name` and `config`.

        Raises:
            LayerError: It, or a layer in it, has no counterpart in Keras 3.
        """
        if not isinstance(item, Mapping) or not isinstance(item.get("class_name"), str):
            raise LayerError("its configuration has a layer without a class")
        class_name, config = item["class_name"], item.get("config")
        if class_name not in self._objects:
            if class_name == "Sequential":
                return build_sequential(self, config)
            if class_name in MODEL_CLASSES:
                return build_functional(self, config)
        if not isinstance(config, Mapping):
            raise LayerError(f"its layer of class {class_name!r} has no arguments")
        name = str(item.get("name") or config.get("name") or class_name.lower())
        try:
            return self._layer(name, class_name, config)
        except Untranslatable as error:
            raise LayerError(f"its layer {name!r} is a {class_name}: {error}") from error
        except LayerError:
            raise
        except Exception as error:  # whatever a constructor raises on arguments that it cannot take
            raise LayerError(f"its layer {name!r} ({class_name}) could not be made: {message_of(error)}") from error

    def input(self, name: str, class_name: str, config: Mapping[str, Any]) -> Any | None:
        """The input that a layer's own arguments describe; None if they do not."""
        shape = plain_value(config.get("batch_input_shape", config.get("batch_shape")))
        if shape is None and "input_shape" in config:
            shape = [None, *plain_value(config["input_shape"])]
        if not isinstance(shape, list):
            return None
        if config.get("sparse") or config.get("ragged"):
            raise LayerError(f"its input {name!r} takes sparse or ragged tensors, and models are served with arrays")
        dtype = config.get("input_dtype", config.get("dtype") if class_name == "InputLayer" else None)
        if class_name == "Embedding" and dtype in (None, "float32"):
            dtype = "int32"
        rows = shape[0] if self.stateful else None
        return keras.Input(batch_shape=(rows, *shape[1:]), dtype=dtype, name=clean_name(name))

    def _layer(self, name: str, class_name: str, config: Mapping[str, Any]) -> Built:
        if class_name in self._objects:
            return self._own(name, class_name, self._objects[class_name], config)
        new_name, values = translate(class_name, config, self.major)
        cls = getattr(keras.layers, new_name, None)
        if new_name in _NO_LAYERS or not (inspect.isclass(cls) and issubclass(cls, keras.layers.Layer)):
            raise Untranslatable(self._unknown(class_name))
        values = held_against(values, _taken(cls))
        children = None
        for key in ("layer", "backward_layer", "cell"):
            if isinstance(values.get(key), Mapping):
                inner = self.build(values[key])
                values[key] = inner.layer
                children = [inner] if new_name == "TimeDistributed" else None
        if isinstance(values.get("cells"), list):
            values["cells"] = [self.build(cell).layer for cell in values["cells"]]
        if new_name == "RNN" and isinstance(values.get("cell"), list):
            values["cell"] = [self.build(cell).layer for cell in values["cell"]]
        for key in TAKEN_AS_FUNCTION:
            if key in values:
                values[key] = self._function(values[key])
        values["name"] = clean_name(name)
        return Built(name, class_name, cls(**values), children)

    def _own(self, name: str, class_name: str, cls: Any, config: Mapping[str, Any]) -> Built:
        """A layer of the user's module: its arguments as they are, but for what Keras wrote beside them."""
        if not (inspect.isclass(cls) and issubclass(cls, keras.layers.Layer)):
            raise Untranslatable("the module defines no layer of that name")
        values = {key: self._passed(value) for key, value in config.items() if key not in INPUT_KEYS}
        _, common = translate(
            "Dense", {key: config[key] for key in ("dtype", *TAKEN_AS_FUNCTION) if key in config}, self.major
        )
        if "dtype" in values and "dtype" not in common:
            del values["dtype"]
        made: Any = cls
        return Built(name, class_name, made.from_config({**values, **common, "name": clean_name(name)}))

    def _passed(self, value: Any) -> Any:
        """An argument of the user's layer; objects in it, of Keras or the user's own, are named as Keras 3 does."""
        value = plain_value(value)
        if isinstance(value, list):
            return [self._passed(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        inner = {key: self._passed(item) for key, item in value.items()}
        name = value.get("class_name")
        if not isinstance(name, str) or "config" not in value:
            return inner
        if name in self._objects:
            own = self._objects[name]
            registered = keras.saving.get_registered_name(own)
            return {
                "module": None,
                "class_name": own.__name__,
                "config": inner["config"],
                "registered_name": registered,
            }
        if name in ("Policy", "PolicyV1", "DTypePolicy"):
            return inner["config"].get("name") if isinstance(inner["config"], dict) else None
        for place in _PLACES:
            cls = getattr(getattr(keras, place), name, None)
            if inspect.isclass(cls) and name not in _NO_LAYERS:
                config = inner["config"]
                if isinstance(config, dict):
                    config = translate(name, config, self.major)[1] if place == "layers" else dict(config)
                    if place == "initializers":
                        config.pop("dtype", None)
                return {"module": f"keras.{place}", "class_name": name, "config": config, "registered_name": None}
        raise Untranslatable(self._unknown(name))

    def _function(self, value: Any) -> Any:
        """An activation by its name: one of the module's, or of Keras's own; or a layer in its place."""
        name = function_name(value)
        if name is None:
            return self.build(value).layer if isinstance(value, Mapping) else value
        if name == "hard_sigmoid_2":
            from thinned.models.storage.old_functions import hard_sigmoid_2

            return hard_sigmoid_2
        if name in self._objects:
            return self._objects[name]
        found = getattr(keras.activations, {"swish": "silu"}.get(name, name), None)
        if not inspect.isfunction(found) or name in ("get", "serialize", "deserialize"):
            raise Untranslatable(f"it uses the function {name!r}, which is not part of Keras; {_PASS_MODULE}")
        return found

    def _unknown(self, class_name: str) -> str:
        if hasattr(keras.layers, class_name) or class_name in ("Merge", "MaxoutDense", "Highway"):
            return "Keras 3 has no such layer"
        return f"{class_name!r} is not part of Keras; {_PASS_MODULE}"


_PASS_MODULE = "if it is your own, pass the module that defines it with --module (a .py file or a module name)"


def _taken(cls: type) -> set[str]:
    """The names of the arguments of a class, with those that it hands to its bases."""
    names: set[str] = set()
    for base in inspect.getmro(cls):
        if base is keras.layers.Layer:
            names |= {"name", "trainable", "dtype"}
            break
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            names |= {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
            if not any(one.kind is one.VAR_KEYWORD for one in parameters):
                break
    return names - {"self"}
