"""What runs once and what runs in every pass."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.zoo import build
from thinned.models.dropout import enable_mc_dropout, register_noise
from thinned.models.sampling import BLOCK

L = keras.layers


class Counting(L.Layer):
    """Notes how many rows run through it, each time that the graph runs."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.__dict__["_notes"] = []  # past Keras's tracking, which would wrap the list

    def call(self, x: Any) -> Any:
        def note(values: np.ndarray) -> np.ndarray:
            self._notes.append(len(values))
            return values

        out = tf.numpy_function(note, [x], x.dtype)
        out.set_shape(x.shape)
        return out

    def taken(self) -> list[int]:
        """The rows of each run since the last call."""
        taken = list(self._notes)
        self._notes.clear()
        return taken


register_noise(Counting, armed=None)  # Python code, in which otherwise noise might hide


def test_the_prefix_runs_once_whatever_n_is() -> None:
    before, inside, after = Counting(), Counting(), Counting()
    inner_in = keras.Input((4,))
    inner = keras.Model(inner_in, L.Dropout(0.5)(inside(L.Dense(4)(inner_in))))
    inputs = keras.Input((4,))
    stochastic = enable_mc_dropout(keras.Model(inputs, after(inner(before(inputs)))))
    x = {stochastic.inputs[0].name: np.ones((3, 4), "float32")}
    for layer in (before, inside, after):
        layer.taken()  # forget what was run to find the sites
    for n in (2, 10, 50):
        stochastic.sample(x, n_samples=n, seed=0)
        assert before.taken() == [3]
        assert inside.taken() == [3]  # the part of a nested model that lies before its site
        assert after.taken() == [3 * n]
        stochastic.sample(x, n_samples=n, seed=0, row_passes=3 * BLOCK)  # 50 passes take two calls
        assert before.taken() == [3]
        assert inside.taken() == [3]
        assert sum(after.taken()) == 3 * n


@pytest.mark.parametrize(
    ("family", "frontier", "prefix"),
    [
        ("skip", {"a", "b", "input"}, {"a", "b"}),
        ("nested", {"inner/inner_first"}, {"stem", "inner/inner_first"}),
        ("drop_path", None, {"conv2d", "conv2d_1"}),
        ("lstm", None, set()),
        ("subclassed", {"input"}, set()),
    ],
)
def test_the_split_is_described(family: str, frontier: set[str] | None, prefix: set[str]) -> None:
    keras.backend.clear_session()
    split = enable_mc_dropout(build(family)).split
    named = {"input" if name.startswith(("input_layer", "keras_tensor")) else name for name in split.frontier}
    assert frontier is None or named == frontier
    assert set(split.prefix_layers) - {"inner"} == prefix
    shared = {"inner/inner_first"} if family == "nested" else set()  # a block used twice stands on both sides
    assert set(split.prefix_layers) & set(split.suffix_layers) == shared


def test_the_share_of_the_prefix_is_counted_in_operations() -> None:
    inputs = keras.Input((100,))
    x = L.Dropout(0.5)(L.Dense(100, use_bias=False)(inputs))
    split = enable_mc_dropout(keras.Model(inputs, L.Dense(100, use_bias=False)(x))).split
    assert split.prefix_share == pytest.approx(0.5, abs=0.01)
