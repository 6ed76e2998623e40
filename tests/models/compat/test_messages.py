"""What TensorFlow and Keras raise, as one sentence without their brackets."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from thinned.models.compat.messages import message_of


def raised(function: Any) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        function()
    return message_of(caught.value)


def test_an_error_inside_a_graph_is_its_own_sentence() -> None:
    inner = tf.function(lambda i: tf.gather(tf.zeros([4]), i))
    outer = tf.function(lambda i: inner(i) + 1.0)
    assert raised(lambda: outer(tf.constant([7]))) == "indices[0] = 7 is not in [0, 4)"


def test_an_assertion_is_its_message() -> None:
    @tf.function
    def check(x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_greater(x, 3, message="the layer 'a' wants more than 3")]):
            return tf.identity(x)

    assert raised(lambda: check(tf.constant(1))) == "the layer 'a' wants more than 3"


def test_an_error_in_a_layer_names_the_layer() -> None:
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    model = keras.Sequential([keras.Input((3,)), layer])
    text = raised(lambda: model(np.ones((2, 4), "float32")))
    assert "\n" not in text
    assert len(text) <= 500
