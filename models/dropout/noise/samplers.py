"""Two ways to draw the noise of many passes: each pass on its own, or stratified within blocks of 32 passes.

Either way a single pass is an exact draw: units are independent of each other, dropped with exactly their rate. They
differ in how passes relate. *Independent* passes do not. In *stratified* ones each unit is dropped in exactly
floor(32 r) or ceil(32 r) of the 32 passes of a block, at positions drawn for that unit alone, and a normal variate of
a unit comes once from each of 32 equally likely slices. Averages over passes stay unbiased, and have a smaller error:
this is Latin hypercube sampling over the passes of a block.

References:
    McKay, Beckman & Conover 1979, A Comparison of Three Methods for Selecting Values of Input Variables,
    https://doi.org/10.2307/1268522
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from thinned.models.dropout.noise.philox import LANE_VALUES, LANES, RandomWords
from thinned.models.sampling import BLOCK, Sampling

__all__ = ["Independent", "Sampler", "Stratified", "make_sampler"]

Tensor = Any
_FEW_UNITS = 4096
_ORBITS = LANE_VALUES // BLOCK


class Sampler(ABC):
    """Draws for passes first to first + count - 1.

    Every method gives (S, 1, units), or (S, B, units) where rows belong to several requests. A `stream` is drawn once.

    Args:
        words: Where random words come from.
        first: int64 tensor (R,), the first pass of each request.
        count: Scalar int32 tensor S.
    """

    def __init__(self, words: RandomWords, first: Tensor, count: Tensor) -> None:
        self._words = words
        self._first = first
        self._count = count

    def dropped(self, stream: int, rates: npt.NDArray[np.float64], wanted: int | None = None) -> Tensor:
        """Booleans for a known number of units, unit u True with probability exactly `rates[u]`.

        Of these only the first `wanted` are looked up; they are the same however many are wanted.
        """
        return self._dropped(stream, rates, len(rates), wanted)

    def dropped_alike(self, stream: int, rate: float, units: Tensor) -> Tensor:
        """Booleans for any number of units of the same rate."""
        return self._dropped(stream, np.array([rate]), units, None)

    @abstractmethod
    def _dropped(self, stream: int, rates: npt.NDArray[np.float64], units: Tensor, wanted: int | None) -> Tensor: ...

    @abstractmethod
    def uniforms(self, stream: int, units: Tensor) -> Tensor:
        """Float32 on (0, 1)."""

    def normals(self, stream: int, units: Tensor) -> Tensor:
        """Standard normal float32, by the inverse of the distribution function, which keeps the strata of uniforms."""
        return tf.math.ndtri(self.uniforms(stream, units))


def make_sampler(sampling: Sampling, words: RandomWords, first: Tensor, count: Tensor) -> Sampler:
    """The source for a way of sampling."""
    return (Stratified if sampling == "stratified" else Independent)(words, first, count)


class Independent(Sampler):
    """Passes that are independent of each other."""

    def _dropped(self, stream: int, rates: npt.NDArray[np.float64], units: Tensor, wanted: int | None) -> Tensor:
        # 16 bits a unit, and one word a pass to settle rates that fall between two 16-bit thresholds.
        words = self._draw(stream, (units + LANES - 1) // LANES + 1)
        few = units if wanted is None else wanted
        return _below(self._words.lanes(words)[..., :few], rates if wanted is None else rates[:wanted], words[..., -1:])

    def uniforms(self, stream: int, units: Tensor) -> Tensor:
        """Independent for each unit and pass."""
        return _unit_interval(self._draw(stream, units)[..., :units])

    def _draw(self, stream: int, length: Tensor) -> Tensor:
        return self._words.draw(stream, first=self._first, count=self._count, length=length)


class Stratified(Sampler):
    """Passes in blocks of 32. Several requests must each start at the first pass of a block."""

    def __init__(self, words: RandomWords, first: Tensor, count: Tensor) -> None:
        super().__init__(words, first, count)
        self._block = first // BLOCK
        self._skip = tf.cast(first[0] - self._block[0] * BLOCK, tf.int32)
        self._blocks = (self._skip + count + (BLOCK - 1)) // BLOCK

    def _dropped(self, stream: int, rates: npt.NDArray[np.float64], units: Tensor, wanted: int | None) -> Tensor:
        # One 16-bit lane a unit and block picks a word of a table, 32 passes at once, with as many bits as are dropped.
        mean = rates * BLOCK
        least = np.floor(mean).astype(np.int64)
        part = mean - least
        counts = sorted({int(k) for k in least} | {int(k) + 1 for k in least[part > 0]})
        place = {k: i * LANE_VALUES for i, k in enumerate(counts)}
        base = np.array([place[int(k)] for k in least], np.int32)
        lanes_wanted = units * (2 if part.any() else 1)
        words = self._draw(stream, (lanes_wanted + LANES - 1) // LANES + 1)
        lanes = self._words.lanes(words)
        few = units if wanted is None else wanted
        if wanted is not None:
            base, part = base[:wanted], part[:wanted]
        index = tf.cast(lanes[..., :few], tf.int32) + tf.constant(base)
        if part.any():
            # The least number of passes or one more, so that the mean is 32 r; the next table holds one bit more.
            more = _below(lanes[..., units : units + few], part, words[..., -1:])
            index += tf.cast(more, tf.int32) * LANE_VALUES
        # gather_nd takes two thirds of the time of gather where single numbers are looked up. GPUs look up signed ones.
        found = tf.gather_nd(_table(tuple(counts)), index[..., tf.newaxis])
        return self._unpack(tf.bitcast(found, tf.uint32))

    def _unpack(self, words: Tensor) -> Tensor:
        """(G, B, units) words, a bit a pass, to (S, B, units) booleans."""
        tail = [tf.shape(words)[axis] if n is None else n for axis, n in enumerate(words.shape) if axis]
        few = words.shape[-1] is not None and words.shape[-1] <= _FEW_UNITS
        octets = tf.reshape(_octets(words, few), [-1, *tail])[: (self._skip + self._count + 7) // 8]
        return self._of_passes(tf.cast(_bits(octets, few), tf.bool), tail)

    def uniforms(self, stream: int, units: Tensor) -> Tensor:
        """One from each 32nd part of (0, 1) in the passes of a block."""
        # One lane picks the order in which 32 passes visit the slices, one word the place within all of them.
        words = self._draw(stream, units + (units + LANES - 1) // LANES)
        place = _unit_interval(words[..., :units])
        lanes = self._words.lanes(words[..., units:])[..., :units]
        found = tf.bitcast(tf.gather(_orders(), tf.cast(lanes, tf.int32)), tf.uint8)
        slices = tf.transpose(tf.reshape(found, tf.concat([tf.shape(lanes), [BLOCK]], axis=0)), [0, 3, 1, 2])
        spread = (tf.cast(slices, tf.float32) + place[:, tf.newaxis]) / BLOCK
        return self._of_passes(spread, [tf.shape(place)[1], tf.shape(place)[2]])

    def _of_passes(self, blocks: Tensor, tail: list[Any]) -> Tensor:
        passes = tf.reshape(blocks, [-1, *tail])
        return passes[self._skip : self._skip + self._count]

    def _draw(self, stream: int, length: Tensor) -> Tensor:
        return self._words.draw(stream, first=self._block, count=self._blocks, length=length)


def _below(lanes: Tensor, rates: npt.NDArray[np.float64], tie: Tensor) -> Tensor:
    """Lanes below their rate: True with probability exactly the rate.

    A rate that falls between two 16-bit thresholds takes the upper one as often as it must; one word a run decides for
    all its units. The correlation which that brings between two units is under 2**-34 / (rate * (1 - rate)).
    """
    threshold = np.floor(rates * LANE_VALUES)
    remainder = np.floor((rates * LANE_VALUES - threshold) * 2.0**32).astype(np.uint32)
    if not remainder.any():
        return lanes < tf.constant(threshold.astype(np.uint16))
    upper = tf.cast(tie < tf.constant(remainder), tf.int32) + tf.constant(threshold.astype(np.int32))
    if threshold.max() + 1 < LANE_VALUES:
        return lanes < tf.cast(upper, tf.uint16)
    return tf.cast(lanes, tf.int32) < upper


def _unit_interval(words: Tensor) -> Tensor:
    """The middles of 2**23 equal parts of (0, 1): all exact in float32, and none of them 0 or 1."""
    high = tf.bitwise.right_shift(words, tf.constant(9, tf.uint32))
    return (tf.cast(tf.cast(high, tf.int32), tf.float32) + 0.5) * 2.0**-23


# For few units, many operations on single numbers beat one that broadcasts or transposes: TensorFlow gives those to
# a second thread, which takes longer to wake than the work takes.


def _octets(words: Tensor, few: bool) -> Tensor:
    """(G, B, units) words to (G, 4, B, units) bytes, the lowest first."""
    if not few:
        return tf.transpose(tf.bitcast(words, tf.uint8), [0, 3, 1, 2])
    shifts = (tf.constant(8 * i, tf.uint32) for i in range(BLOCK // 8))
    laid = tf.expand_dims(words, 1)  # GPUs have no kernel that stacks bytes, and one that joins them
    return tf.concat([tf.cast(tf.bitwise.right_shift(laid, shift), tf.uint8) for shift in shifts], axis=1)


def _bits(octets: Tensor, few: bool) -> Tensor:
    """(P, B, units) bytes to (P, 8, B, units) bytes that are 0 where the bit is."""
    masks = (1 << np.arange(8)).astype(np.uint8)
    laid = tf.expand_dims(octets, 1)
    if not few:
        return tf.bitwise.bitwise_and(laid, tf.constant(masks.reshape(1, 8, 1, 1)))
    return tf.concat([tf.bitwise.bitwise_and(laid, tf.constant(mask)) for mask in masks], axis=1)


@lru_cache(maxsize=64)
def _table(counts: tuple[int, ...]) -> Tensor:
    """The words for each number of bits in turn, the bits of uint32 in int32 (len(counts) * 65536,).

    All graphs share one: in memory, and in a file that holds several.
    """
    with tf.init_scope():
        return tf.constant(np.concatenate([_words_with(k) for k in counts]).view(np.int32))


@lru_cache(maxsize=BLOCK + 1)
def _words_with(k: int) -> npt.NDArray[np.uint32]:
    """65,536 words of 32 bits with exactly k set: 2,048 drawn once and for all, each in its 32 rotations.

    All rotations being there makes every pass of a block exactly as likely as any other to be dropped.
    """
    order = np.random.default_rng(k).permuted(np.tile(np.arange(BLOCK), (_ORBITS, 1)), axis=1)
    bits = (order < k).astype(np.uint8)
    turned = np.concatenate([np.roll(bits, shift, axis=1) for shift in range(BLOCK)])
    return np.packbits(turned, axis=1, bitorder="little").view(np.uint32).ravel()


@lru_cache(maxsize=1)
def _orders_array() -> npt.NDArray[np.uint8]:
    order = np.random.default_rng(BLOCK + 1).permuted(np.tile(np.arange(BLOCK), (_ORBITS, 1)), axis=1)
    return np.concatenate([np.roll(order, shift, axis=1) for shift in range(BLOCK)]).astype(np.uint8)


@lru_cache(maxsize=1)
def _orders() -> Tensor:
    """65,536 orders of 32 slices, all rotations of each among them: int64 (65536, 4), each of its bytes a slice."""
    with tf.init_scope():
        return tf.constant(_orders_array().view(np.int64))
