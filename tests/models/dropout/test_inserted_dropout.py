"""Dropout put into a model that had none: the same answers without it, and the spread that its place gives."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as L

from thinned.models.dropout import enable_mc_dropout, insert_dropout
from thinned.models.dropout.inserted_dropout import inserted_layer
from thinned.models.errors import UnsupportedModelError, UsageError

X = np.random.default_rng(3).normal(size=(5, 3)).astype("float32")


def sequential() -> Any:
    keras.utils.set_random_seed(1)
    return keras.Sequential([L.Input((3,)), L.Dense(8, name="hidden"), L.Dense(1, name="out")], name="plain")


def shared() -> Any:
    """A layer called twice, and two outputs."""
    x, hidden = keras.Input((3,)), L.Dense(3, name="hidden")
    y = hidden(hidden(x))
    return keras.Model(x, [L.Dense(2, name="one")(y), L.Dense(1, name="two")(y)])


class Own(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = L.Dense(2)

    def call(self, x: Any) -> Any:
        return self.hidden(x)


def test_a_linear_network_has_its_closed_form_behind_the_layer() -> None:
    plain = sequential()
    hidden = plain.get_layer("hidden")(X).numpy()
    weights, rate = plain.get_layer("out").kernel.numpy()[:, 0], 0.25
    model = enable_mc_dropout(insert_dropout(plain, {"hidden": rate}))
    passes = next(iter(model.sample({model.inputs[0].name: X}, n_samples=4000, seed=1).values()))
    variance = rate / (1 - rate) * (hidden**2 * weights**2).sum(axis=1)
    np.testing.assert_allclose(
        passes.mean(axis=0)[:, 0], plain(X).numpy()[:, 0], atol=4 * np.sqrt(variance.max() / 4000)
    )
    np.testing.assert_allclose(passes.var(axis=0)[:, 0], variance, rtol=0.1)


def test_answers_names_and_weights_stay_and_each_call_of_a_layer_is_dropped() -> None:
    plain = shared()
    made = insert_dropout(plain, {"hidden": 0.2})
    for before, after in zip(plain(X), made(X), strict=True):
        np.testing.assert_array_equal(before, after)
    assert made.output_names == plain.output_names
    sites = [site.path for site in enable_mc_dropout(made).sites]
    assert sites == ["hidden_inserted_dropout", "hidden_1_inserted_dropout"]
    assert [inserted_layer(path) for path in sites] == ["hidden", "hidden_1"]
    assert inserted_layer("dropout") is None


@pytest.mark.parametrize(
    ("model", "layer", "error", "words"),
    [
        (sequential, "hiden", UsageError, "received 'hiden'; it has hidden, out"),
        (sequential, "out", UsageError, "'out' gives an output of the model"),
        (shared, "two", UsageError, "'two' gives an output of the model"),
        (Own, "dense", UnsupportedModelError, "class of its own, Own"),
    ],
)
def test_where_nothing_can_be_put_is_told(model: Any, layer: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        insert_dropout(model(), {layer: 0.1})
