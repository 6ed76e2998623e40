"""Models that have no right answer as they are, and the words with which they are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

L, ops = keras.layers, keras.ops
DRAW = np.random.default_rng(0)


@keras.saving.register_keras_serializable("refusals")
class NumpyNoise(L.Layer):
    """Noise of NumPy inside of the graph."""

    def call(self, x: Any, training: Any = None) -> Any:
        if not training:
            return x
        noisy = tf.numpy_function(lambda v: v + DRAW.normal(size=v.shape).astype("float32"), [x], tf.float32)
        noisy.set_shape(x.shape)
        return noisy


@keras.saving.register_keras_serializable("refusals")
class FrozenNoise(L.Layer):
    """Noise of NumPy in Python code: a graph would hold it as a constant."""

    def call(self, x: Any, training: Any = None) -> Any:
        return x + DRAW.normal(size=(1, x.shape[-1])).astype("float32") if training else x


@keras.saving.register_keras_serializable("refusals")
class CentredRows(L.Layer):
    """Subtracts the mean of the batch."""

    def call(self, x: Any) -> Any:
        return x - ops.mean(x, axis=0, keepdims=True)


@keras.saving.register_keras_serializable("refusals")
class MovingStatistics(L.Layer):
    """Keeps a running mean even when the model only predicts."""

    def build(self, shape: Any) -> None:
        self.mean = self.add_weight(shape=(shape[-1],), trainable=False, name="running")

    def call(self, x: Any) -> Any:
        self.mean.assign(0.9 * self.mean + 0.1 * ops.mean(x, axis=0))
        return x - self.mean


def behind(layer: Any) -> Any:
    inputs = keras.Input((6,))
    return keras.Model(inputs, L.Dense(2)(L.Dropout(0.3)(layer(L.Dense(8, "relu")(inputs)))))


def batch_attention() -> Any:
    """Rows attend to each other."""
    inputs = keras.Input((6,))
    x = ops.expand_dims(L.Dense(8)(inputs), 0)
    x = ops.squeeze(L.MultiHeadAttention(2, 4, dropout=0.2)(x, x), 0)
    return keras.Model(inputs, L.Dense(1)(x))


def one_answer_for_all_rows() -> Any:
    inputs = keras.Input((6,))
    return keras.Model(inputs, ops.mean(L.Dense(2)(L.Dropout(0.3)(inputs)), axis=0, keepdims=True))


def sorted_rows() -> Any:
    inputs = keras.Input((6,))
    return keras.Model(inputs, L.Dense(1)(ops.sort(L.Dropout(0.3)(L.Dense(4)(inputs)), axis=0)))


def padded_sentences() -> Any:
    """Padded to the longest of a request, and averaged without a mask."""
    inputs = keras.Input((1,), dtype="string")
    x = L.Embedding(5, 4)(L.TextVectorization(vocabulary=["red", "green", "blue"])(inputs))
    return keras.Model(inputs, L.Dense(2)(L.Dropout(0.4)(L.GlobalAveragePooling1D()(x))))


def not_a_number() -> Any:
    model = behind(L.Dense(8))
    model.layers[-1].bias.assign([np.nan, 0.0])
    return model


def words_as_output() -> Any:
    inputs = keras.Input((4,))
    chances = L.Dense(3, "softmax")(L.Dropout(0.5)(inputs))
    return keras.Model(inputs, L.StringLookup(vocabulary=["a", "b", "c"], invert=True)(ops.argmax(chances, -1)))


def labels_as_output() -> Any:
    inputs = keras.Input((4,))
    return keras.Model(inputs, ops.argmax(L.Dense(3, "softmax")(L.Dropout(0.5)(inputs)), -1))


def rows_written_into_the_model() -> Any:
    inputs = keras.Input((4,), batch_size=5)
    x = ops.reshape(inputs, (5, 2, 2))
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.3)(L.Flatten()(x))))


def stateful_recurrence() -> Any:
    inputs = keras.Input((5, 3), batch_size=2)
    return keras.Model(inputs, L.Dense(1)(L.LSTM(4, stateful=True, dropout=0.2)(inputs)))


REFUSALS: dict[str, tuple[Callable[[], Any], str]] = {
    "python_code_in_the_file": (lambda: behind(L.Lambda(lambda x: x * 2.0)), "Lambda"),
    "numpy_in_the_graph": (lambda: behind(NumpyNoise()), "runs Python or NumPy code when training"),
    "numpy_in_python": (lambda: behind(FrozenNoise()), "Keras's own draws"),
    "centred_rows": (lambda: behind(CentredRows()), "depends on the other rows|rows of a batch depend"),
    "batch_attention": (batch_attention, "depends? on the other rows|rows of a batch depend"),
    "one_answer_for_all_rows": (one_answer_for_all_rows, "expected one answer a row|1 answers? for|one answer"),
    "sorted_rows": (sorted_rows, "depends? on the other rows|rows of a batch depend"),
    "padded_sentences": (padded_sentences, "depends on the other rows of its request"),
    "not_a_number": (not_a_number, "holds NaN"),
    "words_as_output": (words_as_output, "gives text"),
    "labels_as_output": (labels_as_output, "argmax|integers"),
    "rows_written_into_the_model": (rows_written_into_the_model, "only for batches of 5 rows|5 rows"),
    "moving_statistics": (lambda: behind(MovingStatistics()), "changes a variable|does not repeat"),
    "stateful_recurrence": (stateful_recurrence, "stateful|batches of 2|2 rows"),
}
"""Builders, and what the refusal must say."""
