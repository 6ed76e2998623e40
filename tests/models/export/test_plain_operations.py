"""Operations made of plainer ones give the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from thinned.models.compat.tensorflow import replaced_operations
from thinned.models.dropout.noise.philox import RandomWords
from thinned.models.export.plain_operations import plain_operation


def both(body: Callable[..., Any], *specs: tf.TensorSpec) -> tuple[Any, Any]:
    """A function as TensorFlow has it, and of plain operations."""
    own = tf.function(body, autograph=False).get_concrete_function(*specs)
    with replaced_operations(plain_operation):
        plain = tf.function(body, autograph=False).get_concrete_function(*specs)
    left = {op.type for op in plain.graph.get_operations()}
    assert not left & {"StatelessRandomUniformFullIntV2", "Bitcast", "Xlogy", "MulNoNan", "Erfc"}
    return own, plain


def test_words_are_those_of_the_engine_bit_for_bit() -> None:
    def words(numbers: Any, length: Any) -> list[Any]:
        drawn = RandomWords(numbers[:1]).draw(9 << 20 | 3 | 1 << 44, first=numbers[1:], count=5, length=length)
        return [drawn, RandomWords.lanes(drawn)]

    own, plain = both(words, tf.TensorSpec([2], tf.int64), tf.TensorSpec([], tf.int32))
    for seed, first, length in ((0, 0, 1), (5, 3, 13), (2**53 - 1, 2**40, 8), (2**32, 1, 4)):
        arguments = tf.constant([seed, first], tf.int64), tf.constant(length)
        for a, b in zip(own(*arguments), plain(*arguments), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("kind", "to"),
    [
        (tf.uint32, tf.uint16),
        (tf.uint32, tf.uint8),
        (tf.uint32, tf.int32),
        (tf.int32, tf.uint32),
        (tf.int64, tf.uint8),
        (tf.uint64, tf.int64),
    ],
)
def test_bits_are_the_same(kind: Any, to: Any) -> None:
    own, plain = both(lambda x: tf.bitcast(x, to), tf.TensorSpec([None], kind))
    limits = np.iinfo(kind.as_numpy_dtype)
    values = np.array([0, 1, 255, 65536, limits.max, limits.min, limits.max // 3], kind.as_numpy_dtype)
    np.testing.assert_array_equal(own(tf.constant(values)), plain(tf.constant(values)))


def test_zero_wins_over_what_is_not_finite() -> None:
    own, plain = both(
        lambda x, y: [tf.math.xlogy(x, x), tf.math.multiply_no_nan(y, x)],
        tf.TensorSpec([None], tf.float64),
        tf.TensorSpec([None], tf.float64),
    )
    given = tf.constant([0.0, 0.5, 1.0, 0.0], tf.float64), tf.constant([np.inf, 2.0, -3.0, np.nan], tf.float64)
    for a, b in zip(own(*given), plain(*given), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_complement_of_the_error_function() -> None:
    own, plain = both(tf.math.erfc, tf.TensorSpec([None], tf.float32))
    x = tf.linspace(-4.0, 4.0, 33)
    np.testing.assert_allclose(own(x), plain(x), rtol=0, atol=1e-6)


def test_what_is_known_elsewhere_stays() -> None:
    assert plain_operation("AddV2", [tf.constant(1), tf.constant(2)], None) is None
    x = tf.constant([1.0])
    assert plain_operation("Bitcast", [x], {"type": tf.compat.v1.AttrValue(type=tf.int32.as_datatype_enum)}) is None
