"""Counter-based random words: what is drawn depends on (seed, site, pass) and on nothing else.

Philox maps a key and a 128-bit counter to random
bits without any state. Here the key is the request's seed, the high half of the counter is the site, and the low half
runs through passes and units. So pass s is the same pass whether it is drawn alone, among 10 or among 1,000, in one
block or in several, today or when the answer is replayed.

References:
    Salmon et al. 2011, Parallel Random Numbers: As Easy as 1, 2, 3, https://doi.org/10.1145/2063384.2063405
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

__all__ = ["LANES", "LANE_VALUES", "RandomWords"]

Tensor = Any  # tf.Tensor; TensorFlow ships no types that mypy can follow
_PHILOX = 1
_WORDS_PER_COUNTER = 4  # Philox4x32 turns one counter into four 32-bit words
LANES = 2
"""16-bit lanes in a word."""
LANE_VALUES = 1 << 16


@dataclass(frozen=True)
class RandomWords:
    """Where the random words of a graph come from.

    A *run* is a number of consecutive draws of the same length: passes, or blocks of passes. With one request in the
    graph its words serve all rows. With several (`owners` given), each row has the words of the request that owns it.

    Args:
        seeds: int64 tensor (R,), each in [0, 2**53).
        owners: int32 tensor (B,), which request each row belongs to; None where there is one request.
    """

    seeds: Tensor
    owners: Tensor | None = None

    def draw(self, stream: int, *, first: Tensor, count: Tensor, length: Tensor) -> Tensor:
        """RandomWords of runs `first` to `first + count - 1` of a stream.

        Args:
            stream: Number of the stream, below 2**63.
            first: int64 tensor (R,).
            count: Scalar int32 tensor C.
            length: RandomWords in a run, L; rounded up so that each run starts at a counter of its own.

        Returns:
            uint32 tensor (C, 1, L') for one request, (C, B, L') for several, L' >= L.
        """
        whole = -(-length // _WORDS_PER_COUNTER) * _WORDS_PER_COUNTER
        counters = tf.cast(whole // _WORDS_PER_COUNTER, tf.uint64)
        low = tf.cast(first, tf.uint64) * counters
        shape = [count, whole]

        def one(key: Tensor, start: Tensor) -> Tensor:
            return tf.raw_ops.StatelessRandomUniformFullIntV2(
                shape=shape,
                key=tf.reshape(key, [1]),
                counter=tf.stack([start, tf.constant(stream, tf.uint64)]),
                alg=_PHILOX,
                dtype=tf.uint32,
            )

        keys = tf.cast(self.seeds, tf.uint64)
        if self.owners is None:
            drawn = tf.expand_dims(one(keys[0], low[0]), 1)
            drawn.set_shape([None, 1, whole if isinstance(whole, int) else None])
            return drawn
        # Signed numbers of the same bits: GPUs have no kernels for lists and lookups of unsigned ones.
        each = tf.map_fn(
            lambda item: tf.bitcast(one(tf.bitcast(item[0], tf.uint64), tf.bitcast(item[1], tf.uint64)), tf.int32),
            (self.seeds, tf.bitcast(low, tf.int64)),
            fn_output_signature=tf.int32,
        )
        return tf.bitcast(tf.transpose(tf.gather(each, self.owners), [1, 0, 2]), tf.uint32)

    @staticmethod
    def lanes(words: Tensor) -> Tensor:
        """The 16-bit halves of words: (C, B, L) uint32 to (C, B, 2 L) uint16."""
        halves = tf.bitcast(words, tf.uint16)
        _, rows, length = words.shape
        if length is None:
            length = tf.shape(words)[2]
        if rows is None:
            rows = tf.shape(words)[1]
        return tf.reshape(halves, [-1, rows, length * LANES])
