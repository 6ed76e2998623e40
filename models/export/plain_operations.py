"""The random words of passes, and a few other operations, made of operations that other formats than TensorFlow's know.

Philox is integers multiplied, added and xored (Salmon et al. 2011): written so, a file in another format draws the same
words as the engine, bit for bit, and needs no random operation of its runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

__all__ = ["plain_operation"]

Tensor = Any
_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_HALF, _WORD = 1 << 16, 1 << 32


def plain_operation(kind: str, inputs: Sequence[Tensor], attributes: Any) -> Tensor | None:
    """What stands for an operation that is about to be added to a graph; None where it may stay.

    Args:
        kind: Its type.
        inputs: Its inputs.
        attributes: Its attributes, as TensorFlow keeps them.
    """
    if kind == "StatelessRandomUniformFullIntV2":
        shape, key, counter, _ = inputs
        return tf.cast(tf.reshape(_words(tf.cast(shape, tf.int64), key, counter), shape), tf.uint32)
    if kind == "Bitcast":
        return _bitcast(inputs[0], tf.dtypes.as_dtype(attributes["type"].type))
    if kind == "Xlogy":
        x, y = inputs
        none = tf.equal(x, tf.zeros([], x.dtype))
        return tf.where(none, tf.zeros([], x.dtype), x * tf.math.log(tf.where(none, tf.ones([], y.dtype), y)))
    if kind == "MulNoNan":
        x, y = inputs
        return tf.where(tf.equal(y, tf.zeros([], y.dtype)), tf.zeros([], x.dtype), x * y)
    if kind == "Erfc":
        return 1.0 - tf.math.erf(inputs[0])
    return None


def _words(shape: Tensor, key: Tensor, counter: Tensor) -> Tensor:
    """Philox4x32-10: words of consecutive counters, int64 in [0, 2**32), (G, 4)."""
    groups = tf.reduce_prod(shape) // 4
    keys, counters = tf.cast(key, tf.int64), tf.cast(counter, tf.int64)
    low = counters[0] + tf.range(groups)
    high = tf.fill([groups], counters[1])
    x = [low % _WORD, low // _WORD, high % _WORD, high // _WORD]
    k = [keys[0] % _WORD, keys[0] // _WORD]
    for _ in range(_ROUNDS):
        high_0, low_0 = _product(x[0], _MULTIPLIERS[0])
        high_1, low_1 = _product(x[2], _MULTIPLIERS[1])
        x = [_xor(_xor(high_1, x[1]), k[0]), low_1, _xor(_xor(high_0, x[3]), k[1]), low_0]
        k = [(one + step) % _WORD for one, step in zip(k, _WEYL, strict=True)]
    return tf.stack(x, axis=1)


def _product(x: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """The upper and the lower word of a product of words, by halves of the factor: nothing reaches 2**63."""
    low = x * (factor % _HALF)
    middle = x * (factor // _HALF) + low // _HALF
    return middle // _HALF, middle % _HALF * _HALF + low % _HALF


def _xor(a: Tensor, b: Tensor) -> Tensor:
    return tf.bitwise.bitwise_xor(a, b)


def _bitcast(x: Tensor, dtype: Any) -> Tensor | None:
    """The same bits as numbers of another integer type, the lowest first where they are shorter."""
    if not (x.dtype.is_integer and dtype.is_integer and dtype.size <= x.dtype.size):
        return None
    bits = 8 * x.dtype.size
    wide = tf.cast(x, tf.int64)
    if bits < 64:
        wide %= 1 << bits
    if dtype.size == x.dtype.size:
        half = 1 << (bits - 1)
        return tf.cast(wide if dtype.is_unsigned or bits == 64 else (wide + half) % (1 << bits) - half, dtype)
    width = 1 << (8 * dtype.size)
    parts = []
    for _ in range(x.dtype.size // dtype.size):
        parts.append(tf.cast(wide % width, dtype))
        wide //= width
    return tf.stack(parts, axis=-1)
