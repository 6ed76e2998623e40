"""Models that answer only rows of a kind: logarithms, tables, long rows, masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

L, ops = keras.layers, keras.ops


def log_of_a_feature() -> Any:
    inputs = keras.Input((4,))
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.3)(L.Dense(8, "tanh")(ops.log(inputs)))))


def root_of_one_less() -> Any:
    inputs = keras.Input((3,))
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.3)(L.Dense(8)(ops.sqrt(inputs - 1.0)))))


def logit_of_a_share() -> Any:
    inputs = keras.Input((3,))
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.3)(L.Dense(8)(ops.log(inputs / (1.0 - inputs))))))


def table_of_years() -> Any:
    inputs = keras.Input((1,), dtype="int32")
    x = L.Flatten()(L.Embedding(40, 4)(inputs - 1990))
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.3)(x)))


def table_for_floats() -> Any:
    """`keras.Input((6,))` before an embedding: the ids come as floating-point numbers."""
    inputs = keras.Input((6,))
    x = L.GlobalAveragePooling1D()(L.Embedding(9, 4)(inputs))
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.3)(x)))


def two_tables() -> Any:
    year, month = keras.Input((1,), dtype="int32", name="year"), keras.Input((1,), dtype="int32", name="month")
    x = L.Concatenate()([L.Flatten()(L.Embedding(30, 4)(year - 2000)), L.Flatten()(L.Embedding(12, 4)(month - 1))])
    return keras.Model([year, month], L.Dense(1)(L.Dropout(0.3)(x)))


def poolings() -> Any:
    x = inputs = keras.Input((40, None, 1))
    for _ in range(6):
        x = L.MaxPooling2D((1, 2))(L.Conv2D(2, 3, padding="same")(x))
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.3)(L.GlobalAveragePooling2D()(x))))


def long_crop() -> Any:
    inputs = keras.Input((None, 1))
    x = L.GlobalAveragePooling1D()(L.Cropping1D(5000)(inputs))
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.3)(L.Dense(8)(x))))


@keras.saving.register_keras_serializable("inputs")
class Positions(L.Layer):
    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=(20, shape[-1]), name="table")

    def call(self, x: Any) -> Any:
        return x + self.table[: ops.shape(x)[1]]


def short_positions() -> Any:
    inputs = keras.Input((None, 4))
    return keras.Model(inputs, L.Dense(1)(L.GlobalAveragePooling1D()(L.Dropout(0.2)(Positions()(inputs)))))


def true_and_false() -> Any:
    inputs, mask = keras.Input((5, 8)), keras.Input((5, 5), dtype="bool")
    return keras.Model(
        [inputs, mask], L.Dense(1)(L.MultiHeadAttention(2, 4, dropout=0.2)(inputs, inputs, attention_mask=mask))
    )


DEMANDING: dict[str, Callable[[], Any]] = {
    function.__name__: function
    for function in (
        log_of_a_feature,
        root_of_one_less,
        logit_of_a_share,
        table_of_years,
        table_for_floats,
        two_tables,
        poolings,
        long_crop,
        short_positions,
        true_and_false,
    )
}
