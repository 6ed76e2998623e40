"""Values without rows, and rows that are not on the first axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

L, ops = keras.layers, keras.ops


@keras.saving.register_keras_serializable("layouts")
class Table(L.Layer):
    """A value that does not depend on the rows: positions, a class token, a temperature."""

    def __init__(self, rank: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rank = rank

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=(1, *shape[1:])[len(shape) - self.rank :], initializer="uniform")
        self.built = True

    def compute_output_shape(self, shape: Any) -> Any:
        return (1, *shape[1:])[len(shape) - self.rank :]

    def call(self, x: Any) -> Any:
        return self.table + 0.0


@keras.saving.register_keras_serializable("layouts")
class DropConnect(L.Layer):
    """Drops weights, not units (Wan et al. 2013)."""

    def __init__(self, units: int, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.drop = L.Dropout(rate)

    def build(self, shape: Any) -> None:
        self.w = self.add_weight(shape=(shape[-1], self.units), initializer="ones", name="w")

    def call(self, x: Any, training: bool | None = None) -> Any:
        return ops.matmul(x, self.drop(self.w, training=training))


def _table(rank: int) -> Any:
    inputs = keras.Input((6, 4))
    x = L.Dropout(0.2)(inputs) + Table(rank)(inputs)
    return keras.Model(inputs, L.Dense(1)(L.GlobalAveragePooling1D()(x)))


def positions() -> Any:
    return _table(3)


def positions_without_an_axis() -> Any:
    return _table(2)


def bias_of_channels() -> Any:
    return _table(1)


def temperature() -> Any:
    inputs = keras.Input((6, 4))
    scale = Table(1)(ops.sum(inputs, axis=(1, 2)))
    return keras.Model(inputs, L.Dense(1)(L.Flatten()(L.Dropout(0.4)(inputs) * scale)))


def time_major() -> Any:
    inputs = keras.Input((6, 2))
    x = ops.transpose(L.Dropout(0.5)(ops.transpose(inputs, (1, 0, 2))), (1, 0, 2))
    return keras.Model(inputs, L.Dense(1)(L.Flatten()(x)))


def time_major_twice() -> Any:
    """The second dropout meets passes already; and a narrow time-major value is added to a wide one."""
    inputs = keras.Input((5, 3))
    plain = ops.transpose(L.Dense(3)(inputs), (1, 0, 2))
    x = L.Dropout(0.3)(ops.transpose(L.Dropout(0.2)(inputs), (1, 0, 2)))
    x = L.Dropout(0.4)(L.Dense(3, "relu")(x + plain))
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(ops.transpose(x, (1, 0, 2)))))


def channels_of_time_major() -> Any:
    inputs = keras.Input((5, 3))
    x = L.Dropout(0.5, noise_shape=(None, 1, 3))(ops.transpose(inputs, (1, 0, 2)))
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(ops.transpose(x, (1, 0, 2)))))


def folded_time_major() -> Any:
    """(B, T, D) to (T * B, D): the rows run inside of the folded axis."""
    inputs = keras.Input((5, 3))
    x = ops.reshape(ops.transpose(inputs, (1, 0, 2)), (-1, 3))
    x = L.Dense(4, "relu")(L.Dropout(0.5)(x))
    x = ops.transpose(ops.reshape(L.Dropout(0.2)(x), (5, -1, 4)), (1, 0, 2))
    return keras.Model(inputs, L.Dense(1)(L.Flatten()(x)))


def rows_last() -> Any:
    inputs = keras.Input((4,))
    return keras.Model(inputs, L.Dense(1)(ops.transpose(L.Dropout(0.5)(ops.transpose(inputs)))))


def any_length_time_major() -> Any:
    inputs = keras.Input((None, 2))
    x = ops.transpose(L.Dropout(0.5)(ops.transpose(inputs, (1, 0, 2))), (1, 0, 2))
    return keras.Model(inputs, L.Dense(1)(L.GlobalAveragePooling1D()(x)))


def drop_connect() -> Any:
    inputs = keras.Input((4,))
    return keras.Model(inputs, DropConnect(3, 0.5)(inputs))


def drop_connect_and_dropout() -> Any:
    inputs = keras.Input((4,))
    x = L.Dropout(0.3)(L.Dense(6, "relu")(inputs))
    return keras.Model(inputs, L.Dense(2)(DropConnect(5, 0.2)(DropConnect(5, 0.4)(x))))


LAYOUTS: dict[str, Callable[[], Any]] = {
    function.__name__: function
    for function in (
        positions,
        positions_without_an_axis,
        bias_of_channels,
        temperature,
        time_major,
        time_major_twice,
        channels_of_time_major,
        folded_time_major,
        rows_last,
        any_length_time_major,
        drop_connect,
        drop_connect_and_dropout,
    )
}
