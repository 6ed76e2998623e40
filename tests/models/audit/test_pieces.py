"""What is computed in pieces, to keep to the stated memory, is what is computed at once."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.testing import assert_allclose, assert_array_equal

from thinned.models.audit.probe import Probe
from thinned.models.dropout import StochasticModel, check_laws, enable_mc_dropout, stochastic_model
from thinned.models.dropout.sites.discovery import layer_paths


def made() -> StochasticModel:
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 6, 2), name="x")
    y = layers.Conv2D(8, 3, activation="relu")(x)
    y = layers.BatchNormalization()(layers.Dropout(0.3)(y))
    y = layers.GaussianNoise(0.2)(layers.Conv2D(8, 3)(y))
    return enable_mc_dropout(keras.Model(x, layers.Dense(2, name="y")(layers.Flatten()(y))))


ROWS = {"x": np.random.default_rng(0).normal(size=(7, 6, 6, 2)).astype("float32")}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> StochasticModel:
    """The same model, with room for one pass of one row, and for two rows without noise."""
    model = made()
    monkeypatch.setattr(stochastic_model, "CALL_BYTES", 2 * 4 * 8 * 16)
    assert (model.row_passes, model.rows_at_once) == (1, 2)
    return model


def test_answers_and_passes(small: StochasticModel, monkeypatch: pytest.MonkeyPatch) -> None:
    heights: list[int] = []
    run = type(small.graphs).run

    def watched(self: Any, key: Any, *args: Any) -> Any:
        heights.append(len(args[-1]))
        return run(self, key, *args)

    monkeypatch.setattr(type(small.graphs), "run", watched)
    pieces = small.predict(ROWS)["y"], small.sample(ROWS, n_samples=40, seed=1)["y"]
    small.prefix(ROWS)
    assert max(heights) <= 2
    monkeypatch.undo()
    whole = made()
    assert_allclose(pieces[0], whole.predict(ROWS)["y"], atol=1e-5)
    assert_allclose(pieces[1], whole.sample(ROWS, n_samples=40, seed=1)["y"], atol=1e-5)


def test_what_an_audit_notes(small: StochasticModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def noted(model: StochasticModel) -> Any:
        return Probe(model, layer_paths(model.keras_model)).run(ROWS, n_samples=80, seed=3)

    pieces = noted(small)
    monkeypatch.undo()
    whole = noted(made())
    assert_allclose(pieces.passes["y"], whole.passes["y"], atol=1e-5)
    for piece, one in zip(pieces.counts, whole.counts, strict=True):
        assert (piece.units, piece.drawn, piece.dropped) == (one.units, one.drawn, one.dropped)
        assert (piece.kept, piece.zeroed) == (one.kept, one.zeroed)
        assert_allclose([piece.spread, piece.scale_error], [one.spread, one.scale_error], rtol=1e-3, atol=1e-6)
    for piece, one in zip(pieces.normalised, whole.normalised, strict=True):
        assert_allclose(piece.mean, one.mean, rtol=1e-4, atol=1e-5)
        assert_allclose(piece.variance, one.variance, rtol=1e-4, atol=1e-5)
    assert_array_equal(pieces.size, whole.size)


def test_passes_that_differ_behind_a_site_are_seen(small: StochasticModel) -> None:
    assert small.differs_at_sites(ROWS, n_samples=100, seed=1)
    dead = keras.Model(x := keras.Input((4,)), layers.Dense(1)(layers.Dropout(0.5)(0.0 * x)))
    still = enable_mc_dropout(dead)
    assert not still.differs_at_sites(still.examples.rows(3), n_samples=100, seed=1)


def test_the_laws_are_checked_on_a_model_of_which_a_call_holds_one_pass(small: StochasticModel) -> None:
    assert check_laws(small) == ()
