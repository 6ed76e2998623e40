"""Which lookup layers read an input of a model: they know its words, and which of them stands for a missing value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from thinned.models.compat.keras import flatten_layers, functional_graph, inputs_structure, nodes_in_order

__all__ = ["known_integers", "looks_up_text", "missing_token", "padding_value", "readers", "table_size", "vocabulary"]

_TABLES = (
    keras.layers.Hashing,
    keras.layers.IntegerLookup,
    keras.layers.StringLookup,
    keras.layers.TextVectorization,
)
# Layers and operations that give values another shape or place, and leave them as they are when the model predicts.
_MOVES = {
    "CenterCrop",
    "Concatenate",
    "Cropping2D",
    "ExpandDims",
    "Flatten",
    "GetItem",
    "Identity",
    "Permute",
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "RepeatVector",
    "Reshape",
    "Resizing",
    "Squeeze",
    "Transpose",
    "ZeroPadding2D",
}

# Those of them behind which some of the values may be missing.
_DROPS = {"CenterCrop", "Cropping2D", "GetItem", "RandomCrop"}


def readers(graph: Any, tensor: Any) -> list[Any]:
    """The operations that make something else of the values of an input, in the order of the graph.

    Args:
        graph: A functional graph.
        tensor: One of `graph.inputs`.
    """
    return list(_readers(graph, {id(tensor)}, _MOVES))


def _readers(graph: Any, same: set[int], moves: set[str]) -> Iterator[Any]:
    """`same`: ids of the tensors that hold the input's values. `moves`: which layers are looked through."""
    for node in nodes_in_order(graph):
        if not same & {id(tensor) for tensor in node.input_tensors}:
            continue
        inner = functional_graph(node.operation)
        if inner is not None:
            entered = _entered(node, inner, same)
            if entered is None:
                yield node.operation
            else:
                yield from _readers(inner, entered, moves)
        elif type(node.operation).__name__ in moves and type(node.operation).__module__.startswith("keras."):
            same |= {id(tensor) for tensor in node.outputs}
        else:
            yield node.operation


def _entered(node: Any, inner: Any, same: set[int]) -> set[int] | None:
    """Ids of the inner model's inputs that hold the values; None where the order of its inputs is not that given."""
    given = node.arguments.args[0] if node.arguments.args else None
    flat = keras.tree.flatten(given)
    if len(flat) != len(inner.inputs) or isinstance(given, dict) != isinstance(inputs_structure(inner), dict):
        return None
    return {id(into) for tensor, into in zip(flat, inner.inputs, strict=True) if id(tensor) in same}


def missing_token(graph: Any, tensor: Any) -> str | int | None:
    """The value that stands for a missing one, where whatever reads the input agrees on it; None where there is none.

    Args:
        graph: A functional graph.
        tensor: One of `graph.inputs`.
    """
    tokens = {_token(layer) for layer in readers(graph, tensor)}
    token = tokens.pop() if len(tokens) == 1 else None
    if token is None:
        return None
    text = keras.backend.standardize_dtype(tensor.dtype) == "string"
    return str(token) if text else int(token)


def _token(layer: Any) -> Any:
    if not isinstance(layer, _TABLES) or getattr(layer, "invert", False):
        return None
    if isinstance(layer, keras.layers.TextVectorization):
        return ""  # It holds no word at all.
    return layer.mask_value if isinstance(layer, keras.layers.Hashing) else layer.mask_token


def table_size(graph: Any, tensor: Any) -> int | None:
    """Entries of the smallest embedding that all values of an input are looked up in; None where there is none.

    Args:
        graph: A functional graph.
        tensor: One of `graph.inputs`.
    """
    layers = _readers(graph, {id(tensor)}, _MOVES - _DROPS)
    return min((int(layer.input_dim) for layer in layers if isinstance(layer, keras.layers.Embedding)), default=None)


def padding_value(graph: Any, tensor: Any) -> int | float | None:
    """What rows of an input may be filled up with, as a layer that reads it masks it; None where none does.

    It is 0 for `Embedding(mask_zero=True)`, and the `mask_value` of a `Masking`. Whether all layers behind it heed the
    mask is seen only when it is tried.

    Args:
        graph: A functional graph.
        tensor: One of `graph.inputs`.
    """
    values = {_masked(layer) for layer in _readers(graph, {id(tensor)}, set())} - {None}
    return values.pop() if len(values) == 1 else None


def _masked(layer: Any) -> int | float | None:
    if isinstance(layer, keras.layers.Masking):
        return float(layer.mask_value)
    return 0 if isinstance(layer, keras.layers.Embedding) and layer.mask_zero else None


def vocabulary(graph: Any, tensor: Any) -> list[str]:
    """The words that a table of strings knows of those that read the input; the first such table's.

    Args:
        graph: A functional graph.
        tensor: One of `graph.inputs`.
    """
    for layer in readers(graph, tensor):
        if _knows_words(layer):
            return [str(word) for word in layer.get_vocabulary(include_special_tokens=False)]
    return []


def known_integers(graph: Any, tensor: Any) -> tuple[int, ...]:
    """The integers that every `IntegerLookup` knows that reads the input, in the first one's order; none without one.

    Args:
        graph: A functional graph.
        tensor: One of `graph.inputs`.
    """
    tables = [
        [int(number) for number in layer.get_vocabulary(include_special_tokens=False)]
        for layer in readers(graph, tensor)
        if isinstance(layer, keras.layers.IntegerLookup) and not layer.invert
    ]
    common = set.intersection(*map(set, tables)) if tables else set()
    return tuple(number for number in tables[0] if number in common) if tables else ()


def looks_up_text(model: Any) -> bool:
    """Whether a layer of the model, wherever it is, takes words."""
    return any(_knows_words(layer) for layer in flatten_layers(model))


def _knows_words(layer: Any) -> bool:
    tells = isinstance(layer, keras.layers.StringLookup | keras.layers.TextVectorization)
    return tells and not getattr(layer, "invert", False)
