"""Each kind of site against its law: the noise's mean and variance, the survivors' exact scale, the noise's shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from thinned.models.dropout import StochasticModel, enable_mc_dropout

L = keras.layers
N = 4000


def stochastic(*layers: Any, shape: tuple[int | None, ...]) -> StochasticModel:
    return enable_mc_dropout(keras.Sequential([keras.Input(shape), *layers]))


def draw(model: StochasticModel, x: np.ndarray, n: int = N) -> np.ndarray:
    """Passes of a model with one input and one output, (S, B, ...)."""
    (passes,) = model.sample({model.inputs[0].name: x}, n_samples=n, seed=7).values()
    return passes


def answer(model: StochasticModel, x: np.ndarray) -> np.ndarray:
    (values,) = model.predict({model.inputs[0].name: x}).values()
    return values


def bound(n: int, spread: float = 1.0) -> float:
    """Five standard errors of a mean of n draws: passes by chance less than once in a million."""
    return 5 * spread / n**0.5


@pytest.mark.parametrize("rate", [0.5, 0.25, 0.3, 0.013, 0.9999999, 1e-6, 0.37])
def test_dropout_has_its_rate_and_its_exact_scale(rate: float) -> None:
    units = 500
    passes = draw(stochastic(L.Dropout(rate), shape=(units,)), np.ones((2, units), "float32"), 400)
    kept = passes > 0
    assert set(np.unique(passes)) <= {np.float32(0), np.float32(1 / (1 - rate))}
    np.testing.assert_array_equal(kept[:, 0], kept[:, 1])  # one mask a pass, for all rows
    assert abs(kept[:, 0].mean() - (1 - rate)) <= bound(400 * units, (rate * (1 - rate)) ** 0.5)


def test_survivors_are_scaled_as_keras_scales_them() -> None:
    x = np.random.default_rng(0).normal(size=(1, 300)).astype("float32")
    layer = L.Dropout(0.3)
    own = layer(x, training=True).numpy()
    ours = draw(stochastic(layer, shape=(300,)), x, 5)
    both = (own[0] != 0) & (ours[0, 0] != 0)
    assert both.sum() > 50
    np.testing.assert_array_equal(own[0][both], ours[0, 0][both])


def test_units_of_a_pass_and_passes_of_a_unit_are_independent() -> None:
    units = 40
    kept = draw(stochastic(L.Dropout(0.4), shape=(units,)), np.ones((1, units), "float32"))[:, 0] > 0
    for correlations in (np.corrcoef(kept.T), np.corrcoef(kept[:600])):
        off = correlations[~np.eye(len(correlations), dtype=bool)]
        n = N if len(correlations) == units else units
        assert abs(off.mean()) < 5 / (n * off.size / 2) ** 0.5
        assert np.abs(off).max() < 6.5 / n**0.5


def test_two_sites_and_two_calls_draw_apart() -> None:
    inputs = keras.Input((60,))
    shared = L.Dropout(0.5)
    parts = [shared(inputs), shared(inputs), L.Dropout(0.5)(inputs)]
    model = enable_mc_dropout(keras.Model(inputs, L.Concatenate()(parts)))
    kept = draw(model, np.ones((1, 60), "float32"), 200)[:, 0].reshape(200, 3, 60) > 0
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert abs((kept[:, i] == kept[:, j]).mean() - 0.5) < bound(200 * 60, 0.5)


def test_rate_one_is_refused_by_the_proof_but_drops_all() -> None:
    assert (draw(stochastic(L.Dropout(1.0), shape=(4,)), np.ones((1, 4), "float32"), 3) == 0).all()


@pytest.mark.parametrize(
    ("layer", "shape", "varies"),
    [
        (lambda: L.Dropout(0.5), (6, 5), (6, 5)),
        (lambda: L.Dropout(0.5, noise_shape=(None, 1, 5)), (6, 5), (1, 5)),
        (lambda: L.Dropout(0.5, noise_shape=(None, 6, 1)), (6, 5), (6, 1)),
        (lambda: L.Dropout(0.5, noise_shape=(1, 6, 5)), (6, 5), (6, 5)),
        (lambda: L.Dropout(0.5, noise_shape=(None, 1, 1)), (6, 5), (1, 1)),
        (lambda: L.SpatialDropout1D(0.5), (6, 5), (1, 5)),
        (lambda: L.SpatialDropout2D(0.5), (3, 4, 5), (1, 1, 5)),
        (lambda: L.SpatialDropout2D(0.5, data_format="channels_first"), (5, 3, 4), (5, 1, 1)),
        (lambda: L.SpatialDropout3D(0.5), (2, 3, 4, 5), (1, 1, 1, 5)),
        (lambda: L.AlphaDropout(0.5, noise_shape=(None, 1, 5)), (6, 5), (1, 5)),
    ],
)
def test_noise_has_the_declared_shape(
    layer: Callable[[], Any], shape: tuple[int, ...], varies: tuple[int, ...]
) -> None:
    model = stochastic(layer(), shape=shape)
    passes = draw(model, np.ones((2, *shape), "float32"), 300)
    assert model.sites[0].shape == varies
    corner = passes[(slice(None), slice(None), *(slice(0, n) for n in varies))]
    np.testing.assert_array_equal(passes, np.broadcast_to(corner, passes.shape))  # shared along the axes of length 1
    np.testing.assert_array_equal(passes[:, 0], passes[:, 1])
    flat = corner[:, 0].reshape(300, -1)
    assert np.abs((flat > 0).mean(axis=0) - 0.5).max() < bound(300, 0.5)
    if flat.shape[1] > 1:
        assert (flat[:, 0] != flat[:, 1]).any()  # but not along the others


def test_gaussian_dropout_multiplies() -> None:
    x = np.full((1, 50), 2.0, "float32")
    noise = draw(stochastic(L.GaussianDropout(0.3), shape=(50,)), x) / 2.0
    variance = 0.3 / 0.7
    assert abs(noise.mean() - 1) < bound(noise.size, variance**0.5)
    assert abs(noise.var() / variance - 1) < bound(noise.size, 2**0.5)


def test_gaussian_noise_adds() -> None:
    x = np.full((1, 50), 2.0, "float32")
    noise = draw(stochastic(L.GaussianNoise(0.4), shape=(50,)), x) - 2.0
    assert abs(noise.mean()) < bound(noise.size, 0.4)
    assert abs(noise.var() / 0.16 - 1) < bound(noise.size, 2**0.5)


def test_alpha_dropout_keeps_mean_and_variance_and_takes_keras_own_values() -> None:
    x = np.random.default_rng(1).normal(size=(1, 400)).astype("float32")
    layer = L.AlphaDropout(0.2)
    passes = draw(stochastic(layer, shape=(400,)), x)[:, 0]
    own = layer(x, training=True).numpy()[0]
    low, high = passes.min(axis=0), passes.max(axis=0)
    is_low = np.abs(own - low) < 1e-5
    is_high = np.abs(own - high) < 1e-5
    assert (is_low | is_high).all()
    assert passes.std(axis=0).min() > 0
    standard = draw(
        stochastic(layer, shape=(20000,)), np.random.default_rng(2).normal(size=(1, 20000)).astype("float32"), 50
    )
    assert abs(standard.mean()) < 0.02
    assert abs(standard.var() - 1) < 0.02


def test_attention_weights_are_dropped_and_scaled() -> None:
    query, value = keras.Input((2, 3), name="q"), keras.Input((4, 3), name="v")
    model = enable_mc_dropout(keras.Model([query, value], L.Attention(dropout=0.25)([query, value])))
    inputs = {"q": np.zeros((1, 2, 3), "float32"), "v": np.eye(4, 3, dtype="float32")[None]}
    (passes,) = model.sample(inputs, n_samples=N, seed=3).values()
    weights = passes[:, 0]  # equal scores: each weight is 1/4, dropped or scaled
    assert set(np.unique(weights.round(6))) == {0.0, np.float32(0.25 / 0.75).round(6)}
    assert abs((weights == 0).mean() - 0.25) < bound(weights.size, 0.433)


def test_multi_head_attention_drops_its_weights() -> None:
    inputs = keras.Input((5, 4))
    model = enable_mc_dropout(keras.Model(inputs, L.MultiHeadAttention(2, 2, dropout=0.3)(inputs, inputs)))
    assert [site.kind for site in model.sites] == ["Dropout"]
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    mean = draw(model, x, 8000).mean(axis=0)
    np.testing.assert_allclose(mean, answer(model, x), atol=0.05)  # linear in the weights: the mean is kept


CELLS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "SimpleRNN": (lambda **k: L.SimpleRNN(3, activation="linear", return_sequences=True, **k), (4, 3)),
    "GRU": (lambda **k: L.GRU(3, return_sequences=True, **k), (4, 3)),
    "LSTM": (lambda **k: L.LSTM(3, return_sequences=True, **k), (4, 3)),
    "ConvLSTM2D": (lambda **k: L.ConvLSTM2D(2, 1, return_sequences=True, **k), (3, 2, 2, 2)),
    "Bidirectional": (lambda **k: L.Bidirectional(L.LSTM(3, return_sequences=True, **k)), (4, 3)),
    "StackedRNNCells": (lambda **k: L.RNN([L.GRUCell(3, **k), L.LSTMCell(3, **k)], return_sequences=True), (4, 3)),
}


@pytest.mark.parametrize("site", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize("name", CELLS)
def test_recurrent_sites_vary_alone_and_agree_with_keras(name: str, site: str) -> None:
    """Mean and spread over our passes are those of Keras's own training calls, site by site."""
    make, shape = CELLS[name]
    layer = make(**{site: 0.4})
    model = stochastic(layer, shape=shape)
    assert {s.kind.split()[1] for s in model.sites} == {site}
    x = np.random.default_rng(0).normal(size=(1, *shape)).astype("float32")
    ours = draw(model, x, 3000)[:, 0]
    # Keras draws anew for each row: one call on many equal rows is as many draws.
    own = layer(np.repeat(x, 3000, axis=0), training=True).numpy()
    error = np.sqrt((ours.var(axis=0) + own.var(axis=0)) / 3000) + 1e-6
    assert (np.abs(ours.mean(axis=0) - own.mean(axis=0)) / error).max() < 6
    np.testing.assert_allclose(ours.std(axis=0), own.std(axis=0), rtol=0.15, atol=1e-3)


def test_recurrent_dropout_keeps_one_mask_through_a_sequence() -> None:
    layer = L.SimpleRNN(1, activation="linear", use_bias=False, dropout=0.5, return_sequences=True)
    model = stochastic(layer, shape=(6, 1))
    layer.set_weights([np.ones((1, 1)), np.zeros((1, 1))])
    steps = draw(model, np.ones((2, 6, 1), "float32"), 200)[..., 0]
    assert set(np.unique(steps)) == {0.0, 2.0}
    np.testing.assert_array_equal(steps, np.broadcast_to(steps[:, :1, :1], steps.shape))


def test_time_distributed_steps_have_noise_of_their_own() -> None:
    for length in (5, None):
        model = stochastic(L.TimeDistributed(L.Dropout(0.5)), shape=(length, 3))
        kept = draw(model, np.ones((2, 5, 3), "float32"), 500) > 0
        np.testing.assert_array_equal(kept[:, 0], kept[:, 1])
        assert abs((kept[:, 0, 0] == kept[:, 0, 1]).mean() - 0.5) < bound(1500, 0.5)


def test_rows_folded_from_windows_have_noise_of_their_own() -> None:
    inputs = keras.Input((4, 3))
    x = L.Dropout(0.5)(keras.ops.reshape(inputs, (-1, 3)))
    model = enable_mc_dropout(keras.Model(inputs, keras.ops.reshape(x, (-1, 4, 3))))
    kept = draw(model, np.ones((3, 4, 3), "float32"), 500) > 0
    np.testing.assert_array_equal(kept[:, 0], kept[:, 2])
    assert abs((kept[:, 0, 0] == kept[:, 0, 1]).mean() - 0.5) < bound(1500, 0.5)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.Dropout(0.0),
        lambda: L.GaussianDropout(0.0),
        lambda: L.GaussianNoise(0.0),
        lambda: L.AlphaDropout(0.0),
        lambda: L.SpatialDropout1D(0.0),
        lambda: L.LSTM(3, dropout=0.0),
    ],
)
def test_rate_zero_is_no_site(layer: Callable[[], Any]) -> None:
    assert stochastic(layer(), shape=(4, 3)).sites == ()


@pytest.mark.parametrize("layer", [L.Dropout, L.SpatialDropout1D, L.AlphaDropout, L.GaussianDropout, L.GaussianNoise])
def test_identity_when_off(layer: Callable[[float], Any]) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    np.testing.assert_array_equal(answer(stochastic(layer(0.4), shape=(4, 5)), x), x)


def test_a_linear_network_meets_its_closed_form() -> None:
    """Mean x W + b and variance r / (1 - r) * x^2 W^2, within Monte Carlo error at N = 20,000."""
    n, rate = 20000, 0.3
    dense = L.Dense(2)
    model = stochastic(L.Dropout(rate), dense, shape=(8,))
    x = np.random.default_rng(3).normal(size=(3, 8)).astype("float32")
    weights, bias = (variable.numpy().astype("float64") for variable in dense.weights)
    passes = draw(model, x, n).astype("float64")
    mean = x @ weights + bias
    variance = rate / (1 - rate) * x.astype("float64") ** 2 @ weights**2
    assert (np.abs(passes.mean(axis=0) - mean) < bound(n, 1) * np.sqrt(variance)).all()
    fourth = ((passes - passes.mean(axis=0)) ** 4).mean(axis=0)
    error = np.sqrt((fourth - variance**2) / n)
    assert (np.abs(passes.var(axis=0, ddof=1) - variance) < 5 * error).all()


@pytest.mark.parametrize("length", [4, None])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_time_distributed_answers_as_keras_does(length: int | None, masked: bool, dropout: float) -> None:
    keras.utils.set_random_seed(2)
    inputs = keras.Input((length, 3))
    x = L.Masking()(inputs) if masked else inputs
    inner = keras.Sequential([keras.Input((3,)), L.Dense(4, "tanh"), L.Dropout(dropout), L.Dense(2, "softmax")])
    model = keras.Model(inputs, L.TimeDistributed(inner)(x))
    stochastic = enable_mc_dropout(model)
    assert stochastic.outputs[0].activation == "softmax"
    x = np.random.default_rng(0).standard_normal((5, 4, 3)).astype(np.float32)
    x[1, 2:] = 0.0
    rows = {stochastic.inputs[0].name: x}
    np.testing.assert_allclose(next(iter(stochastic.predict(rows).values())), model(x, training=False), atol=1e-6)
    if dropout:
        passes = next(iter(stochastic.sample(rows, n_samples=64, seed=1).values()))
        assert (passes[:, 0].std(axis=0).max(axis=-1) > 0).all()  # every step has noise
        assert not np.allclose(passes[:, 0, 0], passes[:, 0, 1])  # of its own
