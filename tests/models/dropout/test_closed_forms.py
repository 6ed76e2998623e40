"""Closed forms over the last masks: unbiased, proven on the model, and nothing else is changed by them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from thinned.models.dropout import (
    BatchItem,
    MonteCarloRun,
    StochasticModel,
    complete,
    enable_mc_dropout,
    register_noise,
)
from thinned.models.sampling import BLOCK, SAMPLINGS, Sampling
from thinned.models.uncertainty import RunningStatistics

L = keras.layers
Rows = dict[str, np.ndarray]
SEEDS = 10_000


def rows(model: StochasticModel, count: int, seed: int = 0) -> Rows:
    return model.examples.rows(count, seed=seed)


def made(build: Callable[[], Any], **asked: Any) -> StochasticModel:
    keras.utils.set_random_seed(3)
    return enable_mc_dropout(build(), **asked)


def tiny() -> Any:
    """Two sites of four units each: 256 pairs of masks."""
    x = inputs = keras.Input((3,), name="x")
    x = L.Dropout(0.25)(L.Dense(4, "relu", name="first")(x))
    x = L.Dropout(0.4)(L.Dense(4, "tanh", name="second")(x))
    return keras.Model(inputs, L.Dense(2, name="last")(x))


def enumerated(
    model: Any, x: np.ndarray, function: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance over all masks of `tiny`, each with its probability, in float64."""
    (w1, b1), (w2, b2), (w3, b3) = ([w.astype(np.float64) for w in model.get_layer(n).get_weights()] for n in LAYERS)
    masks = np.array(list(product([0.0, 1.0], repeat=4)))
    one = np.prod(np.where(masks > 0, 0.75, 0.25), axis=1)
    two = np.prod(np.where(masks > 0, 0.6, 0.4), axis=1)
    h = np.maximum(x @ w1 + b1, 0)[:, None] * masks / 0.75  # (B, M, 4)
    g = np.tanh(h @ w2 + b2)[:, :, None] * masks / 0.6  # (B, M, M, 4)
    y = function(g @ w3 + b3)
    weights = (one[:, None] * two)[None, ..., None]
    mean = (weights * y).sum(axis=(1, 2))
    return mean, (weights * (y - mean[:, None, None]) ** 2).sum(axis=(1, 2))


LAYERS = ("first", "second", "last")


@pytest.fixture(scope="module")
def small() -> StochasticModel:
    return made(tiny)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_mean_and_variance_are_unbiased_against_all_masks(small: StochasticModel, sampling: Sampling) -> None:
    """Over 10,000 seeds, each a batch item of a call. Stratified variances are too large by less than 1 / N."""
    count = 10
    x = rows(small, 1)
    frontier = small.prefix(x)
    mean, variance = enumerated(small.keras_model, x["x"].astype(np.float64))
    found: dict[str, list[np.ndarray]] = {"mean": [], "variance": []}
    for start in range(0, SEEDS, 500):
        items = [BatchItem(1, seed, 0, count, frontier=frontier) for seed in range(start, start + 500)]
        for part in small.draw(items, sampling=sampling):
            statistics = RunningStatistics().update(part["last"])
            assert statistics.made == "closed_form"
            found["mean"].append(statistics.mean[0])
            found["variance"].append(statistics.variance[0])
    for name, truth, slack in (("mean", mean[0], 0.0), ("variance", variance[0], 1 / count)):
        seen = np.array(found[name])
        error = 4 * seen.std(axis=0) / SEEDS**0.5
        above = slack if sampling == "stratified" else 0.0
        assert (seen.mean(axis=0) > truth - error).all()
        assert (seen.mean(axis=0) < truth * (1 + np.sign(truth) * above) + error).all()


def test_fewer_passes_tell_as_much(small: StochasticModel) -> None:
    """The closed form has no larger error than the passes, for the mean and for the variance."""
    x = rows(small, 4)
    mean, variance = enumerated(small.keras_model, x["x"].astype(np.float64))
    squares = {}
    for estimator in ("best", "passes"):
        found = [
            small.summary(x, n_samples=BLOCK, seed=seed, sampling="independent", estimator=estimator)["last"]
            for seed in range(200)
        ]
        squares[estimator] = (
            np.mean([(s.mean - mean) ** 2 for s in found]),
            np.mean([(s.variance - variance) ** 2 for s in found]),
        )
    assert all(best < 0.8 * plain for best, plain in zip(squares["best"], squares["passes"], strict=True))


def test_a_linear_network_is_exact_and_draws_nothing() -> None:
    def build() -> Any:
        inputs = keras.Input((5,), name="x")
        return keras.Model(inputs, L.Dense(3, name="y")(L.Dropout(0.3)(inputs)))

    model = made(build)
    x = rows(model, 4)
    weights, bias = (w.astype(np.float64) for w in model.keras_model.get_layer("y").get_weights())
    values = x["x"].astype(np.float64)
    assert model.made == {"y": "exact"}
    assert model.exact
    run = complete(MonteCarloRun(x, ["y"], row_passes=64, n_samples=1000, seed=5, exact=True, tolerance=0.1), model)
    for found in (run.statistics()["y"], model.summary(x, n_samples=2, seed=1)["y"]):
        assert_allclose(found.mean, values @ weights + bias, rtol=1e-5, atol=1e-6)
        assert_allclose(found.variance, 0.3 / 0.7 * values**2 @ weights**2, rtol=1e-5)
        assert_array_equal(found.error_of_passes, np.zeros((4, 3)))
    assert (run.drawn, run.stopped_by, run.left) == (0, "exact", 0)
    assert_array_equal(run.converged(), np.ones(4, bool))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float16", 1e-2)])
def test_numbers_of_any_precision(dtype: str, tolerance: float) -> None:
    def linear() -> Any:
        x = keras.Input((4,), name="x", dtype=dtype)
        h = keras.layers.Dropout(0.25, dtype=dtype)(x)
        return keras.Model(x, keras.layers.Dense(2, name="y", dtype=dtype)(h))

    model = made(linear)
    weights, bias = (w.astype(np.float64) for w in model.keras_model.get_weights())
    x = {name: values.astype(dtype) for name, values in rows(model, 3).items()}
    told = model.summary(x, n_samples=4, seed=0)["y"]
    assert told.made == "exact"
    assert_allclose(told.mean, x["x"] @ weights + bias, atol=tolerance)
    assert_allclose(told.variance, 0.25 / 0.75 * x["x"].astype(np.float64) ** 2 @ weights**2, atol=tolerance)


def spatial_then_flat() -> Any:
    x = inputs = keras.Input((6, 4), name="x")
    x = L.SpatialDropout1D(0.3)(L.Conv1D(3, 3, activation="relu")(x))
    return keras.Model(inputs, L.Dense(2, name="y")(L.Flatten()(x)))


def spatial_then_pooled() -> Any:
    x = inputs = keras.Input((6, 6, 2), name="x")
    x = L.SpatialDropout2D(0.3)(L.Conv2D(5, 3, activation="relu")(x))
    return keras.Model(inputs, L.Dense(2, name="y")(L.GlobalAveragePooling2D()(x)))


def positions() -> Any:
    x = inputs = keras.Input((6, 4), name="x")
    return keras.Model(inputs, L.Dense(2, name="y")(L.Dropout(0.3)(L.Dense(5, "relu")(x))))


def positions_of_any_number() -> Any:
    x = inputs = keras.Input((None, 4), name="x")
    return keras.Model(inputs, L.Dense(2, name="y")(L.Dropout(0.3)(L.Dense(5, "relu")(x))))


def shared_positions() -> Any:
    x = inputs = keras.Input((6, 4), name="x")
    x = L.Dropout(0.3, noise_shape=(None, 1, 5))(L.Dense(5, "relu")(x))
    return keras.Model(inputs, L.Dense(2, name="y")(x))


def shared_units() -> Any:
    x = inputs = keras.Input((6, 4), name="x")
    x = L.Dropout(0.3, noise_shape=(None, None, 1))(L.Dense(5, "relu")(x))
    return keras.Model(inputs, L.Dense(2, name="y")(x))


def one_mask_for_all() -> Any:
    x = inputs = keras.Input((6, 4), name="x")
    x = L.Dropout(0.3, noise_shape=(None, 1, 1))(L.Dense(5, "relu")(x))
    return keras.Model(inputs, L.Dense(2, name="y")(L.Flatten()(x)))


def gaussian_dropout() -> Any:
    x = inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, L.Dense(2, name="y")(L.GaussianDropout(0.3)(L.Dense(6, "relu")(x))))


def two_last_sites() -> Any:
    x = inputs = keras.Input((4,), name="x")
    a = L.Dropout(0.3)(L.Dense(6, "relu")(x))
    b = L.Dropout(0.5)(L.Dense(6, "tanh")(x))
    return keras.Model(inputs, L.Add(name="y")([L.Dense(2)(a), L.Dense(2)(b)]))


def scaled_and_normalised() -> Any:
    x = inputs = keras.Input((4,), name="x")
    x = L.Dense(6)(L.Dropout(0.3)(L.Dense(6, "relu")(x)))
    return keras.Model(inputs, L.Rescaling(70.0, offset=150.0, name="y")(L.BatchNormalization()(x)))


def segmentation() -> Any:
    x = inputs = keras.Input((None, None, 2), name="x")
    x = L.SpatialDropout2D(0.3)(L.Conv2D(5, 3, padding="same", activation="relu")(x))
    return keras.Model(inputs, L.Conv2D(2, 1, name="y")(x))


EXACT = [
    spatial_then_flat, spatial_then_pooled, positions, positions_of_any_number, shared_positions, shared_units,
    one_mask_for_all, gaussian_dropout, two_last_sites, scaled_and_normalised, segmentation,
]  # fmt: skip


@pytest.mark.parametrize("build", EXACT)
def test_whatever_the_mask_is_shared_along(build: Callable[[], Any]) -> None:
    """The closed form is what many passes come to."""
    model = made(build)
    assert model.made == {"y": "exact"}, model.closed_forms.reasons
    x = rows(model, 3, seed=1)
    exact = model.summary(x, n_samples=2, seed=1)["y"]
    many = model.summary(x, n_samples=20_000, seed=7, sampling="independent", estimator="passes")["y"]
    assert_allclose(exact.mean, many.mean, atol=5 * float(many.error_of_passes.max()))
    assert_allclose(exact.variance, many.variance, rtol=0.15, atol=1e-3 * float(many.variance.max()))
    assert_allclose(exact.variance.mean(), many.variance.mean(), rtol=0.03)


def relu() -> Any:
    x = inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, L.Dense(3, "relu", name="y")(L.Dropout(0.3)(L.Dense(6, "relu")(x))))


def alpha() -> Any:
    x = inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, L.Dense(3, name="y")(L.AlphaDropout(0.3)(L.Dense(6, "selu")(x))))


def gated() -> Any:
    """What comes of the site is multiplied by something else of the row."""
    x = inputs = keras.Input((4,), name="x")
    h = L.Dropout(0.3)(L.Dense(4, "relu")(x))
    return keras.Model(inputs, L.Dense(1, name="y")(L.Multiply()([h, x])))


def largest() -> Any:
    x = inputs = keras.Input((6, 4), name="x")
    return keras.Model(inputs, L.Dense(1, name="y")(L.GlobalMaxPooling1D()(L.Dropout(0.3)(x))))


def absolute() -> Any:
    x = inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, L.Dense(1, name="y")(keras.ops.abs(L.Dropout(0.3)(x))))


def squared() -> Any:
    x = inputs = keras.Input((4,), name="x")
    h = L.Dropout(0.3)(x)
    return keras.Model(inputs, L.Dense(1, name="y")(L.Multiply()([h, h])))


def attended() -> Any:
    """Weights of attention are dropped, and then multiplied by values of the row."""
    x = inputs = keras.Input((6, 4), name="x")
    h = L.MultiHeadAttention(2, 4, dropout=0.3)(x, x)
    return keras.Model(inputs, L.Dense(1, name="y")(h))


@pytest.mark.parametrize("build", [relu, alpha, gated, largest, absolute, squared, attended])
def test_what_is_not_affine_is_told_by_passes_and_says_so(build: Callable[[], Any]) -> None:
    model = made(build)
    assert model.made == {"y": "passes"}
    assert "affine" in model.closed_forms.reasons[0]
    x = rows(model, 2)
    best, plain = (model.summary(x, n_samples=40, seed=2, estimator=e)["y"] for e in ("best", "passes"))
    assert_array_equal(best.mean, plain.mean)
    assert_array_equal(best.variance, plain.variance)


class Lying(L.Layer):
    """Says that it drops, and does something else behind the draw's back where many rows come."""

    def call(self, x: Any) -> Any:
        return x


def test_a_site_whose_masks_are_not_what_they_say_is_told_by_passes() -> None:
    register_noise(Lying, armed=lambda layer, draw, x: draw.multiplied(x, 0.5, less))

    def less(draw: Any, x: Any) -> Any:
        return draw.drop(x, 0.1, lambda h, dropped: tf.where(dropped, 0.0, h / 0.9))

    def build() -> Any:
        x = inputs = keras.Input((4,), name="x")
        return keras.Model(inputs, L.Dense(1, name="y")(Lying()(L.Dense(6, "relu")(x))))

    model = made(build)
    assert model.made == {"y": "passes"}
    assert "another variance" in model.closed_forms.reasons[0]


def heads() -> Any:
    """One output has the form; one ends in another function; one shares the last site of the first."""
    inputs = keras.Input((4,), name="x")
    trunk = L.Dropout(0.2)(L.Dense(8, "relu")(inputs))
    shared = L.Dropout(0.3)(L.Dense(8, "relu")(trunk))
    other = L.Dropout(0.3)(L.Dense(8, "relu")(trunk))
    outputs = {
        "size": L.Dense(2, name="size")(shared),
        "kind": L.Dense(3, "tanh", name="kind")(other),
        "colour": L.Dense(3, "tanh", name="colour")(shared),
    }
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_only_the_output_that_has_the_form_is_changed(sampling: Sampling) -> None:
    model = made(heads)
    assert model.made == {"size": "closed_form", "kind": "passes", "colour": "passes"}
    assert not model.closed_forms.off  # "colour" needs the masks
    x = rows(model, 3)
    best, plain = (model.summary(x, n_samples=70, seed=2, sampling=sampling, estimator=e) for e in ("best", "passes"))
    for name in ("kind", "colour"):
        assert_allclose(best[name].mean, plain[name].mean, rtol=1e-6)
        assert_allclose(best[name].variance, plain[name].variance, rtol=1e-5)
    many = model.summary(x, n_samples=20_000, seed=5, sampling="independent", estimator="passes")["size"]
    few = model.summary(x, n_samples=2_000, seed=6, sampling=sampling)["size"]
    assert_allclose(few.mean, many.mean, atol=6 * float(many.error_of_passes.max() + few.error_of_passes.max()))
    assert_allclose(few.variance.mean(), many.variance.mean(), rtol=0.05)


def test_logits_have_closed_moments_and_the_probabilities_of_the_passes() -> None:
    def build() -> Any:
        x = inputs = keras.Input((4,), name="x")
        x = L.Dropout(0.2)(L.Dense(8, "relu")(x))
        return keras.Model(inputs, L.Dense(3, name="y")(L.Dropout(0.4)(L.Dense(8, "relu")(x))))

    model = made(build, classes={"y": "logits"})
    assert model.made == {"y": "closed_form"}
    x = rows(model, 3)
    best, plain = (model.summary(x, n_samples=40, seed=2, estimator=e)["y"] for e in ("best", "passes"))
    assert best.mean_probabilities is not None
    assert plain.mean_probabilities is not None
    assert_allclose(best.mean_probabilities, plain.mean_probabilities, rtol=1e-6)
    assert np.abs(best.mean - plain.mean).max() > 1e-3


def test_passes_their_prefixes_and_neighbours_are_what_they_were(small: StochasticModel) -> None:
    """Keeping passes, other rows, other cuts and other requests change neither passes nor moments."""
    x = rows(small, 5)
    plain = small.sample(x, n_samples=70, seed=9)["last"]
    run = complete(MonteCarloRun(x, ["last"], row_passes=1000, n_samples=70, seed=9, keep_passes=True), small)
    assert_allclose(run.passes["last"], plain, rtol=1e-6, atol=1e-7)
    kept = run.statistics()["last"]
    whole = small.summary(x, n_samples=70, seed=9)["last"]
    pieces = small.summary(x, n_samples=70, seed=9, row_passes=64)["last"]
    alone = small.summary({"x": x["x"][2:3]}, n_samples=70, seed=9)["last"]
    for other, which in ((kept, slice(None)), (pieces, slice(None)), (alone, slice(2, 3))):
        assert_allclose(other.mean, whole.mean[which], rtol=1e-5, atol=1e-6)
        assert_allclose(other.variance, whole.variance[which], rtol=1e-4, atol=1e-8)
    first = small.draw([BatchItem(5, 9, 0, 32, inputs=x)])[0]["last"]
    rest = small.draw([BatchItem(5, 9, 32, 38, inputs=x), BatchItem(5, 4, 0, 6, inputs=x)])[0]["last"]
    joined = RunningStatistics().update(first).update(rest)
    assert_allclose(joined.mean, whole.mean, rtol=1e-5, atol=1e-6)
    assert_allclose(joined.variance, whole.variance, rtol=1e-4, atol=1e-8)


def test_off_masks_leave_the_others_as_they_are(small: StochasticModel) -> None:
    """A pass without its last mask is that pass: the mask that is drawn moves it by what the mask changes."""
    x = rows(small, 2)
    kept = complete(MonteCarloRun(x, ["last"], row_passes=1000, n_samples=4, seed=9, keep_passes=True), small)
    off = complete(MonteCarloRun(x, ["last"], row_passes=1000, n_samples=4, seed=9), small)
    assert_allclose(kept.statistics()["last"].mean, off.statistics()["last"].mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_standard_error_is_that_of_the_estimator(small: StochasticModel, sampling: Sampling) -> None:
    x = rows(small, 1)
    mean, _ = enumerated(small.keras_model, x["x"].astype(np.float64))
    found = [small.summary(x, n_samples=6 * BLOCK, seed=seed, sampling=sampling)["last"] for seed in range(300)]
    errors = np.mean([s.standard_error(sampling)[0] ** 2 for s in found], axis=0) ** 0.5
    off = np.mean([(s.mean - mean) ** 2 for s in found], axis=0) ** 0.5
    assert_allclose(errors, off, rtol=0.2)


def test_half_precision_and_a_subclassed_model_have_forms() -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.drop, self.b = L.Dense(8, "relu"), L.Dropout(0.3), L.Dense(2)

        def call(self, x: Any, training: bool | None = None) -> Any:
            return self.b(self.drop(self.a(x), training=training))

    own = Own()
    own(tf.ones((2, 4)))
    assert enable_mc_dropout(own).exact


def tiny_classes(activation: str, units: int) -> Callable[[], Any]:
    def build() -> Any:
        x = inputs = keras.Input((3,), name="x")
        x = L.Dropout(0.25)(L.Dense(4, "relu", name="first")(x))
        x = L.Dropout(0.4)(L.Dense(4, "tanh", name="second")(x))
        last = L.Dense(units, activation, name="last", kernel_initializer=keras.initializers.RandomNormal(stddev=3.0))
        return keras.Model(inputs, last(x))

    return build


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-z)))


def entropy(p: np.ndarray) -> np.ndarray:
    of = np.concatenate([p, 1 - p], axis=-1) if p.shape[-1] == 1 else p
    return -np.asarray((of * np.log(of)).sum(axis=-1))


@pytest.mark.parametrize(("function", "units"), [(softmax, 3), (sigmoid, 1)])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_several_last_masks_are_unbiased_against_all_masks(
    function: Callable[[np.ndarray], np.ndarray], units: int, sampling: Sampling
) -> None:
    model = made(tiny_classes(function.__name__, units), classes={"last": "probabilities"})
    assert model.made == {"last": "more_masks"}, model.closed_forms.reasons
    assert model.closed_forms.off
    x, count = rows(model, 1), 8
    frontier = model.prefix(x)
    truth = enumerated(model.keras_model, x["x"].astype(np.float64), function)
    expected = enumerated(model.keras_model, x["x"].astype(np.float64), lambda z: entropy(function(z))[..., None])[0]
    found = []
    for start in range(0, SEEDS, 500):
        items = [BatchItem(1, seed, 0, count, frontier=frontier) for seed in range(start, start + 500)]
        for part in model.draw(items, sampling=sampling):
            statistics = RunningStatistics().update(part["last"])
            assert statistics.mean_entropy is not None
            found.append((statistics.mean[0], statistics.variance[0], statistics.mean_entropy))
    for values, wanted, slack in zip(zip(*found, strict=True), (*truth, expected), (0.0, 1 / count, 0.0), strict=True):
        seen = np.array(values)
        error = 4.5 * seen.std(axis=0) / SEEDS**0.5
        above = slack if sampling == "stratified" else 0.0
        assert (seen.mean(axis=0) > wanted[0] - error).all()
        assert (seen.mean(axis=0) < wanted[0] * (1 + above) + error).all()


def test_several_last_masks_keep_prefixes_neighbours_and_passes() -> None:
    model = made(tiny_classes("softmax", 3), classes={"last": "probabilities"})
    x = rows(model, 5)
    whole = model.summary(x, n_samples=70, seed=9)["last"]
    kept_run = complete(MonteCarloRun(x, ["last"], row_passes=1000, n_samples=70, seed=9, keep_passes=True), model)
    assert_allclose(kept_run.passes["last"], model.sample(x, n_samples=70, seed=9)["last"], rtol=1e-6, atol=1e-7)
    pieces = model.summary(x, n_samples=70, seed=9, row_passes=64)["last"]
    alone = model.summary({"x": x["x"][2:3]}, n_samples=70, seed=9)["last"]
    first = model.draw([BatchItem(5, 9, 0, 32, inputs=x)])[0]["last"]
    rest = model.draw([BatchItem(5, 9, 32, 38, inputs=x), BatchItem(5, 4, 0, 6, inputs=x)])[0]["last"]
    joined = RunningStatistics().update(first).update(rest)
    for other, which in (
        (kept_run.statistics()["last"], slice(None)), (pieces, slice(None)), (alone, slice(2, 3)), (joined, slice(None))
    ):  # fmt: skip
        for name in ("mean", "variance", "mean_probabilities", "mean_entropy"):
            assert_allclose(getattr(other, name), getattr(whole, name)[which], rtol=1e-4, atol=1e-7)


def test_maps_of_classes_have_several_last_masks() -> None:
    def build() -> Any:
        x = inputs = keras.Input((6, 6, 2), name="x")
        x = L.SpatialDropout2D(0.3)(L.Conv2D(5, 3, padding="same", activation="relu")(x))
        return keras.Model(inputs, L.Conv2D(3, 1, activation="softmax", name="y")(x))

    model = made(build, classes={"y": "probabilities"})
    assert model.made == {"y": "more_masks"}, model.closed_forms.reasons
    x = rows(model, 2)
    best = model.summary(x, n_samples=3000, seed=1)["y"]
    plain = model.summary(x, n_samples=3000, seed=2, sampling="independent", estimator="passes")["y"]
    assert_allclose(best.mean, plain.mean, atol=6 * float(plain.error_of_passes.max()))
    assert_allclose(best.variance.mean(), plain.variance.mean(), rtol=0.1)


def test_several_last_masks_tell_more_than_one() -> None:
    model = made(tiny_classes("softmax", 3), classes={"last": "probabilities"})
    x = rows(model, 4)
    mean, variance = enumerated(model.keras_model, x["x"].astype(np.float64), softmax)
    squares = {}
    for estimator in ("best", "passes"):
        found = [model.summary(x, n_samples=BLOCK, seed=s, estimator=estimator)["last"] for s in range(200)]
        squares[estimator] = (
            np.mean([(s.mean - mean) ** 2 for s in found]), np.mean([(s.variance - variance) ** 2 for s in found])
        )  # fmt: skip
    assert squares["best"][0] < squares["passes"][0]
    assert squares["best"][1] < squares["passes"][1] / 1.5
