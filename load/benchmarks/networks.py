"""The networks that speed is measured on. Their weights are random: a product takes as long with any numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

__all__ = ["NETWORKS", "build"]

L = keras.layers


def mlp() -> Any:
    """13-256-256-256-1, dropout 0.2 after each hidden layer."""
    x = inputs = keras.Input((13,))
    for _ in range(3):
        x = L.Dropout(0.2)(L.Dense(256, "relu")(x))
    return keras.Model(inputs, L.Dense(1)(x))


def cnn() -> Any:
    """28 x 28 images: two convolutions, dropout 0.25 before 128 dense units, 0.5 after them."""
    inputs = keras.Input((28, 28, 1))
    x = L.Conv2D(64, 3, activation="relu")(L.Conv2D(32, 3, activation="relu")(inputs))
    x = L.Flatten()(L.Dropout(0.25)(L.MaxPooling2D()(x)))
    return keras.Model(inputs, L.Dense(10, "softmax")(L.Dropout(0.5)(L.Dense(128, "relu")(x))))


def mobilenet() -> Any:
    """MobileNetV2 0.35 at 96 x 96, dropout before the head alone."""
    base = keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, include_top=False, weights=None, pooling="avg")
    inputs = keras.Input((96, 96, 3))
    return keras.Model(inputs, L.Dense(10, "softmax")(L.Dropout(0.3)(base(inputs))))


def transformer() -> Any:
    """A 2-block encoder, sequences of 64, width 64, 4 heads; dropout 0.1 in attention and after each half-block."""
    x = inputs = keras.Input((64, 64))
    for _ in range(2):
        h = L.MultiHeadAttention(4, 16, dropout=0.1)(x, x)
        x = L.LayerNormalization()(L.Add()([x, L.Dropout(0.1)(h)]))
        h = L.Dense(64)(L.Dense(256, "relu")(x))
        x = L.LayerNormalization()(L.Add()([x, L.Dropout(0.1)(h)]))
    return keras.Model(inputs, L.Dense(1)(L.GlobalAveragePooling1D()(x)))


def digits() -> Any:
    """The example model that `make serve` serves, untrained."""
    from thinned.models.examples import digits as example

    return example.build()


NETWORKS: dict[str, Callable[[], Any]] = {
    function.__name__: function for function in (mlp, cnn, mobilenet, transformer, digits)
}


def build(name: str) -> Any:
    """A network by name; the same weights every time."""
    keras.utils.set_random_seed(0)
    return NETWORKS[name]()
