"""The Keras networks that are timed, with random weights: speed does not depend on the values of the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["NETWORKS", "build", "pooled"]


def mlp() -> Any:
    """13-256-256-256-1, dropout 0.2 after each hidden layer."""
    import keras
    from keras import layers

    x = inputs = keras.Input((13,))
    for _ in range(3):
        x = layers.Dropout(0.2)(layers.Dense(256, "relu")(x))
    return keras.Model(inputs, layers.Dense(1)(x))


def cnn() -> Any:
    """28 x 28 images: two convolutions, dropout 0.25 before 128 dense units, 0.5 after them."""
    import keras
    from keras import layers

    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(64, 3, activation="relu")(layers.Conv2D(32, 3, activation="relu")(inputs))
    x = layers.Flatten()(layers.Dropout(0.25)(layers.MaxPooling2D()(x)))
    x = layers.Dropout(0.5)(layers.Dense(128, "relu")(x))
    return keras.Model(inputs, layers.Dense(10, "softmax")(x))


def mobilenet() -> Any:
    """MobileNetV2 0.35 at 96 x 96; its only dropout is before the head."""
    import keras
    from keras import layers

    base = keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, include_top=False, weights=None, pooling="avg")
    inputs = keras.Input((96, 96, 3))
    return keras.Model(inputs, layers.Dense(10, "softmax")(layers.Dropout(0.3)(base(inputs))))


def transformer() -> Any:
    """A 2-block encoder, sequences of 64, width 64, 4 heads; dropout 0.1 in attention and after each half-block."""
    import keras
    from keras import layers

    x = inputs = keras.Input((64, 64))
    for _ in range(2):
        h = layers.MultiHeadAttention(4, 16, dropout=0.1)(x, x)
        x = layers.LayerNormalization()(layers.Add()([x, layers.Dropout(0.1)(h)]))
        h = layers.Dense(64)(layers.Dense(256, "relu")(x))
        x = layers.LayerNormalization()(layers.Add()([x, layers.Dropout(0.1)(h)]))
    return keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))


def digits() -> Any:
    """The network of the example `digits`, which `make serve` serves; not trained."""
    from thinned.models.examples import digits as example

    return example.build()


def pooled(side: int) -> Any:
    """Images of `side` x `side` x 3, pooled to a sixteenth and looked at once: for what is done around the network."""
    import keras
    from keras import layers

    inputs = keras.Input((side, side, 3), name="image")
    x = layers.Flatten()(layers.AveragePooling2D(16)(layers.Rescaling(1 / 255)(inputs)))
    return keras.Model(inputs, layers.Dense(10, "softmax")(layers.Dropout(0.3)(x)))


NETWORKS: dict[str, Callable[[], Any]] = {
    function.__name__: function for function in (mlp, cnn, mobilenet, transformer, digits)
}


def build(name: str) -> Any:
    """Build a network by its name in `NETWORKS`, with the same weights in every process."""
    import keras

    keras.utils.set_random_seed(0)
    return NETWORKS[name]()
