"""Both ways of sampling: each pass is an exact draw, and stratified blocks hold what they promise."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from thinned.models.dropout import StochasticModel, enable_mc_dropout
from thinned.models.dropout.noise.philox import RandomWords
from thinned.models.dropout.noise.samplers import make_sampler
from thinned.models.sampling import BLOCK, Sampling

L = keras.layers
BOTH: tuple[Sampling, ...] = ("stratified", "independent")
RATES = [0.5, 0.25, 0.1, 0.3, 0.013, 0.97]


def source(sampling: Sampling, n: int, *, seed: int = 1, first: int = 0):
    words = RandomWords(tf.constant([seed], tf.int64))
    return make_sampler(sampling, words, tf.constant([first], tf.int64), tf.constant(n))


def dropped(sampling: Sampling, rate: float, units: int, n: int, *, seed: int = 1, first: int = 0) -> np.ndarray:
    """(n, units) booleans."""
    return source(sampling, n, seed=seed, first=first).dropped_alike(7, rate, units).numpy()[:, 0]


@pytest.mark.parametrize("sampling", BOTH)
@pytest.mark.parametrize("rate", RATES)
def test_each_pass_drops_at_its_rate(sampling: Sampling, rate: float) -> None:
    """Chi-square over the 32 places of a block, each with 100,000 draws: no place is likelier than another."""
    units = 100_000
    counts = dropped(sampling, rate, units, BLOCK).sum(axis=1)
    expected = units * rate
    assert (np.abs(counts - expected) < 5 * (expected * (1 - rate)) ** 0.5).all()
    statistic = ((counts - expected) ** 2 / (expected * (1 - rate))).sum()
    # In a stratified block the places share a total that is all but fixed: one degree of freedom less.
    freedom = BLOCK - (sampling == "stratified")
    assert 1e-6 < stats.chi2.sf(statistic, freedom) < 1 - 1e-6


@pytest.mark.parametrize("sampling", BOTH)
@pytest.mark.parametrize("rate", [0.5, 0.3, 0.1])
def test_units_of_a_pass_are_pairwise_independent(sampling: Sampling, rate: float) -> None:
    """Chi-square of 2 x 2 tables for neighbouring and distant units of the same passes, 100,000 draws each."""
    units, n = 12, 100_000
    gone = dropped(sampling, rate, units, n)
    # Passes of a block are not independent draws: take the same place of each block, and as many seeds as it needs.
    seeds = range(2, 34) if sampling == "stratified" else range(0)
    draws = [gone[::BLOCK]] if sampling == "stratified" else [gone]
    draws += [dropped(sampling, rate, units, n, seed=seed)[seed % BLOCK :: BLOCK] for seed in seeds]
    gone = np.concatenate(draws)[:n]
    for a, b in itertools.combinations(range(units), 2):
        table = np.array([[(gone[:, a] & gone[:, b]).sum(), (gone[:, a] & ~gone[:, b]).sum()],
                          [(~gone[:, a] & gone[:, b]).sum(), (~gone[:, a] & ~gone[:, b]).sum()]])  # fmt: skip
        assert stats.chi2_contingency(table, correction=False).pvalue > 1e-6


@pytest.mark.parametrize("rate", RATES)
def test_a_stratified_unit_is_dropped_the_floor_or_the_ceiling_of_32_r_times(rate: float) -> None:
    counts = dropped("stratified", rate, 20_000, 3 * BLOCK).reshape(3, BLOCK, -1).sum(axis=1)
    assert set(np.unique(counts)) <= {int(np.floor(BLOCK * rate)), int(np.ceil(BLOCK * rate))}
    part = BLOCK * rate % 1
    assert abs(counts.mean() - BLOCK * rate) <= 5 * (part * (1 - part) / counts.size) ** 0.5 + 1e-9


def test_places_of_two_units_and_of_two_blocks_are_independent() -> None:
    gone = dropped("stratified", 0.5, 4000, 2 * BLOCK).astype(float) - 0.5
    for a, b in ((gone[:BLOCK, :2000], gone[:BLOCK, 2000:]), (gone[:BLOCK], gone[BLOCK:])):
        overlap = (a * b).sum(axis=0)
        assert abs(overlap.mean()) < 5 * overlap.std() / overlap.size**0.5


@pytest.mark.parametrize("sampling", BOTH)
@pytest.mark.parametrize(("first", "n"), [(0, 10), (0, 32), (5, 40), (31, 2), (32, 33), (100, 1)])
def test_passes_are_the_same_wherever_a_draw_begins(sampling: Sampling, first: int, n: int) -> None:
    whole = source(sampling, 200)
    part = source(sampling, n, first=first)
    for method in ("dropped", "uniforms", "normals"):
        if method == "dropped":
            a, b = (s.dropped_alike(3, 0.3, 50).numpy() for s in (whole, part))
        else:
            a, b = (getattr(s, method)(3, 50).numpy() for s in (whole, part))
        # The inverse of the normal distribution function rounds by where a number stands in the processor's vectors.
        np.testing.assert_allclose(a[first : first + n], b, rtol=1e-6 if method == "normals" else 0, atol=0)


@pytest.mark.parametrize("sampling", BOTH)
def test_noise_is_standard_normal_and_uniform_in_each_pass(sampling: Sampling) -> None:
    drawn = source(sampling, BLOCK)
    normals, uniforms = (getattr(drawn, name)(5, 20_000).numpy()[:, 0] for name in ("normals", "uniforms"))
    assert uniforms.min() > 0
    assert uniforms.max() < 1
    for one in normals[:: BLOCK // 4]:
        assert stats.kstest(one, "norm").pvalue > 1e-6
    for one in uniforms[:: BLOCK // 4]:
        assert stats.kstest(one, "uniform").pvalue > 1e-6
    assert np.isfinite(normals).all()


def test_stratified_uniforms_come_once_from_each_slice() -> None:
    uniforms = source("stratified", 2 * BLOCK).uniforms(5, 100).numpy()[:, 0].reshape(2, BLOCK, 100)
    slices = np.sort(np.floor(uniforms * BLOCK).astype(int), axis=1)
    np.testing.assert_array_equal(slices, np.broadcast_to(np.arange(BLOCK)[:, None], slices.shape))


@pytest.mark.parametrize("sampling", BOTH)
def test_several_requests_in_one_graph_draw_what_each_draws_alone(sampling: Sampling) -> None:
    owners = [0, 2, 1, 1]
    words = RandomWords(tf.constant([4, 9, 4], tf.int64), tf.constant(owners))
    joined = make_sampler(sampling, words, tf.constant([0, 64, 32], tf.int64), tf.constant(40))
    alone = [source(sampling, 40, seed=seed, first=first) for seed, first in ((4, 0), (9, 64), (4, 32))]
    for name in ("dropped", "normals"):
        args = (3, 0.3, 50) if name == "dropped" else (3, 50)
        method = "dropped_alike" if name == "dropped" else name
        together = getattr(joined, method)(*args).numpy()
        for row, owner in enumerate(owners):
            np.testing.assert_array_equal(together[:, row], getattr(alone[owner], method)(*args).numpy()[:, 0])


def network() -> tuple[StochasticModel, dict[str, np.ndarray]]:
    keras.utils.set_random_seed(5)
    x = inputs = keras.Input((6,))
    for _ in range(2):
        x = L.Dropout(0.3)(L.Dense(24, "relu")(x))
    stochastic = enable_mc_dropout(keras.Model(inputs, L.Dense(1)(x)))
    return stochastic, {stochastic.inputs[0].name: np.random.default_rng(0).normal(size=(4, 6)).astype("float32")}


def test_the_stratified_mean_is_unbiased_and_its_variance_nearly_so() -> None:
    stochastic, x = network()
    (reference,) = stochastic.sample(x, n_samples=60_000, seed=10**6, sampling="independent").values()
    mean, variance = reference.mean(axis=0), reference.var(axis=0, ddof=1)
    means, variances = [], []
    for seed in range(600):
        (passes,) = stochastic.sample(x, n_samples=BLOCK, seed=seed).values()
        means.append(passes.mean(axis=0))
        variances.append(passes.var(axis=0, ddof=1))
    error = np.sqrt(np.var(means, axis=0) / 600 + variance / 60_000)
    assert (np.abs(np.mean(means, axis=0) - mean) < 5 * error).all()
    error = np.std(variances, axis=0) / 600**0.5 + variance * (2 / 60_000) ** 0.5
    bias = np.mean(variances, axis=0) / variance - 1
    # s^2 is unbiased up to the covariance between passes, which is at least -variance / (S - 1).
    assert (np.abs(bias) < 1 / BLOCK + 5 * error / variance).all()
    assert np.var(means) > 0


def test_stratified_passes_have_the_smaller_error() -> None:
    stochastic, x = network()
    errors = {}
    for sampling in BOTH:
        means = [
            next(iter(stochastic.sample(x, n_samples=BLOCK, seed=seed, sampling=sampling).values())).mean(axis=0)
            for seed in range(300)
        ]
        errors[sampling] = np.var(means, axis=0).mean()
    assert errors["independent"] > 1.5 * errors["stratified"]


@pytest.mark.parametrize("sampling", BOTH)
def test_pooled_masks_are_those_of_the_layout_and_sites_differ(sampling: Sampling) -> None:
    """Small masks are drawn together; each still has its own rate and its own units."""
    inputs = keras.Input((300,))
    parts = [L.Dropout(rate)(inputs) for rate in (0.1, 0.5, 0.9)]
    stochastic = enable_mc_dropout(keras.Model(inputs, L.Concatenate()(parts)))
    x = {stochastic.inputs[0].name: np.ones((1, 300), "float32")}
    (passes,) = stochastic.sample(x, n_samples=640, seed=0, sampling=sampling).values()
    gone = (passes[:, 0] == 0).reshape(640, 3, 300)
    np.testing.assert_allclose(gone.mean(axis=(0, 2)), (0.1, 0.5, 0.9), atol=0.006)
    for i, j in ((0, 1), (1, 2)):
        together = (gone[:, i] & gone[:, j]).mean()
        assert abs(together - gone[:, i].mean() * gone[:, j].mean()) < 0.005
