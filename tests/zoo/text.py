"""Models whose inputs are words, categories and sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

L = keras.layers
RGB = ["red", "green", "blue"]


def over(layers: list[Any], *, shape: tuple[int | None, ...] = (1,), dtype: str = "string") -> Any:
    """A model that begins with these layers."""
    x = inputs = keras.Input(shape, dtype=dtype, name="word")
    for layer in layers:
        x = layer(x)
    x = L.Dense(8, "relu")(L.Flatten()(x))
    return keras.Model(inputs, L.Dense(2)(L.Dropout(0.4)(x)))


def nested() -> Any:
    inputs = keras.Input((1,), dtype="string")
    inner = keras.Model(inputs, L.StringLookup(vocabulary=RGB, mask_token="none")(inputs))
    return over([L.Reshape((1,)), inner, L.Embedding(5, 3)])


def read_twice(*tokens: str | None) -> Any:
    inputs = keras.Input((1,), dtype="string", name="word")
    looked_up = [L.StringLookup(vocabulary=RGB, mask_token=token, output_mode="one_hot")(inputs) for token in tokens]
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.4)(L.Dense(4)(L.Concatenate()(looked_up)))))


MISSING: dict[str, tuple[Callable[[], Any], str | int | None]] = {
    "a mask token": (lambda: over([L.StringLookup(vocabulary=RGB, mask_token="[M]"), L.Embedding(5, 3)]), "[M]"),
    "none": (lambda: over([L.StringLookup(vocabulary=RGB), L.Embedding(5, 3)]), None),
    "several hot": (
        lambda: over(
            [L.StringLookup(vocabulary=RGB, mask_token="-", num_oov_indices=0, output_mode="multi_hot")], shape=(3,)
        ),
        "-",
    ),
    "sentences": (lambda: over([L.TextVectorization(vocabulary=RGB, output_mode="multi_hot")], shape=()), ""),
    "an integer": (
        lambda: over([L.IntegerLookup(vocabulary=[1, 7], mask_token=-1), L.Embedding(5, 3)], dtype="int64"),
        -1,
    ),
    "hashes": (lambda: over([L.Hashing(8, mask_value=""), L.Embedding(8, 3)]), ""),
    "hashes without": (lambda: over([L.Hashing(8), L.Embedding(8, 3)]), None),
    "in a nested model": (nested, "none"),
    "two that agree": (lambda: read_twice("-", "-"), "-"),
    "two that do not": (lambda: read_twice("-", "+"), None),
    "one of two": (lambda: read_twice("-", None), None),
}


@keras.saving.register_keras_serializable("text")
class Unseen(keras.Model):
    """Its graph is not known, so that text is repeated for every pass."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table, self.vectors = L.StringLookup(vocabulary=RGB), L.Embedding(4, 6)
        self.drop, self.last = L.Dropout(0.4), L.Dense(2)

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.last(self.drop(self.vectors(self.table(x))[:, 0], training=training))


def padded_to_the_longest(*layers: Any, mask: bool = True) -> Any:
    inputs = keras.Input((1,), dtype="string", name="word")
    x = L.Embedding(5, 4, mask_zero=mask)(L.TextVectorization(vocabulary=RGB)(inputs))
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, L.Dense(2, name="y")(x))
