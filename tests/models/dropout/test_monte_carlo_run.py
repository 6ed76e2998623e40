"""Runs: what they draw next, how adaptive ones stop, and that none of it changes what their passes say."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest

from thinned.models.dropout import MonteCarloRun, StochasticModel, complete, enable_mc_dropout
from thinned.models.errors import InputError
from thinned.models.sampling import BLOCK
from thinned.models.uncertainty import RunningStatistics, widening

L = keras.layers
OUTPUT = "y"


@pytest.fixture(scope="module")
def model() -> StochasticModel:
    keras.utils.set_random_seed(1)
    x = keras.Input((3,), name="x")
    hidden = L.Dropout(0.5)(L.Dense(16, "relu")(x))
    return enable_mc_dropout(
        keras.Model(x, L.Dense(4, "softmax", name=OUTPUT)(hidden)), classes={OUTPUT: "probabilities"}
    )


def rows(count: int, seed: int = 0) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).normal(size=(count, 3)).astype("float32")}


def drawn(model: StochasticModel, inputs: Mapping[str, Any], *, row_passes: int = 256, **asked: Any) -> MonteCarloRun:
    return complete(MonteCarloRun(inputs, [OUTPUT], row_passes=row_passes, **asked), model)


def same(a: RunningStatistics, b: RunningStatistics) -> None:
    assert a.count == b.count
    for name in ("mean", "variance", "mean_probabilities", "mean_entropy"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-5, atol=1e-7)


def test_a_run_that_fits_is_one_item_and_any_other_takes_whole_blocks() -> None:
    one = MonteCarloRun(rows(2), [OUTPUT], row_passes=256, n_samples=100, seed=1)
    assert one.in_one_call
    assert one.item is not None
    assert (one.item.rows, one.item.first, one.item.count, one.item.whole) == (2, 0, 100, True)
    many = MonteCarloRun(rows(20), [OUTPUT], row_passes=256, n_samples=100, seed=1)
    assert not many.in_one_call
    assert many.item is not None
    assert (many.item.rows, many.item.count, many.item.whole) == (8, BLOCK, False)


@pytest.mark.parametrize(
    ("inputs", "came"),
    [({"z": rows(2)["x"]}, "got z"), ({}, "got none"), (rows(2)["x"], "got a ndarray"), (None, "got a NoneType")],
)
@pytest.mark.parametrize("asked", ["predict", "sample", "summary"])
def test_inputs_without_their_names_are_told(model: StochasticModel, asked: str, inputs: Any, came: str) -> None:
    of_passes = {} if asked == "predict" else {"n_samples": 4, "seed": 1}
    with pytest.raises(InputError, match=f"expected a mapping of names to rows, of x; {came}"):
        getattr(model, asked)(inputs, **of_passes)


@pytest.mark.parametrize("sampling", ["stratified", "independent"])
@pytest.mark.parametrize("tolerance", [0.02, 0.008, 0.004])
def test_an_adaptive_answer_is_the_fixed_answer_of_its_passes(
    model: StochasticModel, sampling: Any, tolerance: float
) -> None:
    run = drawn(model, rows(3), n_samples=5000, seed=11, sampling=sampling, tolerance=tolerance)
    assert run.drawn % BLOCK == 0 or run.drawn == 5000
    (expected,) = model.summary(rows(3), n_samples=run.drawn, seed=11, sampling=sampling).values()
    same(run.statistics()[OUTPUT], expected)
    converged = run.converged()
    assert converged is not None
    errors = expected.standard_error(sampling)[0] * widening(expected.degrees_of_freedom(sampling))
    assert converged.tolist() == (errors.max(axis=1) < tolerance).tolist()
    if run.drawn < 5000:
        assert converged.all()


@pytest.mark.parametrize("row_passes", [64, 10_000])
def test_where_it_stops_does_not_depend_on_what_is_computed_at_once(model: StochasticModel, row_passes: int) -> None:
    for i in range(4):
        asked = {"n_samples": 4000, "seed": i, "tolerance": 0.01}
        run = drawn(model, rows(1 + i, i), **asked)
        other = drawn(model, rows(1 + i, i), row_passes=row_passes, **asked)
        assert other.drawn == run.drawn
        same(other.statistics()[OUTPUT], run.statistics()[OUTPUT])


def test_a_tolerance_that_is_not_met_ends_at_the_cap(model: StochasticModel) -> None:
    run = drawn(model, rows(2), n_samples=100, seed=1, tolerance=1e-9)
    assert run.drawn == 100
    assert run.converged().tolist() == [False, False]  # type: ignore[union-attr]


def test_a_budget_of_time_stops_at_a_block(model: StochasticModel) -> None:
    model.summary(rows(1), n_samples=100, seed=1, row_passes=32)  # traced before the clock runs
    began = time.monotonic()
    run = drawn(model, rows(1), n_samples=10**6, seed=1, budget_ms=200)
    assert time.monotonic() - began < 2
    assert run.drawn % BLOCK == 0
    assert BLOCK <= run.drawn < 10**6
    assert run.converged() is None
    (expected,) = model.summary(rows(1), n_samples=run.drawn, seed=1).values()
    same(run.statistics()[OUTPUT], expected)
    assert drawn(model, rows(1), n_samples=1000, seed=1, budget_ms=1e-6).drawn == BLOCK


def test_an_adaptive_run_keeps_the_passes_that_it_stands_on(model: StochasticModel) -> None:
    run = drawn(model, rows(2), n_samples=500, seed=1, tolerance=0.02, keep_passes=True, estimator="passes")
    passes = run.passes[OUTPUT]
    assert passes.shape == (run.drawn, 2, 4)
    np.testing.assert_allclose(passes.mean(axis=0), run.statistics()[OUTPUT].mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(passes, model.sample(rows(2), n_samples=run.drawn, seed=1)[OUTPUT], rtol=1e-5, atol=1e-7)


def test_a_run_without_a_seed_or_with_nothing_left_is_not_drawn(model: StochasticModel) -> None:
    with pytest.raises(RuntimeError, match="seed"):
        MonteCarloRun(rows(1), [OUTPUT], row_passes=256, n_samples=8, seed=None).batch_item(model)
    with pytest.raises(RuntimeError, match="nothing left"):
        drawn(model, rows(1), n_samples=8, seed=1).batch_item(model)
