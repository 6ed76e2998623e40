"""Two small networks to audit, one sound and one not."""

from __future__ import annotations

from typing import Any

import keras

L = keras.layers


def sound() -> Any:
    inputs = keras.Input((6,), name="x")
    return keras.Model(inputs, L.Dense(1, name="y")(L.Dropout(0.5)(L.Dense(16, "relu")(inputs))))


def faulty() -> Any:
    inputs = keras.Input((6,), name="x")
    x = L.BatchNormalization()(L.Dropout(0.8)(L.Dense(16, "relu")(inputs)))
    return keras.Model(inputs, L.Dense(1, name="y")(x))
