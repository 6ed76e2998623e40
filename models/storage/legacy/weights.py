"""Weights of an old file given to the layers of the new model, each held against its name and shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from thinned.models.storage.legacy.built import Built, LayerError
from thinned.models.storage.legacy.hdf5_reader import Array
from thinned.models.storage.legacy.isolation import SavedLayer
from thinned.models.storage.legacy.old_weights import as_keras_3

__all__ = ["assign_layers", "assign_tree"]

# Names of one weight at different times.
_SAME = {"depthwise_kernel": "kernel", "running_mean": "moving_mean", "running_std": "moving_variance"}
_KNOWN = {
    "beta",
    "bias",
    "embeddings",
    "gamma",
    "kernel",
    "mean",
    "moving_mean",
    "moving_variance",
    "pointwise_kernel",
    "recurrent_kernel",
    "variance",
}
_ROOTS = ("layers", "_layer_checkpoint_dependencies")
# Sublayers in an archive, in the order in which Keras 3 lists their weights.
_LISTED = ("_query_dense", "_key_dense", "_value_dense", "_output_dense", "cells")


def assign_layers(root: Built, saved: Sequence[SavedLayer], major: int, backend: str | None) -> None:
    """Give each layer of a model the weights that an HDF5 file keeps under its name.

    Args:
        root: The model.
        saved: The file's layers with weights.
        major: Of the version of Keras that wrote them.
        backend: The backend that they were trained with.

    Raises:
        LayerError: A layer has no weights in the file, or others than it takes.
    """
    by_name = {child.name: child for child in root.children or []}
    for layer in saved:
        built = by_name.pop(layer.layer, None)
        if built is None:
            raise LayerError(f"it has weights of a layer {layer.layer!r}, which its configuration does not have")
        slots, arrays, names = _slots(built), layer.arrays, layer.names
        if built.children is None:
            arrays = as_keras_3(built, arrays, major, backend)
            names = names if len(names) == len(arrays) else [""] * len(arrays)
        _assign(built.name, slots, arrays, names)
    for built in by_name.values():
        if slots := _slots(built):
            raise LayerError(f"it has no weights for its layer {built.name!r}, which takes {len(slots)}")


def assign_tree(root: Built, tree: Mapping[str, Array]) -> None:
    """Give each layer of a model its weights out of the tree that an archive of Keras 2 keeps.

    Args:
        root: The model.
        tree: Arrays by their path.

    Raises:
        LayerError: A layer has no weights in the file, or others than it takes.
    """
    left = {path for path in tree if path.split("/")[0] in _ROOTS}
    for built, prefix in _places(root, "", tree):
        for layer, found in _parts(built.name, built.layer, prefix, tree):
            left -= set(found)
            _assign(built.name, layer, [tree[path] for path in found], [""] * len(found))
    strange = sorted(path for path in left if not re.search(r"dropout|gaussian|random|seed", path))
    if strange:
        raise LayerError(f"it has weights {strange[0]!r}, which its configuration has no layer for")


def _slots(built: Built) -> list[Any]:
    """The variables of a layer as HDF5 files list them: what is trained first, of a model layer by layer."""
    trained, rest = _halves(built)
    return trained + rest


def _halves(built: Built) -> tuple[list[Any], list[Any]]:
    if built.children is None:
        return list(built.layer.trainable_weights), list(built.layer.non_trainable_weights)
    halves = [_halves(child) for child in built.children]
    return [one for trained, _ in halves for one in trained], [one for _, rest in halves for one in rest]


def _assign(name: str, slots: Sequence[Any], arrays: Sequence[Array], names: Sequence[str]) -> None:
    if len(slots) != len(arrays):
        raise LayerError(f"its layer {name!r} takes {len(slots)} weights, and the file has {len(arrays)} for it")
    for slot, array, label in zip(slots, arrays, names, strict=True):
        expected, received = tuple(slot.shape), tuple(array.shape)
        if expected != received:
            raise LayerError(
                f"its layer {name!r}: expected {slot.name} of shape {_shape(expected)}, the file has {label or 'one'} "
                f"of shape {_shape(received)}"
            )
        old, new = _base(label), _base(slot.name)
        if old in _KNOWN and new in _KNOWN and old != new:
            raise LayerError(f"its layer {name!r}: expected the weight {new}, the file has {label} in its place")
        slot.assign(array.astype(slot.dtype) if slot.dtype != "bfloat16" else array)


def _base(label: str) -> str:
    """The last part of a weight's name: "dense_1/kernel:0" and "dense_1_running_std:0" (Keras 1)."""
    last = label.split("/")[-1].split(":")[0]
    last = re.sub(r"_\d+$", "", last)
    for known in (*_SAME, *sorted(_KNOWN, key=len, reverse=True)):
        if last == known or last.endswith(f"_{known}"):
            return _SAME.get(known, known)
    return last


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"


def _places(parent: Built, prefix: str, tree: Mapping[str, Array]) -> Iterator[tuple[Built, str]]:
    """Each layer that has weights with its path. An archive numbers the layers of a class, some of them twice."""
    by_class: dict[str, list[Built]] = {}
    for child in parent.children or []:
        if child.layer.weights:
            by_class.setdefault(_snake(child.class_name), []).append(child)
    for name, children in by_class.items():
        keys = _keys(prefix, name, tree)
        if len(keys) != len(children):
            raise LayerError(
                f"it has {len(children)} layers of the kind {name} with weights, and weights for {len(keys)}"
            )
        for child, key in zip(children, keys, strict=True):
            if child.children is None:
                yield child, key
            else:
                yield from _places(child, f"{key}/layer" if name == "time_distributed" else f"{key}/", tree)


def _keys(prefix: str, name: str, tree: Mapping[str, Array]) -> list[str]:
    """The paths that hold the layers of a class, in the order of their numbers."""
    if prefix.endswith("/layer"):
        return [prefix]
    for root in _ROOTS:
        pattern = re.compile(rf"({re.escape(prefix)}{root}/{re.escape(name)}(?:_(\d+))?)/")
        found = {match[1]: int(match[2] or 0) for path in tree if (match := pattern.match(path))}
        if found:
            return sorted(found, key=found.__getitem__)
    return []


def _parts(name: str, layer: Any, prefix: str, tree: Mapping[str, Array]) -> Iterator[tuple[list[Any], list[str]]]:
    """The variables of a layer and their paths: its own, then those of each layer that it keeps as an attribute."""
    found = _ordered(prefix, tree)
    inner = {path[len(prefix) + 1 :].split("/")[0] for path in found} - {"vars", *_LISTED}
    if not inner:
        yield list(layer.weights), found
        return
    own = [path for path in found if path.startswith(f"{prefix}/vars/")]
    yield list(layer.weights)[: len(own)], own
    left = len(layer.weights) - len(own)
    for attribute in sorted(inner):
        child: Any = getattr(layer, attribute, None)
        if not hasattr(child, "weights"):
            raise LayerError(
                f"its layer {name!r} keeps weights under {attribute!r}, whose order an archive of Keras 2 does not "
                'tell; with the Keras that wrote it, save it as HDF5, model.save("model.h5"), and import that'
            )
        left -= len(child.weights)
        yield from _parts(name, child, f"{prefix}/{attribute}", tree)
    if left:
        raise LayerError(f"its layer {name!r} has {left} weights that the file has not")


def _ordered(prefix: str, tree: Mapping[str, Array]) -> list[str]:
    """The paths of one layer's weights: its own by number, then those of its inner layers."""

    def order(path: str) -> tuple[Any, ...]:
        parts = path[len(prefix) :].strip("/").split("/")
        return tuple(
            (0, 0, "")
            if part == "vars"
            else (1, _LISTED.index(part) if part in _LISTED else len(_LISTED), _padded(part))
            for part in parts
        )

    return sorted((path for path in tree if path.startswith(f"{prefix}/")), key=order)


def _padded(part: str) -> str:
    """A name whose number, if it has one, sorts as a number."""
    return re.sub(r"\d+", lambda number: number[0].zfill(8), part)


def _snake(class_name: str) -> str:
    """A class's name as archives write it."""
    plain = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", plain).lower()
