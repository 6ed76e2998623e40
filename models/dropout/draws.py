"""Counter-based noise: what is drawn depends on (seed, site, pass) and on nothing else.

Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") maps a key and a 128-bit counter to random
bits without any state. Here the key is the request's seed, the high half of the counter is the site, and the low half
runs through passes and units. So pass s is the same pass whether it is drawn alone, among 10 or among 1,000, in one
block or in several, today or when the answer is replayed.

Tensors in the suffix hold S passes of B rows as S * B rows, pass-major. A mask is drawn once for each pass and shared
by its rows: one pass is one thinned network, and all rows of a request see it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import tensorflow as tf

__all__ = ["Draw", "Passes"]

Tensor = Any  # tf.Tensor; TensorFlow ships no types that mypy can follow
_PHILOX = 1
_WORDS_PER_COUNTER = 4  # Philox4x32 turns one counter into four 32-bit words
_LANES = 2  # 16-bit lanes in a word: a mask needs no more, and half the words are half the time
_LANE_VALUES = 1 << 16


class Passes:
    """The passes that a graph under construction is to draw: their seed, which they are, and for how many rows.

    Args:
        seed: Scalar int64 tensor in [0, 2**53).
        first: Scalar int64 tensor, the index of the first pass of this block.
        count: Scalar int32 tensor S, the passes in this block.
        rows: Scalar int32 tensor B, the rows that each pass sees.
    """

    def __init__(self, *, seed: Tensor, first: Tensor, count: Tensor, rows: Tensor) -> None:
        self.key = tf.reshape(tf.cast(seed, tf.uint64), [1])
        self.first = first
        self.count = count
        self.rows = rows
        self.wide = False
        self.met: list[Tensor] = []
        """What came out of each call of a site, (S, B, T, ...): looked at only to prove that passes differ."""
        self._calls: Counter[int] = Counter()

    def draw(self, site: int) -> Draw:
        """The noise of one call of site number `site`. A layer applied twice draws twice, as Keras does."""
        call = self._calls[site]
        self._calls[site] += 1
        return Draw(self, stream=site << 20 | call, wide=self.wide)

    def widen(self, x: Tensor) -> Tensor:
        """Repeat (B * T, ...) for every pass: (S * B * T, ...), pass-major."""
        multiples = tf.concat([[self.count], tf.ones([len(x.shape) - 1], tf.int32)], axis=0)
        wide = tf.tile(x, multiples)
        wide.set_shape([None, *x.shape[1:]])
        return wide


class Draw:
    """One call of one site, for all passes of a block.

    The methods take the tensor `x` that the noise meets and give a tensor shaped like it, with as many rows as the
    suffix has. `noise_shape` follows Keras: one entry an axis of `x`, `None` for "as x", 1 for "shared along this
    axis". The axis of rows is always shared within a pass.
    """

    def __init__(self, passes: Passes, *, stream: int, wide: bool) -> None:
        self._passes = passes
        self._stream = stream
        self._wide = wide
        self._drawn = 0

    def keep(
        self, x: Tensor, rate: float, combine: Callable[[Tensor, Tensor], Tensor], noise_shape: Any = None
    ) -> Tensor:
        """Apply `combine(x, kept)`: booleans, independent for each unit, False with probability exactly `rate`."""
        return self._meet(x, noise_shape, lambda units: self._kept(units, rate), combine)

    def bernoulli(self, x: Tensor, rate: float, noise_shape: Any = None) -> Tensor:
        """Inverted dropout: units of `x` are zeroed with probability `rate`, survivors multiplied by 1 / (1 - rate)."""
        if rate >= 1:
            return tf.zeros_like(self.identity(x))
        scale = 1.0 / (1.0 - rate)
        return self.keep(
            x, rate, lambda a, kept: a * tf.where(kept, tf.cast(scale, a.dtype), tf.zeros([], a.dtype)), noise_shape
        )

    def normal(self, x: Tensor, combine: Callable[[Tensor, Tensor], Tensor], noise_shape: Any = None) -> Tensor:
        """Apply `combine(x, z)`, where z is standard normal, independent for each unit."""
        return self._meet(x, noise_shape, self._normals, lambda a, z: combine(a, tf.cast(z, a.dtype)))

    def uniform(self, x: Tensor, combine: Callable[[Tensor, Tensor], Tensor], noise_shape: Any = None) -> Tensor:
        """Apply `combine(x, u)`, where u is uniform on [0, 1), independent for each unit."""
        return self._meet(x, noise_shape, self._uniforms, lambda a, u: combine(a, tf.cast(u, a.dtype)))

    def identity(self, x: Tensor) -> Tensor:
        """`x` for every pass, without noise."""
        return x if self._wide else self._passes.widen(x)

    def _meet(
        self, x: Tensor, noise_shape: Any, draw: Callable[[Tensor], Tensor], combine: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Lay `x` out as (S or 1, B, T, ...), the noise as (S, 1, T or 1, ...), and combine them by broadcasting.

        T is 1 unless layers before folded another axis into the rows (windows, time steps): such positions belong to
        one row, and as in Keras each has its own noise. Multiplying the narrow (1, B, ...) by the noise saves a copy
        of x for every pass.
        """
        passes = self._passes
        shape = _dims(x)
        folded = tf.shape(x)[0] // (passes.rows * passes.count if self._wide else passes.rows)
        shared, noise_tail = _noise_tail(noise_shape, shape)
        noise_dims = [1 if shared else folded, *noise_tail]
        noise = tf.reshape(draw(_product(noise_dims)), [passes.count, 1, *noise_dims])
        laid = tf.reshape(x, [passes.count if self._wide else 1, passes.rows, folded, *shape[1:]])
        met = combine(laid, noise)
        passes.met.append(met)
        out = tf.reshape(met, [passes.count * passes.rows * folded, *shape[1:]])
        out.set_shape([None, *x.shape[1:]])
        return out

    def _counter(self, words: Tensor) -> Tensor:
        """Counter at which this block's words start, `words` (a multiple of 4) being those of one pass."""
        stream = self._stream | self._drawn << 44  # a site may draw more than once in a call
        self._drawn += 1
        low = tf.cast(self._passes.first, tf.uint64) * tf.cast(words // _WORDS_PER_COUNTER, tf.uint64)
        return tf.stack([low, tf.constant(stream, tf.uint64)])

    def _kept(self, units: Tensor, rate: float) -> Tensor:
        """(S, units) booleans from 16 random bits a unit.

        Where the rate falls between two 16-bit thresholds, each pass draws which of the two it uses: the rate is exact.
        """
        words = _whole_counters((units + _LANES - 1) // _LANES + 1)
        bits = tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=tf.stack([self._passes.count, words]),
            key=self._passes.key,
            counter=self._counter(words),
            alg=_PHILOX,
            dtype=tf.uint32,
        )
        lanes = tf.reshape(tf.bitcast(bits, tf.uint16), [self._passes.count, words * _LANES])[:, :units]
        threshold = math.floor(rate * _LANE_VALUES)
        remainder = math.floor((rate * _LANE_VALUES - threshold) * 2**32)
        if remainder == 0:
            return lanes >= tf.constant(threshold, tf.uint16)
        # Correlation that the shared threshold brings between two units: under 2**-34 / (rate * (1 - rate)).
        dither = tf.cast(bits[:, -1:] < tf.constant(remainder, tf.uint32), tf.int32)
        if threshold + 1 < _LANE_VALUES:
            return lanes >= tf.cast(threshold + dither, tf.uint16)
        return tf.cast(lanes, tf.int32) >= threshold + dither

    def _normals(self, units: Tensor) -> Tensor:
        words = _whole_counters(units)
        return tf.raw_ops.StatelessRandomNormalV2(
            shape=tf.stack([self._passes.count, words]),
            key=self._passes.key,
            counter=self._counter(words),
            alg=_PHILOX,
            dtype=tf.float32,
        )[:, :units]

    def _uniforms(self, units: Tensor) -> Tensor:
        words = _whole_counters(units)
        return tf.raw_ops.StatelessRandomUniformV2(
            shape=tf.stack([self._passes.count, words]),
            key=self._passes.key,
            counter=self._counter(words),
            alg=_PHILOX,
            dtype=tf.float32,
        )[:, :units]


def _whole_counters(words: Tensor) -> Tensor:
    """Round up, so that each pass starts at a counter of its own."""
    return -(-words // _WORDS_PER_COUNTER) * _WORDS_PER_COUNTER


def _dims(x: Tensor) -> list[Any]:
    """Axis lengths, as Python integers where they are known while tracing."""
    dynamic = tf.shape(x)
    return [dynamic[i] if n is None else n for i, n in enumerate(x.shape)]


def _product(dims: list[Any]) -> Any:
    known = math.prod(n for n in dims if isinstance(n, int))
    unknown = [n for n in dims if not isinstance(n, int)]
    return math.prod(unknown, start=known) if unknown else known


def _noise_tail(noise_shape: Any, shape: list[Any]) -> tuple[bool, list[Any]]:
    """Whether positions folded into the rows share their noise, and the noise's lengths along the other axes."""
    if noise_shape is None:
        return False, shape[1:]
    padded = [1] * (len(shape) - len(noise_shape)) + list(noise_shape)
    tail = [full if n is None else n for n, full in zip(padded[1:], shape[1:], strict=True)]
    return isinstance(padded[0], int) and padded[0] == 1, tail
