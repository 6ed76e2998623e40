"""Replace methods of layer instances while a graph is traced, and put everything back.

Keras looks methods up on the instance (`self.call`), so an entry in the instance's `__dict__` is enough. Writing
there directly, not by `setattr`, keeps Keras's attribute tracking out of it. Tracing is the only time that Python
code of a layer runs, so one lock for all traces makes the replacement invisible to other threads: they only execute
graphs that were traced before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from thinned.models.compat.keras import (
    attention_dropout,
    clear_losses,
    flatten_layers,
    is_augmentation,
    takes_mask,
    takes_training,
)
from thinned.models.dropout.sites.attention import attend, attends_with_noise
from thinned.models.dropout.sites.noise_layers import NoiseProvider, SiteLayer
from thinned.models.dropout.sites.random_functions import replaced_random_functions

__all__ = ["TRACING", "patched"]

TRACING = threading.RLock()
_CROPPINGS = (keras.layers.Cropping1D, keras.layers.Cropping2D, keras.layers.Cropping3D)
_SHORTENING = _CROPPINGS + tuple(
    getattr(keras.layers, f"{kind}{n}D")
    for kind in ("Conv", "SeparableConv", "DepthwiseConv", "MaxPooling", "AveragePooling")
    for n in (1, 2, 3)
    if hasattr(keras.layers, f"{kind}{n}D")
)
_MOST_STEPS = 256
"""Beyond these an unrolled loop would take minutes to trace."""
_ABSENT = object()


@contextmanager
def patched(
    model: Any,
    sites: Sequence[SiteLayer],
    provider_of: Callable[[SiteLayer], NoiseProvider],
    *,
    also: Callable[[Any], Callable[..., Any]] | None = None,
) -> Iterator[None]:
    """Replace the draws of `sites` of `model` for the duration of a trace.

    Args:
        model: The Keras model.
        sites: The layers whose draws are replaced.
        provider_of: Gives each site its noise.
        also: Given any layer of the model, makes a further replacement of its `call`.
    """
    with TRACING:
        changes: list[tuple[Any, str, Any]] = []
        patched_ids: set[int] = set()
        made: list[NoiseProvider] = []
        overridden: dict[type, dict[int, Callable[..., Any]]] = {}
        classes: list[tuple[type, Any]] = []
        try:
            for site in sites:
                patched_ids.add(id(site.layer))
                made.append(provider_of(site))
                for name, method in site.patches(made[-1]).items():
                    _replace(changes, site.layer, name, method)
                if site.base is not None and site.base_call is not None:
                    overridden.setdefault(site.base, {})[id(site.layer)] = site.base_call(made[-1])
            for base, calls in overridden.items():
                classes.append((base, base.__dict__.get("call", _ABSENT)))
                base.call = _dispatcher(base.call, calls)  # type: ignore[attr-defined]
            providers = {id(site.layer): provider for site, provider in zip(sites, made, strict=True)}
            for layer in _inside_of_trained(sites, made):
                _replace(changes, layer, "call", _never_training(layer.call))
            each_turn = {id(site.layer) for site in sites if not site.held}
            for layer in flatten_layers(model):
                if attends_with_noise(layer) and id(attention_dropout(layer)) in providers:
                    for name, value in attend(layer, providers[id(attention_dropout(layer))]).items():
                        _replace(changes, layer, name, value)
                for name, value in _side_patches(layer, patched_ids, each_turn).items():
                    _replace(changes, layer, name, value)
                if also is not None:
                    _replace(changes, layer, "call", also(layer))
            with replaced_random_functions():
                yield
        finally:
            for base, before in classes:
                if before is _ABSENT:
                    del base.call  # type: ignore[attr-defined]
                else:
                    base.call = before  # type: ignore[attr-defined]
            for layer, name, before in reversed(changes):
                if before is _ABSENT:
                    del layer.__dict__[name]
                else:
                    layer.__dict__[name] = before
            clear_losses(model)


def _replace(changes: list[tuple[Any, str, Any]], layer: Any, name: str, value: Any) -> None:
    changes.append((layer, name, layer.__dict__.get(name, _ABSENT)))
    layer.__dict__[name] = value


def _long_enough(layer: Any) -> Callable[..., Any]:
    """A convolution, pooling or crop that refuses an input which is shorter than what it reads at once.

    TensorFlow 2.21 with oneDNN answers a convolution of such an input with memory that nobody wrote to
    (`tests/models/compat/test_tensorflow.py` fails when this is mended).
    """
    original, least = layer.call, _least_lengths(layer)

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        first = 2 if getattr(layer, "data_format", "channels_last") == "channels_first" else 1
        checks = []
        for axis, length in enumerate(least, first):
            short = f"the input is too short for the layer '{layer.name}', which reads {length} of axis {axis} at once"
            known = inputs.shape[axis]
            if known is not None and known < length:
                raise ValueError(f"{short}; received {known}")
            if known is None and length > 1:
                checks.append(tf.debugging.assert_greater_equal(tf.shape(inputs)[axis], length, message=short))
        with tf.control_dependencies(checks):
            return original(tf.identity(inputs) if checks else inputs, *args, **kwargs)

    return call


def _least_lengths(layer: Any) -> list[int]:
    """Of each spatial axis, the least length of an input that a layer makes something of."""
    if isinstance(layer, _CROPPINGS):
        pairs = layer.cropping if isinstance(layer.cropping[0], tuple | list) else (layer.cropping,)
        return [sum(pair) + 1 for pair in pairs]
    if layer.padding != "valid":
        return []
    sizes = layer.pool_size if hasattr(layer, "pool_size") else layer.kernel_size
    dilations = getattr(layer, "dilation_rate", 1)
    dilated = dilations if isinstance(dilations, tuple | list) else (dilations,) * len(sizes)
    return [(size - 1) * dilation + 1 for size, dilation in zip(sizes, dilated, strict=True)]


def _dispatcher(original: Callable[..., Any], calls: dict[int, Callable[..., Any]]) -> Callable[..., Any]:
    """The `call` of a class of Keras, which draws for some layers of subclasses while this thread traces."""
    thread = threading.get_ident()

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        own = calls.get(id(layer)) if threading.get_ident() == thread else None
        return original(layer, *args, **kwargs) if own is None else own(*args, **kwargs)

    return call


def _side_patches(layer: Any, patched_ids: set[int], drawing_each_turn: set[int]) -> dict[str, Any]:
    """What must change around the sites: augmentation never runs, and no fast path goes round a replaced draw."""
    if is_augmentation(layer) and id(layer) not in patched_ids:
        return {"call": _never_training(layer.call)}
    if isinstance(layer, _SHORTENING):
        return {"call": _long_enough(layer)}
    if isinstance(layer, keras.layers.TimeDistributed):
        return {"call": _fold_time(layer, always=_holds(layer, patched_ids))}
    if isinstance(layer, keras.layers.RNN) and _holds(layer, patched_ids):
        fused = {"use_cudnn": False} if getattr(layer, "use_cudnn", False) else {}  # it never calls the cell
        return fused | ({"call": _unroll(layer)} if _holds(layer, drawing_each_turn) else {})
    return {}


def _inside_of_trained(sites: Sequence[SiteLayer], made: Sequence[NoiseProvider]) -> list[Any]:
    """Layers inside of custom layers that are called as when they train: they themselves must not train."""
    known = {id(site.layer) for site in sites}
    trained = [site.layer for site, provider in zip(sites, made, strict=True) if site.own_noise and provider.draws]
    inside = {id(inner): inner for layer in trained for inner in flatten_layers(layer)}
    return [layer for key, layer in inside.items() if key not in known and takes_training(layer)]


def _holds(layer: Any, patched_ids: set[int]) -> bool:
    return any(id(inner) in patched_ids for inner in flatten_layers(layer))


def _never_training(call: Callable[..., Any]) -> Callable[..., Any]:
    def quiet(*args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        return call(*args, training=False, **kwargs)

    return quiet


def _unroll(layer: Any) -> Callable[..., Any]:
    """An RNN over a cell that draws anew in each step: a known number of steps is laid out one by one.

    In a loop of the graph all steps would share one draw. A length that is not known stays a loop, and is refused.
    """
    original = layer.call

    def call(sequences: Any, *args: Any, **kwargs: Any) -> Any:
        length = keras.tree.flatten(sequences)[0].shape[1]
        before = layer.__dict__["unroll"]
        layer.__dict__["unroll"] = before or (length is not None and length <= _MOST_STEPS)
        try:
            return original(sequences, *args, **kwargs)
        finally:
            layer.__dict__["unroll"] = before

    return call


def _fold_time(wrapper: Any, *, always: bool) -> Callable[..., Any]:
    """`TimeDistributed` by folding time into the rows: one call for all steps, each step with noise of its own.

    Keras 3.15.1 unrolls a known length. An unknown one it maps over, all steps sharing one draw, and over as many steps
    as there are rows: it takes the length after it has swapped the axes from before that
    (`tests/models/compat/test_keras.py` fails when this is mended).

    Args:
        wrapper: The layer.
        always: Whether to fold a known length too, because a site is inside.
    """
    original = wrapper.call

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not always and inputs.shape[1] is not None:
            return original(inputs, training=training, mask=mask)
        ops, layer = keras.ops, wrapper.layer
        rows, steps = ops.shape(inputs)[0], ops.shape(inputs)[1]
        folded = ops.reshape(inputs, _fold(inputs))
        kwargs = {"training": training} if takes_training(layer) else {}
        if mask is not None and takes_mask(layer):
            kwargs["mask"] = ops.reshape(mask, _fold(mask))
        out = layer.call(folded, **kwargs)
        return ops.reshape(out, (rows, steps, *ops.shape(out)[1:]))

    return call


def _fold(x: Any) -> tuple[Any, ...]:
    return (-1, *keras.ops.shape(x)[2:])
