"""Moments over blocks are those of all passes, and the stated error covers the true one as often as it says."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from thinned.models.dropout import BLOCK, Sampling, enable_mc_dropout
from thinned.models.uncertainty import BlockMoments

L = keras.layers
LEVEL = 0.95


def pieces_of(passes: np.ndarray, cuts: list[int], size: int) -> BlockMoments:
    """Feed passes in runs that end at `cuts`, each run cut at the borders of blocks as summaries are."""
    moments = BlockMoments(size)
    ends = [*sorted({c for c in cuts if 0 < c < len(passes)}), len(passes)]
    start = 0
    for end in ends:
        borders = [start, *range((start // size + 1) * size, end, size), end]
        blocks = [passes[a:b] for a, b in itertools.pairwise(borders)]
        moments.update(
            start,
            np.array([len(block) for block in blocks]),
            np.stack([block.mean(axis=0) for block in blocks]),
            np.stack([((block - block.mean(axis=0)) ** 2).sum(axis=0) for block in blocks]),
        )
        start = end
    return moments


@given(
    n=st.integers(2, 90),
    cuts=st.lists(st.integers(1, 89), max_size=5),
    size=st.sampled_from([1, 4, 8, 32]),
    shift=st.sampled_from([0.0, 1e6]),
)
def test_blocks_give_the_moments_of_all_passes(n: int, cuts: list[int], size: int, shift: float) -> None:
    passes = np.random.default_rng(n).normal(size=(n, 3)) + shift
    moments = pieces_of(passes, cuts, size)
    assert moments.count == n
    np.testing.assert_allclose(moments.mean, passes.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.variance, passes.var(axis=0, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(moments.error_of_passes, passes.std(axis=0, ddof=1) / n**0.5, rtol=1e-6)
    if moments.enough_blocks():
        whole = passes[: n // size * size].reshape(-1, size, 3).mean(axis=1)
        alike = pieces_of(passes[: len(whole) * size], [], size).error_of_blocks
        widening = stats.t.ppf(0.975, len(whole) - 1) / stats.norm.ppf(0.975)
        np.testing.assert_allclose(alike, whole.std(axis=0, ddof=1) / len(whole) ** 0.5 * widening, rtol=5e-3)


def test_too_few_blocks_and_passes_out_of_order_are_refused() -> None:
    moments = pieces_of(np.ones((3 * 8 + 5, 2)), [], 8)
    with pytest.raises(ValueError, match="4 full blocks"):
        _ = moments.error_of_blocks
    with pytest.raises(ValueError, match="passes from 29 on"):
        moments.update(40, np.array([1]), np.ones((1, 2)), np.zeros((1, 2)))


@pytest.fixture(scope="module")
def network() -> tuple[Any, dict[str, np.ndarray], np.ndarray]:
    """An stochastic network, rows, and the mean over so many passes that its own error does not count."""
    keras.utils.set_random_seed(8)
    x = inputs = keras.Input((5,))
    for _ in range(2):
        x = L.Dropout(0.2)(L.Dense(32, "relu")(x))
    stochastic = enable_mc_dropout(keras.Model(inputs, L.Dense(1)(x)))
    rows = {stochastic.inputs[0].name: np.random.default_rng(1).normal(size=(4, 5)).astype("float32")}
    total = BlockMoments(BLOCK)
    for piece in stochastic.summarise(rows, n_samples=400_000, seed=10**9, budget=80_000):
        (summary,) = piece.outputs.values()
        total.update(piece.first, piece.counts, summary.mean, summary.deviations)
    return stochastic, rows, total.mean


@pytest.mark.parametrize(
    ("sampling", "n", "by_blocks"),
    [
        ("independent", 32, False),
        ("independent", 100, False),
        ("stratified", 32, False),
        ("stratified", 100, False),
        ("stratified", 128, True),
        ("stratified", 150, True),
        ("stratified", 320, True),
    ],
)
def test_the_stated_error_covers_the_true_one(network: Any, sampling: Sampling, n: int, by_blocks: bool) -> None:
    """Over 1,000 seeds, mean ± 1.96 standard errors holds the true mean 95 times in 100, or more often."""
    stochastic, rows, truth = network
    covered, errors, apart = [], [], []
    for seed in range(1000):
        moments = BlockMoments(BLOCK)
        for piece in stochastic.summarise(rows, n_samples=n, seed=seed, sampling=sampling):
            (summary,) = piece.outputs.values()
            moments.update(piece.first, piece.counts, summary.mean, summary.deviations)
        assert moments.enough_blocks() == (n >= 4 * BLOCK)
        error = moments.error_of_blocks if by_blocks else moments.error_of_passes
        covered.append(np.abs(moments.mean - truth) <= stats.norm.ppf((1 + LEVEL) / 2) * error)
        errors.append(error)
        apart.append(moments.mean - truth)
    share = np.mean(covered)
    assert share > LEVEL - 0.02
    true_error = np.sqrt(np.mean(np.square(apart)))
    stated = np.sqrt(np.mean(np.square(errors)))
    if by_blocks or sampling == "independent":
        assert 0.9 < stated / true_error < 1.75  # widest at 4 blocks, by Student's t
    else:
        assert stated > true_error  # too large, as documented: it does not know of the strata
