"""Random functions of Keras and TensorFlow in custom layers: replaced, while a graph is traced, by the site's noise.

`keras.random.*`, `tf.random.*` and `tf.nn.dropout` end in a dozen random operations of a graph. While the call of such
a layer is traced, each operation is answered by the layer's `NoiseProvider` instead: from the counter of the passes, by
a placeholder where the trace only looks, by the mean where the site is off. So most layers that draw their own noise
need not be registered. What cannot be replaced stays in the graph, and is refused by name.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from thinned.models.compat.tensorflow import replaced_operations
from thinned.models.dropout.sites.noise_layers import NoiseProvider

__all__ = ["drawing", "replaced_random_functions"]

Tensor = Any
_Operation = Callable[[NoiseProvider, Sequence[Tensor], Any], Tensor | None]
_MOST_COUNTS = 64
_scopes = threading.local()


@contextmanager
def drawing(provider: NoiseProvider | None) -> Iterator[None]:
    """Answer the random functions that are called inside from `provider`; with None, leave them alone."""
    stack = _stack()
    stack.append(provider)
    try:
        yield
    finally:
        stack.pop()


def _stack() -> list[NoiseProvider | None]:
    if not hasattr(_scopes, "stack"):
        _scopes.stack = []
    stack: list[NoiseProvider | None] = _scopes.stack
    return stack


def _provider() -> NoiseProvider | None:
    stack = _stack()
    return stack[-1] if stack else None


@contextmanager
def replaced_random_functions() -> Iterator[None]:
    """Have random functions look for a provider, in this thread; others are not touched."""
    thread = threading.get_ident()
    changes: list[tuple[Any, str, Any]] = []

    def replace(place: Any, name: str, make: Callable[[Any], Any]) -> None:
        before = getattr(place, name)
        inside = make(before)

        def either(*args: Any, **kwargs: Any) -> Any:
            mine = threading.get_ident() == thread and _provider() is not None
            return inside(*args, **kwargs) if mine else before(*args, **kwargs)

        changes.append((place, name, before))
        setattr(place, name, either)

    try:
        replace(keras.random.SeedGenerator, "next", _constant_seed)
        replace(tf.nn, "dropout", _dropout)
        replace(tf.nn.experimental, "stateless_dropout", _stateless_dropout)
        with replaced_operations(_replacement):
            yield
    finally:
        for place, name, before in reversed(changes):
            setattr(place, name, before)


def _constant_seed(_before: Any) -> Any:
    """A seed generator that stands still: its seeds are not used, and no variable must change."""

    def advance(generator: Any, ordered: bool = True) -> Tensor:
        return tf.zeros([2], generator.state.dtype)

    return advance


def _dropout(before: Any) -> Any:
    def dropout(x: Tensor, rate: Any, noise_shape: Any = None, seed: Any = None, name: Any = None) -> Tensor:
        out = _dropped(x, rate, noise_shape)
        return before(x, rate, noise_shape=noise_shape, seed=seed, name=name) if out is None else out

    return dropout


def _stateless_dropout(before: Any) -> Any:
    def stateless_dropout(x: Tensor, rate: Any, seed: Any, rng_alg: Any = None, **kwargs: Any) -> Tensor:
        out = _dropped(x, rate, kwargs.get("noise_shape"))
        if out is not None:
            return out
        return before(x, rate, seed, **({} if rng_alg is None else {"rng_alg": rng_alg}), **kwargs)

    return stateless_dropout


def _dropped(x: Tensor, rate: Any, noise_shape: Any) -> Tensor | None:
    """Inverted dropout of a rate that is known; None for another, whose uniform numbers are replaced instead."""
    provider = _provider()
    try:
        known = float(rate if not tf.is_tensor(rate) else tf.get_static_value(rate))
    except (TypeError, ValueError):
        return None
    x = tf.convert_to_tensor(x)
    shape = _noise_shape(x, noise_shape)
    if provider is None or isinstance(shape, str):
        return None
    with drawing(None):
        draw = provider.draw(x, shape)
        return x if draw is None else draw.bernoulli(x, known, shape)


def _noise_shape(x: Tensor, noise_shape: Any) -> tuple[int | None, ...] | str | None:
    """A noise shape in Keras's notation; "unknown" where too little is known of it while tracing."""
    if noise_shape is None:
        return None
    if tf.is_tensor(noise_shape):
        lengths = tf.get_static_value(noise_shape, partial=True)
    else:
        lengths = [tf.get_static_value(n) if tf.is_tensor(n) else n for n in noise_shape]
    if lengths is None or len(lengths) != x.shape.rank:
        return "unknown"
    found: list[int | None] = []
    for given, length in zip(lengths, x.shape, strict=True):
        if given is not None and int(given) != 1 and length is not None and int(given) != length:
            return "unknown"
        found.append(1 if given is not None and int(given) == 1 and length != 1 else None)
    return tuple(found)


def _replacement(operation: str, inputs: Sequence[Tensor], attributes: Any) -> Tensor | None:
    provider = _provider()
    replace = _OPERATIONS.get(operation)
    if provider is None or replace is None:
        return None
    with drawing(None):
        return replace(provider, inputs, attributes)


def _dtype(attributes: Any, name: str = "dtype") -> tf.DType:
    return tf.as_dtype(attributes[name].type)


def _uniform(provider: NoiseProvider, inputs: Sequence[Tensor], attributes: Any) -> Tensor:
    return tf.cast(provider.fill("uniform", inputs[0]), _dtype(attributes))


def _normal(provider: NoiseProvider, inputs: Sequence[Tensor], attributes: Any) -> Tensor:
    return tf.cast(provider.fill("normal", inputs[0]), _dtype(attributes))


def _truncated_normal(provider: NoiseProvider, inputs: Sequence[Tensor], attributes: Any) -> Tensor:
    """Normal numbers within two standard deviations, by the inverse of their distribution function."""
    tail = 0.5 * math.erfc(math.sqrt(2.0))
    u = provider.fill("quantile", inputs[0])
    return tf.cast(tf.math.ndtri(tail + u * (1.0 - 2.0 * tail)), _dtype(attributes))


def _integers(provider: NoiseProvider, inputs: Sequence[Tensor], attributes: Any) -> Tensor:
    """Integers from a range, of which the last two inputs are the least and the one behind the largest."""
    least, beyond = (tf.cast(x, tf.float64) for x in inputs[-2:])
    u = tf.cast(provider.fill("uniform", inputs[0]), tf.float64)
    return tf.cast(tf.floor(least + u * (beyond - least)), inputs[-1].dtype)


def _binomial(provider: NoiseProvider, inputs: Sequence[Tensor], attributes: Any) -> Tensor | None:
    """Successes among a known, small number of trials, each by a uniform number of its own."""
    shape, _, counts, chances = inputs
    known = tf.get_static_value(counts)
    if known is None or known.size == 0 or known.max() > _MOST_COUNTS:
        return None
    total = tf.zeros([], tf.float32)
    for trial in range(int(known.max())):
        success = provider.fill("uniform", shape) < tf.cast(chances, tf.float32)
        total += tf.where(tf.cast(trial, tf.float32) < tf.cast(counts, tf.float32), tf.cast(success, tf.float32), 0.0)
    return tf.cast(total, _dtype(attributes))


def _categorical(provider: NoiseProvider, inputs: Sequence[Tensor], attributes: Any) -> Tensor:
    """A class for each row of logits and draw, by the largest of logits and Gumbel noise."""
    logits, count = inputs[0], inputs[1]
    shape = tf.shape(logits)
    u = provider.fill("uniform", tf.stack([shape[0], count, shape[1]]))
    noisy = tf.cast(logits, tf.float32)[:, tf.newaxis] - tf.math.log(-tf.math.log(u))
    return tf.argmax(noisy, axis=-1, output_type=_dtype(attributes, "output_dtype"))


def _generator_state(provider: NoiseProvider, inputs: Sequence[Tensor], attributes: Any) -> Tensor:
    """What a `tf.random.Generator` reads of its state before it draws: unused, and nothing is written."""
    return tf.zeros([3], tf.int64)


_OPERATIONS: dict[str, _Operation] = {
    "RandomUniform": _uniform,
    "StatelessRandomUniform": _uniform,
    "StatelessRandomUniformV2": _uniform,
    "RandomStandardNormal": _normal,
    "StatelessRandomNormal": _normal,
    "StatelessRandomNormalV2": _normal,
    "TruncatedNormal": _truncated_normal,
    "StatelessTruncatedNormal": _truncated_normal,
    "StatelessTruncatedNormalV2": _truncated_normal,
    "RandomUniformInt": _integers,
    "StatelessRandomUniformInt": _integers,
    "StatelessRandomUniformIntV2": _integers,
    "StatelessRandomBinomial": _binomial,
    "Multinomial": _categorical,
    "StatelessMultinomial": _categorical,
    "RngReadAndSkip": _generator_state,
}
