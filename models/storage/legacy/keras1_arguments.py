"""Names of Keras 1, before the arguments of its layers were renamed in 2017, as Keras 2 names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["as_keras_2"]

_CLASSES = {
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "SeparableConvolution2D": "SeparableConv2D",
}
_MERGES = {
    "sum": "Add",
    "mul": "Multiply",
    "ave": "Average",
    "max": "Maximum",
    "concat": "Concatenate",
}
_KEYS = {
    "nb_filter": "filters",
    "filter_length": "kernel_size",
    "border_mode": "padding",
    "subsample": "strides",
    "subsample_length": "strides",
    "stride": "strides",
    "atrous_rate": "dilation_rate",
    "pool_length": "pool_size",
    "bias": "use_bias",
    "inner_activation": "recurrent_activation",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
    "p": "rate",
    "sigma": "stddev",
}
_KERNEL = (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3"))
_ORDERINGS = {"tf": "channels_last", "th": "channels_first"}
# How weights began and were held while training; they come from the file.
_UNUSED = {"init", "inner_init", "forget_bias_init", "beta_init", "gamma_init", "consume_less", "input_dim", "weights"}


def as_keras_2(class_name: str, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class and arguments of Keras 2 that compute what a layer of Keras 1 did.

    Args:
        class_name: The class in Keras 1.
        values: Its arguments.

    Returns:
        Class and arguments in the terms of Keras 2. What has no counterpart keeps its name, and is refused later.
    """
    if class_name == "Merge":
        return _merge(values)
    embedding = class_name == "Embedding"
    renamed: dict[str, Any] = {}
    for key, value in values.items():
        if (key in _UNUSED and not (embedding and key == "input_dim")) or key[1:] in ("_regularizer", "_constraint"):
            continue
        if key == "mode" and class_name == "BatchNormalization" and value == 0:
            continue
        renamed["units" if key == "output_dim" and not embedding else _KEYS.get(key, key)] = value
    for parts in _KERNEL:
        if parts[0] in renamed:
            renamed["kernel_size"] = [renamed.pop(part) for part in parts]
    if "dim_ordering" in renamed:
        ordering = renamed.pop("dim_ordering")
        renamed["data_format"] = _ORDERINGS.get(ordering)
    if class_name == "UpSampling1D" and "length" in renamed:
        renamed["size"] = renamed.pop("length")
    if embedding and not renamed.get("dropout"):
        renamed.pop("dropout", None)
    return _CLASSES.get(class_name, class_name), renamed


def _merge(values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A `Merge` whose mode is a layer of its own since Keras 2; any other keeps its mode, which no layer takes."""
    mode = values.get("mode")
    kept = {"name": values["name"]} if "name" in values else {}
    if mode not in _MERGES or values.get("layers"):
        return "Merge", dict(values)
    if mode == "concat":
        kept["axis"] = values.get("concat_axis", -1)
    return _MERGES[mode], kept
