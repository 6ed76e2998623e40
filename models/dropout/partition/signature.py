"""A model's inputs and outputs by name: what it takes, what it gives, and which activation its numbers come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from thinned.models.card import InputSpec
from thinned.models.compat.keras import functional_graph, input_tensors, inputs_structure, outputs_structure, producer
from thinned.models.dropout.partition.lookups import looks_up_text, missing_token, padding_value, table_size
from thinned.models.errors import UnsupportedModelError

__all__ = ["ModelSignature", "OutputSignature", "output_names", "read_outputs", "read_signature"]

UNKNOWN_LENGTH = 32
"""Stands for an axis of any length where a model is tried: long enough for a few strided convolutions."""
_PASS_THROUGH = (keras.layers.Reshape, keras.layers.Flatten, keras.layers.Identity, keras.layers.Dropout)


@dataclass(frozen=True)
class OutputSignature:
    """One output: its shape without the rows, and its last layer's function where that can be seen."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    activation: str | None
    noise_behind: bool = False
    """Whether a dropout stands between that function and the output."""


@dataclass(frozen=True)
class ModelSignature:
    """The inputs in the flat order in which the model takes them, as tensors, and how to call it with them.

    Of a call that is a part of another model `training` is None: whoever calls that says it.
    """

    inputs: tuple[InputSpec, ...]
    tensors: tuple[tf.TensorSpec, ...]
    call: Callable[[Sequence[Any], bool | None], Any]


def read_signature(model: Any, given: Sequence[InputSpec] | None = None) -> ModelSignature:
    """Find out what `model` takes.

    A functional graph says so itself; of a subclassed model only the shapes of its first call are stored. A batch
    size that the model was first called with is no part of what it takes.

    Args:
        model: A built Keras model.
        given: What it takes, where the user says so; dtype "" stands for the model's own.

    Raises:
        UnsupportedModelError: The inputs are unknown, are neither numbers nor text, or do not agree with `given`.
    """
    if not model.built:
        raise UnsupportedModelError(
            f"Model '{model.name}' is not built: it has no weights yet. "
            "Call it once on a batch of data, train it, and save it again."
        )
    graph = functional_graph(model)
    if graph is not None:
        return _functional(model, graph, given)
    return _subclassed(model, given)


def _functional(model: Any, graph: Any, given: Sequence[InputSpec] | None) -> ModelSignature:
    structure = inputs_structure(graph)
    names = sorted(structure) if isinstance(structure, dict) else [producer(t).operation.name for t in graph.inputs]
    own = [
        InputSpec(
            name=name,
            shape=tuple(tensor.shape[1:]),
            dtype=keras.backend.standardize_dtype(tensor.dtype),
            missing=missing_token(graph, tensor),
            table_size=table_size(graph, tensor),
            padding=padding_value(graph, tensor) if tuple(tensor.shape[1:2]) == (None,) else None,
        )
        for name, tensor in zip(names, graph.inputs, strict=True)
    ]
    specs = tuple(own if given is None else _narrowed(own, given))

    def call(tensors: Sequence[Any], training: bool | None) -> Any:
        return model(keras.tree.pack_sequence_as(structure, list(tensors)), training=training)

    return ModelSignature(specs, _signature(specs), call)


def _narrowed(own: Sequence[InputSpec], given: Sequence[InputSpec]) -> list[InputSpec]:
    """What a functional graph takes, lengths that it leaves open filled in where the user names them."""
    by_name = {spec.name: spec for spec in given}
    names = [spec.name for spec in own]
    if set(by_name) <= set(names):
        chosen = [by_name.get(name, spec) for name, spec in zip(names, own, strict=True)]
    elif len(given) == len(own):
        chosen = list(given)
    else:
        raise UnsupportedModelError(
            f"The model's inputs are {', '.join(names)}, but --input-shape names {', '.join(by_name)}. Name them so."
        )
    for spec, said in zip(own, chosen, strict=True):
        fits = len(spec.shape) == len(said.shape) and all(
            n in (None, m) for n, m in zip(spec.shape, said.shape, strict=True)
        )
        if not fits or said.dtype not in ("", spec.dtype):
            raise UnsupportedModelError(
                f"The model's graph says that it takes {_readable([spec])} as {spec.name!r}, but --input-shape and "
                f"--input-dtype say {_readable([said])}. Only lengths that the graph leaves open (None) may be named."
            )
    return [
        spec.model_copy(update={"name": said.name, "shape": said.shape}) for spec, said in zip(own, chosen, strict=True)
    ]


def _subclassed(model: Any, given: Sequence[InputSpec] | None) -> ModelSignature:
    config = model.get_build_config() or {}
    shapes = config.get("input_shape") or config.get("shapes_dict")
    by_keyword = "input_shape" not in config
    if given is None:
        if not shapes:
            raise UnsupportedModelError(
                f"Model '{model.name}' ({type(model).__name__}) does not say what it takes. "
                "Give --input-shape, and --input-dtype if it is not float32."
            )
        if looks_up_text(model):
            raise UnsupportedModelError(
                f"Model '{model.name}' ({type(model).__name__}) looks up text, and does not say which of its inputs is "
                "text. Give --input-shape, and --input-dtype string for text."
            )
        given = _specs_of(shapes)
    specs = tuple(spec.model_copy(update={"dtype": spec.dtype or "float32"}) for spec in given)

    def call(tensors: Sequence[Any], training: bool | None) -> Any:
        if not isinstance(shapes, dict):
            return model(tensors[0] if len(tensors) == 1 else list(tensors), training=training)
        named = dict(zip([spec.name for spec in specs], tensors, strict=True))
        return model(**named, training=training) if by_keyword else model(named, training=training)

    return ModelSignature(specs, _signature(specs), call)


def _specs_of(shapes: Any) -> list[InputSpec]:
    """Inputs from the shapes that Keras stored: one shape, a list of shapes, or shapes by name. It stores no dtypes."""
    if isinstance(shapes, dict):
        named = [(name.removesuffix("_shape"), shape) for name, shape in shapes.items()]
    elif shapes and isinstance(shapes[0], list | tuple):
        named = [(f"input_{i}", shape) for i, shape in enumerate(shapes)]
    else:
        named = [("input", shapes)]
    return [InputSpec(name=name, shape=tuple(shape[1:]), dtype="float32") for name, shape in named]


def _signature(specs: Sequence[InputSpec]) -> tuple[tf.TensorSpec, ...]:
    for spec in specs:
        dtype = tf.as_dtype(spec.dtype)
        if not (dtype.is_floating or dtype.is_integer or dtype.is_bool or dtype == tf.string):
            raise UnsupportedModelError(
                f"Input '{spec.name}' has dtype {spec.dtype}: only floating-point numbers, integers, true and false, "
                "and strings can be served. Do other preprocessing before the model; save the part that takes these."
            )
    return tuple(tf.TensorSpec([None, *spec.shape], spec.dtype, name=f"input_{i}") for i, spec in enumerate(specs))


def _readable(specs: Sequence[InputSpec]) -> str:
    return ", ".join(f"{s.dtype} {list(s.shape)}".strip() for s in specs)


def read_outputs(model: Any, structure: Any) -> tuple[OutputSignature, ...]:
    """Name the outputs, `structure` being what the model gave while it was traced, in whatever nesting it has.

    Raises:
        UnsupportedModelError: An output has no axis of rows, or is text.
    """
    graph = functional_graph(model)
    flat = keras.tree.flatten(structure)
    if isinstance(structure, dict):
        names = _names_of(structure)
    elif graph is not None and hasattr(graph, "output_names"):
        names = output_names(graph)
    else:
        names = ["output"] if len(flat) == 1 else [f"output_{i}" for i in range(len(flat))]
    outputs = []
    for i, (name, tensor) in enumerate(zip(names, flat, strict=True)):
        if tensor.shape.rank in (None, 0):
            raise UnsupportedModelError(
                f"Output '{name}' has shape {tensor.shape}: expected one answer a row, rows on the first axis."
            )
        if tensor.dtype == tf.string:
            raise UnsupportedModelError(
                f"Output '{name}' gives text, of which there is no mean and no variance. End the model before the "
                "layer that looks up the text (StringLookup(invert=True)), at its probabilities, and pass that layer's "
                "vocabulary with --labels."
            )
        activation, noisy = _activation(graph.outputs[i]) if graph is not None else (None, False)
        outputs.append(OutputSignature(name, tuple(tensor.shape[1:]), tensor.dtype.name, activation, noisy))
    return tuple(outputs)


def output_names(graph: Any) -> list[str]:
    """The names of a functional graph's outputs, in the order of `graph.outputs`."""
    structure = outputs_structure(graph)
    return _names_of(structure) if isinstance(structure, dict) else _distinct(list(graph.output_names))


def _names_of(structure: dict[str, Any]) -> list[str]:
    return [".".join(map(str, path)) for path, _ in keras.tree.flatten_with_path(structure)]


def _distinct(names: list[str]) -> list[str]:
    return names if len(set(names)) == len(names) else [f"{name}_{i}" for i, name in enumerate(names)]


def _activation(tensor: Any) -> tuple[str | None, bool]:
    """The function behind an output, and whether dropout stands behind it.

    It is followed through layers that only pass numbers on, and into nested models. A softmax over another axis than
    the last is "softmax over axis N".
    """
    noisy = False
    while True:
        made = producer(tensor)
        operation = made.operation
        inner = functional_graph(operation)
        if inner is not None:
            tensor = inner.outputs[made.tensor_index]
            continue
        if isinstance(operation, _PASS_THROUGH):
            noisy |= isinstance(operation, keras.layers.Dropout) and operation.rate > 0
            tensor = input_tensors(made)[0]
            continue
        if isinstance(operation, keras.layers.TimeDistributed):
            inner = functional_graph(operation.layer)
            if inner is None:
                return _function_of(operation.layer, tensor), noisy
            tensor = inner.outputs[0]
            continue
        return _function_of(operation, tensor), noisy


def _function_of(operation: Any, tensor: Any) -> str | None:
    known = {"Softmax": "softmax", "Sigmoid": "sigmoid", "Argmax": "argmax", "Argmin": "argmin"}
    name = known.get(type(operation).__name__)
    if name is not None:
        axis = getattr(operation, "axis", -1)
        if name == "softmax" and axis not in (-1, len(tensor.shape) - 1):
            return f"softmax over axis {axis}"
        return name
    function = getattr(operation, "activation", None)
    return str(getattr(function, "__name__", type(function).__name__)).lower() if callable(function) else None
