"""The arguments of a layer as earlier Keras wrote them, put as Keras 3 takes them. Plain data in, plain data out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from thinned.models.storage.legacy.keras1_arguments import as_keras_2

__all__ = ["HARD_SIGMOID", "INPUT_KEYS", "TAKEN_AS_FUNCTION", "Untranslatable", "plain_value", "translate"]

HARD_SIGMOID = {
    "module": "builtins",
    "class_name": "function",
    "config": "hard_sigmoid_2",
    "registered_name": "thinned>hard_sigmoid_2",
}
"""How a stored model refers to the hard sigmoid of Keras 1 and 2."""

TAKEN_AS_FUNCTION = ("activation", "recurrent_activation")
INPUT_KEYS = ("batch_input_shape", "batch_shape", "input_shape", "input_dtype", "batch_size", "ragged")

_ALIASES = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "CuDNNLSTM": "LSTM",
    "CuDNNGRU": "GRU",
    "ThresholdedReLU": "ReLU",
}
_RENAMED = {
    ("LeakyReLU", "alpha"): "negative_slope",
    ("ThresholdedReLU", "theta"): "threshold",
}
_OPERATION = "it is an operation of TensorFlow between layers, kept by its name and not as a layer"
_REFUSED = {
    "TFOpLambda": _OPERATION,
    "SlicingOpLambda": _OPERATION,
    "TensorFlowOpLayer": _OPERATION,
    "ClassMethod": _OPERATION,
    "InstanceMethod": _OPERATION,
    "InstanceProperty": _OPERATION,
    "LocallyConnected1D": "Keras 3 has no such layer",
    "LocallyConnected2D": "Keras 3 has no such layer",
    "DenseFeatures": "Keras 3 has no such layer",
    "StringLookup": "it takes text, and models are served with numbers",
    "TextVectorization": "it takes text, and models are served with numbers",
    "TFSMLayer": "it is a TensorFlow program in another folder",
}
# What decides how a model is trained, not what it answers: its weights come from the file.
_TRAINING = ("_initializer", "_regularizer", "_constraint")
_UNUSED = {
    "adjustment",
    "autocast",
    "enable_caching_device",
    "fused",
    "implementation",
    "input_dim",
    "input_length",
    "key_shape",
    "query_shape",
    "renorm_clipping",
    "renorm_momentum",
    "seed",
    "trainable",
    "unit_forget_bias",
    "value_shape",
    "weights",
}
"""Arguments that say nothing of the answer. A layer that still takes one of them gets it."""


class Untranslatable(Exception):
    """A layer has no counterpart in Keras 3; the text is the reason, a clause without the layer's name."""


def translate(class_name: str, config: Mapping[str, Any], major: int) -> tuple[str, dict[str, Any]]:
    """Name and arguments in Keras 3 of a layer of Keras's own; what describes the input is left out.

    Args:
        class_name: As the file names it.
        config: The layer's `config`.
        major: Of the version of Keras that wrote it.

    Returns:
        The name in `keras.layers` and the arguments, not yet held against those that it takes.

    Raises:
        Untranslatable: Keras 3 has nothing that computes the same.
    """
    values = {key: plain_value(value) for key, value in config.items() if key not in INPUT_KEYS}
    if class_name in _REFUSED:
        raise Untranslatable(_REFUSED[class_name])
    if major < 2:
        class_name, values = as_keras_2(class_name, values)
    values = {_RENAMED.get((class_name, key), key): value for key, value in values.items()}
    values = {
        key: value for key, value in values.items() if not key.endswith(_TRAINING) and key != "activity_regularizer"
    }
    name = _ALIASES.get(class_name, class_name)
    if major < 3:
        _as_it_was(class_name, name, values)
    if "dtype" in values:
        values["dtype"] = _policy(values["dtype"])
        if values["dtype"] is None:
            del values["dtype"]
    return name, values


def _as_it_was(class_name: str, name: str, values: dict[str, Any]) -> None:
    """Say what was so by default, and what Keras 3 means otherwise."""
    for key in TAKEN_AS_FUNCTION:
        if function_name(values.get(key)) == "hard_sigmoid":
            values[key] = HARD_SIGMOID
    if class_name in ("CuDNNLSTM", "CuDNNGRU"):
        values |= {"activation": "tanh", "recurrent_activation": "sigmoid"}
    if name in ("GRU", "GRUCell"):
        values.setdefault("reset_after", class_name == "CuDNNGRU")
    if name == "BatchNormalization":
        values["axis"] = _one_axis(values.get("axis", -1))
        for key in ("renorm", "virtual_batch_size"):
            if values.pop(key, None):
                raise Untranslatable(f"it has {key}, whose statistics Keras 3 keeps otherwise")
    if name == "Bidirectional" and not values.get("backward_layer"):
        values |= _other_direction(values.get("layer"))
    if values.get("time_major"):
        raise Untranslatable("it has time_major=True, the time on the first axis, which no layer of Keras 3 takes")
    if values.get("causal"):
        raise Untranslatable("it has causal=True, which in Keras 3 is an argument of the call")
    if values.get("sparse"):
        raise Untranslatable("it takes sparse tensors")


def function_name(value: Any) -> str | None:
    """The name of a function as a configuration gives it: a string, or an object around it."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and value.get("class_name") == "function" and isinstance(value.get("config"), str):
        return str(value["config"])
    if isinstance(value, Mapping) and value.get("class_name") == "hard_sigmoid":
        return "hard_sigmoid"
    return None


def held_against(values: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """The arguments that a layer takes; one that it does not take may only say what holds anyway.

    Raises:
        Untranslatable: One of the others changes what the layer computes.
    """
    kept = {}
    for key, value in values.items():
        if key in taken:
            kept[key] = value
        elif key not in _UNUSED and value is not None and value is not False and (key, value) != ("groups", 1):
            raise Untranslatable(f"it has {key}={value!r}, an argument that Keras 3 does not take"[:200])
    return kept


def plain_value(value: Any) -> Any:
    """A value without the wrapping that tells JSON a tuple, an array or a shape."""
    if isinstance(value, list):
        return [plain_value(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    inner = value.get("config")
    if value.get("class_name") in ("__tuple__", "TensorShape"):
        found = value.get("items", inner.get("value") if isinstance(inner, Mapping) else None)
        return plain_value(list(found)) if isinstance(found, list) else value
    if value.get("class_name") in ("__numpy__", "__tensor__") and isinstance(inner, Mapping):
        return inner.get("value")
    if value.keys() == {"type", "value"} and value["type"] == "ndarray":
        return value["value"]
    return value


def _other_direction(layer: Any) -> dict[str, Any]:
    """The second layer of a `Bidirectional` whose first goes backwards; Keras 3 would have both go backwards."""
    config = layer.get("config") if isinstance(layer, Mapping) else None
    if not isinstance(config, Mapping) or not config.get("go_backwards"):
        return {}
    turned = {**config, "go_backwards": False, "name": f"backward_{config.get('name', 'layer')}"}
    return {"backward_layer": {**layer, "config": turned}}


def _one_axis(axis: Any) -> Any:
    if isinstance(axis, list):
        if len(axis) != 1:
            raise Untranslatable(f"it normalises over the axes {axis}, and Keras 3 over one axis only")
        return axis[0]
    return axis


def _policy(dtype: Any) -> str | None:
    """The name of a type or of a policy, which Keras 2 wrote as an object."""
    if isinstance(dtype, Mapping):
        inner = dtype.get("config")
        dtype = inner.get("name") if isinstance(inner, Mapping) else None
    return dtype if isinstance(dtype, str) and dtype not in ("infer", "_infer") else None
