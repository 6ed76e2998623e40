"""Passes against Keras's own draws: the same for every family, and a model that draws otherwise is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.long_trials import some_long
from tests.zoo import FAMILIES, build
from thinned.models.compat.keras import flatten_layers
from thinned.models.dropout import enable_mc_dropout, example_inputs, register_noise
from thinned.models.dropout.keras_draws import check_against_keras, find_gaps
from thinned.models.dropout.sites import custom_noise
from thinned.models.errors import UnknownNoiseError, UnsupportedModelError

L, ops = keras.layers, keras.ops
DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("family", some_long(FAMILIES, ["recurrent"]))
def test_passes_are_keras_own_draws_and_the_model_stays_as_it_is(family: str) -> None:
    keras_model = build(family)
    before = [variable.numpy() for variable in keras_model.variables]
    model = enable_mc_dropout(keras_model)
    assert find_gaps(model, example_inputs(model.inputs, 1)) == []
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, keras_model.variables, strict=True))
    assert not any("call" in layer.__dict__ for layer in flatten_layers(keras_model))


@keras.saving.register_keras_serializable("draws")
class FrozenNoise(L.Layer):
    """Noise from NumPy in Python code: a traced graph would hold it as a constant, and `training=False` has none."""

    def call(self, x: Any, training: bool | None = None) -> Any:
        if not training:
            return x
        return x + DRAW.normal(size=(int(x.shape[0] or 1), x.shape[-1])).astype("float32")


@keras.saving.register_keras_serializable("draws")
class Wrong(L.Layer):
    """Registered with half of its noise."""

    def call(self, x: Any, training: bool | None = None) -> Any:
        return x + keras.random.normal(ops.shape(x), stddev=0.4) if training else x


register_noise(Wrong, armed=lambda layer, draw, x: draw.normal(x, lambda a, z: a + 0.2 * z))


def of(*layers: Any, width: int = 6) -> Any:
    x = inputs = keras.Input((width,))
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("layer", [FrozenNoise, Wrong])
def test_noise_that_is_missing_or_registered_wrong_is_refused_with_both_values(layer: Callable[[], Any]) -> None:
    keras.utils.set_random_seed(3)
    model = enable_mc_dropout(of(layer(), L.Dropout(0.2), L.Dense(2, name="y")))
    with pytest.raises(UnsupportedModelError, match=r"the variance of the output 'y' is .* Keras's own draws"):
        check_against_keras(model, example_inputs(model.inputs, 1))


def test_noise_that_the_rows_of_a_batch_share_is_no_gap() -> None:
    keras.utils.set_random_seed(3)
    model = enable_mc_dropout(of(L.Dropout(0.5, noise_shape=(1, 6)), L.Dense(2)))
    assert find_gaps(model, example_inputs(model.inputs, 1)) == []


# A site in a loop


@keras.saving.register_keras_serializable("draws")
class SumCell(L.Layer):
    state_size = output_size = 1

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.drop = L.Dropout(0.5, name="inner")

    def call(self, x: Any, states: Any, training: bool | None = None) -> Any:
        total = states[0] + self.drop(x, training=training)
        return total, [total]


class Looped(L.Layer):
    """Calls its dropout in a loop of some kind."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__(**options)
        self.kind, self.drop = kind, L.Dropout(0.5, name="inner")

    def call(self, x: Any, training: bool | None = None) -> Any:
        def once(value: Any) -> Any:
            return self.drop(value, training=training)

        match self.kind:
            case "fori_loop":
                return ops.fori_loop(0, 8, lambda _, total: total + once(x), ops.zeros_like(x))
            case "while_loop":
                _, total = ops.while_loop(
                    lambda i, _: i < 8, lambda i, total: (i + 1, total + once(x)), (0, ops.zeros_like(x))
                )
                return total
            case "scan":
                return ops.scan(lambda total, _: (total + once(x), total), ops.zeros_like(x), ops.zeros((8,)))[0]
            case "map":
                return ops.sum(ops.map(lambda _: once(x), ops.arange(8)), axis=0)
            case "vectorized_map":
                return ops.sum(ops.vectorized_map(lambda one: once(x) + 0 * one, ops.ones((8, 1, 1))), axis=0)
            case "function":
                self.traced = tf.function(once, autograph=False)
                return self.traced(x) + self.traced(x)
        return ops.cond(ops.sum(x) > -1e9, lambda: once(x), lambda: x)

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


@pytest.mark.parametrize("kind", ["fori_loop", "while_loop", "scan", "map", "function"])
def test_a_site_in_a_loop_is_refused_by_name(kind: str) -> None:
    with pytest.raises(UnknownNoiseError, match=r"'looped/inner' \(Dropout\) is called in a loop of the graph"):
        enable_mc_dropout(of(Looped(kind, name="looped"), width=1))


def both_ways(rnn: Any) -> Any:
    return L.Bidirectional(rnn, merge_mode="sum")


@pytest.mark.parametrize(
    ("unroll", "wrap"),
    [
        (True, lambda rnn: rnn),
        (False, both_ways),
        pytest.param(False, lambda rnn: rnn, marks=pytest.mark.long),
        pytest.param(True, both_ways, marks=pytest.mark.long),
    ],
    ids=["unrolled", "both ways", "one way", "unrolled both ways"],
)
def test_a_custom_cell_draws_anew_in_each_step_of_a_known_length(unroll: bool, wrap: Any) -> None:
    x = keras.Input((5, 1))
    rnn = wrap(L.RNN(SumCell(), unroll=unroll))
    model = enable_mc_dropout(keras.Model(x, rnn(x)))
    (summary,) = model.summary(
        {model.inputs[0].name: np.ones((1, 5, 1), "float32")}, n_samples=20_000, seed=1, sampling="independent"
    ).values()
    ways = 1 if isinstance(rnn, L.RNN) else 2
    assert summary.mean.item() == pytest.approx(5 * ways, rel=0.02)
    assert summary.variance.item() == pytest.approx(5 * ways, rel=0.05)  # of each step r / (1 - r) = 1
    inner = rnn if ways == 1 else rnn.forward_layer
    assert inner.unroll is unroll


def test_a_custom_cell_with_dropout_over_an_unknown_length_is_refused_by_name() -> None:
    x = keras.Input((None, 1))
    with pytest.raises(UnknownNoiseError, match="sum_cell/inner"):
        enable_mc_dropout(keras.Model(x, L.RNN(SumCell(name="sum_cell"))(x)))


def test_a_vectorised_map_draws_once_for_all_as_keras_does() -> None:
    model = enable_mc_dropout(of(Looped("vectorized_map"), width=1))
    assert find_gaps(model, {model.inputs[0].name: np.ones((1, 1), "float32")}) == []


def test_a_site_in_a_branch_draws_once() -> None:
    model = enable_mc_dropout(of(Looped("branch"), width=1))
    (summary,) = model.summary({model.inputs[0].name: np.ones((1, 1), "float32")}, n_samples=4000, seed=1).values()
    assert summary.variance.item() == pytest.approx(1, rel=0.1)


def test_the_cells_of_keras_keep_their_noise_through_a_loop_as_keras_does() -> None:
    x = keras.Input((None, 2))
    model = enable_mc_dropout(keras.Model(x, L.GRU(3, dropout=0.3, recurrent_dropout=0.2)(x)))
    assert len(model.sites) == 2


# Python and NumPy under training


@keras.saving.register_keras_serializable("draws")
class InPython(L.Layer):
    """Python code that draws nothing, in both modes."""

    def call(self, x: Any) -> Any:
        doubled = tf.numpy_function(lambda v: 2 * v, [x], tf.float32)
        doubled.set_shape(x.shape)
        return doubled


@keras.saving.register_keras_serializable("draws")
class NumpyNoise(L.Layer):
    def call(self, x: Any, training: bool | None = None) -> Any:
        if not training:
            return x
        noisy = tf.numpy_function(lambda v: v + DRAW.normal(size=v.shape).astype("float32"), [x], tf.float32)
        noisy.set_shape(x.shape)
        return noisy


def test_python_code_under_training_is_refused_by_name() -> None:
    with pytest.raises(UnknownNoiseError, match=r"'noisy' \(NumpyNoise\) runs Python or NumPy code when training"):
        enable_mc_dropout(of(NumpyNoise(name="noisy"), L.Dropout(0.2), L.Dense(1)))


@pytest.fixture
def registry() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    before = dict(custom_noise._REGISTERED)
    yield
    custom_noise._REGISTERED.clear()
    custom_noise._REGISTERED.update(before)


@pytest.mark.usefixtures("registry")
def test_the_remedies_that_the_refusal_names_work() -> None:
    register_noise(NumpyNoise, armed=lambda layer, draw, x: draw.normal(x, lambda a, z: a + z))
    model = enable_mc_dropout(of(NumpyNoise(), L.Dense(1)))
    assert find_gaps(model, example_inputs(model.inputs, 1)) == []
    register_noise(InPython, armed=None)
    model = enable_mc_dropout(of(InPython(), L.Dropout(0.3), L.Dense(1)))
    assert [site.kind for site in model.sites] == ["Dropout"]
    assert find_gaps(model, example_inputs(model.inputs, 1)) == []
    del custom_noise._REGISTERED[NumpyNoise]
    both = of(InPython(), NumpyNoise(), L.Dropout(0.3), L.Dense(1))
    with pytest.raises(UnknownNoiseError, match="NumpyNoise"):  # one that is registered excuses no other
        enable_mc_dropout(both)
