"""The engine: statistics over blocks are those of the passes themselves, whatever the blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.long_trials import some_long
from tests.zoo import build
from thinned.models.dropout import BatchItem, MonteCarloRun, complete
from thinned.models.errors import InputError, NoSitesError, WarmUpError
from thinned.models.sampling import SAMPLINGS
from thinned.models.storage.importing import import_model
from thinned.models.storage.model_store import StoredModel, find
from thinned.models.uncertainty import OutputAnswer, answer_output, entropy
from thinned.service.inference.engine import Engine

L = keras.layers


def stored(model: Any, tmp_path: Path, name: str, **options: Any) -> StoredModel:
    path = tmp_path / "model.keras"
    model.save(path)
    return import_model(path, name=name, **{"tasks": {None: "regression"}, **options})


@pytest.fixture
def conv(tmp_path: Path) -> StoredModel:
    return stored(build("convolutional"), tmp_path, "engine-conv", tasks={None: "classification"})


def image(rows: int) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(rows, 8, 8, 1)).astype("float32")


def only(engine: Engine, x: dict[str, np.ndarray], estimator: Any = "passes", **asked: Any) -> OutputAnswer:
    """What the service would answer of the only output."""
    run = MonteCarloRun(
        x,
        engine.output_names,
        row_passes=engine.row_passes_for({name: rows.shape[1:] for name, rows in x.items()}),
        estimator=estimator,
        **asked,
    )
    complete(run, engine.model)
    (spec,) = engine.card.outputs
    return answer_output(
        spec,
        run.statistics()[spec.name],
        sampling=run.sampling,
        passes=run.passes.get(spec.name),
        quantiles=[0.25, 0.5],
        return_samples=run.keeps_passes,
    )


@pytest.mark.parametrize("budget", some_long([7, 1, 64, 100_000], [1, 64, 100_000]))
def test_statistics_are_those_of_the_passes(conv: StoredModel, budget: int) -> None:
    engine = Engine(conv, block_row_passes=budget)
    (name,) = (spec.name for spec in engine.card.inputs)
    x = {name: image(5)}
    got = only(engine, x, n_samples=40, seed=3, keep_passes=True)
    passes = np.asarray(got.samples, "float64")
    assert passes.shape == (40, 5, 4)
    np.testing.assert_allclose(got.mean, passes.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(got.variance, passes.var(axis=0, ddof=1), rtol=1e-9)
    np.testing.assert_allclose(got.standard_error, passes.std(axis=0, ddof=1) / 40**0.5, rtol=1e-9)
    np.testing.assert_allclose(got.quantiles, np.quantile(passes, [0.25, 0.5], axis=0), rtol=1e-12)  # type: ignore[arg-type]
    np.testing.assert_allclose(got.predictive_entropy, entropy(passes.mean(axis=0)), rtol=1e-9)  # type: ignore[arg-type]
    np.testing.assert_allclose(got.expected_entropy, entropy(passes).mean(axis=0), rtol=1e-9)  # type: ignore[arg-type]
    assert got.predictive_entropy is not None
    assert got.expected_entropy is not None
    np.testing.assert_allclose(got.mutual_information, got.predictive_entropy - got.expected_entropy, atol=1e-12)
    whole = only(Engine(conv, block_row_passes=10**6), x, n_samples=40, seed=3)
    np.testing.assert_allclose(got.mean, whole.mean, rtol=1e-5, atol=1e-7)
    assert whole.samples is None
    assert whole.quantiles is None


def test_save_and_load_give_the_same_answers(conv: StoredModel) -> None:
    first, second = Engine(conv), Engine(find("engine-conv"))
    (name,) = (spec.name for spec in first.card.inputs)
    x = {name: image(2)}
    for a, b in zip(first.model.predict(x).values(), second.model.predict(x).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    a, b = (only(engine, x, n_samples=5, seed=1) for engine in (first, second))
    np.testing.assert_array_equal(a.mean, b.mean)
    np.testing.assert_array_equal(a.variance, b.variance)


def test_logits_have_entropies_of_their_softmax(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.Dense(3)(L.Dropout(0.5)(inputs)))
    engine = Engine(stored(model, tmp_path, "engine-logits", tasks={None: "classification"}, scale={None: "logits"}))
    x = {engine.card.inputs[0].name: np.ones((2, 4), "float32")}
    got = only(engine, x, n_samples=9, seed=0, keep_passes=True)
    powers = np.exp(np.asarray(got.samples, "float64"))
    expected = entropy((powers / powers.sum(axis=-1, keepdims=True)).mean(axis=0))
    np.testing.assert_allclose(got.predictive_entropy, expected, rtol=1e-9)  # type: ignore[arg-type]


def test_regression_has_no_entropies_and_no_sites_no_passes(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    engine = Engine(stored(keras.Model(inputs, L.Dense(3)(inputs)), tmp_path, "engine-plain"))
    engine.warm_up()
    x = {engine.card.inputs[0].name: np.ones((2, 4), "float32")}
    with pytest.raises(NoSitesError):
        engine.model.summary(x, n_samples=4, seed=0)
    engine = Engine(stored(build("skip"), tmp_path, "engine-skip"))
    got = only(engine, {engine.card.inputs[0].name: np.ones((2, 6), "float32")}, n_samples=4, seed=0)
    assert got.predictive_entropy is None
    assert got.mutual_information is None


def test_values_that_the_model_refuses_are_the_callers_error(tmp_path: Path) -> None:
    engine = Engine(stored(build("embedding"), tmp_path, "engine-words", tasks={None: "classification"}))
    x = {engine.card.inputs[0].name: np.full((1, 7), 99, "int32")}  # the table has 20 entries
    with pytest.raises(InputError, match=r"inputs\.0\.0: 99 lies outside the model's table of 20"):
        engine.model.predict(x)
    with pytest.raises(InputError, match="99 lies outside"):
        engine.model.summary(x, n_samples=4, seed=0)


def test_warm_up_catches_passes_that_are_all_the_same(tmp_path: Path) -> None:
    """A model whose noise meets nothing but zeros must not get past the warm-up."""
    inputs = keras.Input((4,))
    hidden = L.Dense(8, "relu", name="hidden")
    model = keras.Model(inputs, L.Dense(3)(L.Dropout(0.5)(hidden(inputs))))
    engine = Engine(stored(model, tmp_path, "engine-dead"))
    engine.warm_up()
    loaded = engine.model.keras_model.get_layer("hidden")
    loaded.kernel.assign(loaded.kernel * 0)
    with pytest.raises(WarmUpError, match="all the same"):
        engine.warm_up()


def test_a_network_too_saturated_to_differ_is_served_with_a_warning(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    head = L.Dense(3, "softmax", kernel_initializer=keras.initializers.RandomNormal(stddev=1e-12))
    saved = stored(
        keras.Model(inputs, head(L.Dropout(0.5)(inputs))), tmp_path, "engine-faint", tasks={None: "classification"}
    )
    assert any("float precision" in warning for warning in saved.card.warnings)
    Engine(saved).warm_up()


def test_a_warm_engine_traces_nothing_more_whatever_is_asked(conv: StoredModel) -> None:
    engine = Engine(conv)
    engine.warm_up()
    engine.warm_up_rest()
    before = engine.model.graphs.traced
    (name,) = (spec.name for spec in engine.card.inputs)
    for rows, n in ((1, 2), (3, 100), (17, 33), (64, 10)):
        x = {name: image(rows)}
        engine.model.predict(x)
        for sampling in SAMPLINGS:
            only(engine, x, n_samples=n, seed=n, sampling=sampling, keep_passes=True)
            items = [BatchItem(rows, seed, 0, count, inputs=x) for seed, count in ((1, n), (2, 3))]
            engine.model.draw(items, sampling=sampling)
            engine.model.draw([items[0], BatchItem(rows, 1, 0, 5, inputs=x)], sampling=sampling)
    assert engine.model.graphs.traced == before
