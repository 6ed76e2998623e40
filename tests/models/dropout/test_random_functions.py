"""Layers of books and forums that draw their own noise: served as what they are, with Keras's own mean and variance."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.long_trials import some_long
from tests.zoo.idioms import IDIOMS, REFUSED, BayesianDense, DropPath, MCDropout, Sampling, Truncated, around, encoder
from thinned.models.audit.run import audit
from thinned.models.dropout import (
    StochasticModel,
    check_against_keras,
    check_laws,
    check_untouched,
    enable_mc_dropout,
    register_noise,
)
from thinned.models.errors import UnknownNoiseError

L, ops = keras.layers, keras.ops
BOUND = 1e-4


def enable(name: str) -> tuple[Any, StochasticModel]:
    keras.utils.set_random_seed(5)
    model = IDIOMS[name]()
    for variable in model.variables:
        if "moving" in variable.path:
            variable.assign(variable + 0.3)
    return model, enable_mc_dropout(model)


@pytest.mark.parametrize("name", some_long(IDIOMS, ["scalar", "drop_connect"]))
def test_passes_are_those_of_keras_and_nothing_changes(name: str) -> None:
    model, stochastic = enable(name)
    before = [variable.numpy() for variable in model.variables]
    check_untouched(stochastic, model)
    check_against_keras(stochastic, stochastic.examples.rows(1))
    check_laws(stochastic)
    rows = stochastic.examples.rows(3)
    for sampling in ("independent", "stratified"):
        passes = stochastic.sample(rows, n_samples=40, seed=3, sampling=sampling)
        pieces = stochastic.sample(rows, n_samples=40, seed=3, sampling=sampling, row_passes=3)
        again = stochastic.sample(rows, n_samples=7, seed=3, sampling=sampling)
        for output, values in passes.items():
            np.testing.assert_allclose(pieces[output], values, atol=BOUND)
            np.testing.assert_allclose(again[output], values[:7], atol=BOUND)
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, model.variables, strict=True))
    assert [finding.code for finding in audit(stochastic).findings if finding.level == "error"] == []


@pytest.mark.parametrize(
    "name", ["mc_dropout", "mc_alpha_dropout", "mc_gaussian_noise", "always_dropout_of_tensorflow"]
)
def test_what_always_draws_is_off_in_the_plain_answer(name: str) -> None:
    model, stochastic = enable(name)
    rows = stochastic.examples.rows(4)
    inputs = next(iter(rows.values()))
    x = model.layers[1](inputs)
    for layer in model.layers[3:]:
        x = layer(x)
    np.testing.assert_allclose(next(iter(stochastic.predict(rows).values())), x, atol=1e-6)
    assert "draws even when the model only predicts" in " ".join(stochastic.warnings)
    assert stochastic.sites[0].forced
    # Keras's own call still draws, now and outside of any trace.
    assert not np.array_equal(model(inputs, training=False), model(inputs, training=False))


def test_a_sampled_code_is_its_mean_in_the_plain_answer() -> None:
    model, stochastic = enable("sampling")
    rows = stochastic.examples.rows(4)
    inputs = next(iter(rows.values()))
    x = model.layers[-1](model.layers[-2](model.layers[1](inputs)))
    np.testing.assert_allclose(next(iter(stochastic.predict(rows).values())), x, atol=1e-6)
    assert "its normal numbers at 0" in " ".join(stochastic.warnings)


def test_a_truncated_normal_has_its_closed_form() -> None:
    inputs = keras.Input((50,))
    stochastic = enable_mc_dropout(keras.Model(inputs, Truncated()(inputs)))
    x = {stochastic.inputs[0].name: np.zeros((1, 50), np.float32)}
    passes = next(iter(stochastic.sample(x, n_samples=4000, seed=1, sampling="independent").values()))
    assert np.abs(passes).max() <= 2 * 0.7
    np.testing.assert_allclose(passes.std(), 0.7 * 0.879625, rtol=0.005)
    np.testing.assert_allclose(passes.mean(), 0.0, atol=0.01)


def test_drawn_weights_have_their_closed_form() -> None:
    inputs = keras.Input((6,))
    layer = BayesianDense()
    stochastic = enable_mc_dropout(keras.Model(inputs, layer(inputs)))
    x = np.arange(1, 7, dtype=np.float32)[None]
    passes = next(iter(stochastic.sample({stochastic.inputs[0].name: x}, n_samples=10_000, seed=2).values()))
    due = (x**2).sum() * np.log1p(np.exp(-1.5)) ** 2
    np.testing.assert_allclose(passes.var(axis=0), np.full((1, 4), due), rtol=0.06)


def test_a_layer_that_draws_nothing_is_no_site() -> None:
    inputs = keras.Input((6,))
    model = keras.Model(inputs, L.Dense(1)(L.Dropout(0.2)(DropPath(rate=0.0)(inputs))))
    stochastic = enable_mc_dropout(model)
    assert [site.kind for site in stochastic.sites] == ["Dropout"]
    check_untouched(stochastic, model)


# What cannot be replaced, or has no plain answer, is refused by name.


@pytest.mark.parametrize(("layer", "reason"), REFUSED.values())
def test_what_cannot_be_served_is_refused_by_name(layer: type, reason: str) -> None:
    with pytest.raises(UnknownNoiseError, match=rf"{layer(name='culprit').name}.*{reason}"):
        enable_mc_dropout(around(layer(name="culprit")))


# What register_noise is told still counts first, for layers of any call.


def _registered(**kwargs: Any) -> type:
    class Registered(MCDropout):
        pass

    register_noise(Registered, **kwargs)
    return Registered


@pytest.mark.parametrize("off", [None, lambda layer, inputs: inputs])
def test_a_subclass_of_dropout_can_be_registered(off: Any) -> None:
    cls = _registered(armed=lambda layer, draw, x: draw.bernoulli(x, layer.rate), off=off)
    model = around(cls(0.3))
    stochastic = enable_mc_dropout(model)
    check_untouched(stochastic, model)
    check_against_keras(stochastic, stochastic.examples.rows(1))
    check_laws(stochastic)


def test_a_layer_of_several_inputs_can_be_registered() -> None:
    class Code(Sampling):
        pass

    shapes: list[Any] = []

    def armed(layer: Any, draw: Any, inputs: Any) -> Any:
        mean, log_variance = inputs
        shapes.extend(x.shape.as_list() for x in inputs)
        return mean + ops.exp(0.5 * log_variance) * draw.normal(ops.zeros_like(mean), lambda a, z: a + z)

    register_noise(Code, armed=armed, off=lambda layer, inputs: inputs[0])
    model = encoder(Code())
    stochastic = enable_mc_dropout(model)
    check_untouched(stochastic, model)
    check_against_keras(stochastic, stochastic.examples.rows(1))
    check_laws(stochastic)
    assert shapes == [[None, 2]] * len(shapes)
