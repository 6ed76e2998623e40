"""What rows share: covariances, and what a set of labels would tell."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from thinned.models.uncertainty import (
    EntropyMoments,
    covariance,
    entropy,
    joint_entropy,
    joint_mutual_information,
    rank_batch,
    softmax,
)

Logits = arrays(np.float64, (6, 3, 3), elements=st.floats(-8, 8))


@given(arrays(np.float64, (5, 3, 2), elements=st.floats(-1e3, 1e3)))
def test_a_covariance_is_symmetric_and_never_indefinite(passes: np.ndarray) -> None:
    found = covariance(passes)
    assert found.shape == (3, 2, 3, 2)
    square = found.reshape(6, 6)
    assert_allclose(square, square.T)
    assert np.linalg.eigvalsh(square).min() >= -1e-6 * max(1.0, square.max())
    assert_allclose(np.diagonal(square), passes.reshape(5, 6).var(axis=0, ddof=1), atol=1e-6)


@given(Logits)
def test_together_rows_tell_no_more_than_each_alone_and_no_less_than_one(logits: np.ndarray) -> None:
    passes = softmax(logits)
    alone = EntropyMoments().update(passes).mutual_information
    together = joint_mutual_information(passes)
    assert alone.max() - 1e-9 <= together <= alone.sum() + 1e-9


def test_joint_entropy_counts_every_outcome() -> None:
    passes = softmax(np.random.default_rng(0).normal(size=(4, 2, 3)))
    each = [(passes[:, 0, a] * passes[:, 1, b]).mean() for a, b in itertools.product(range(3), repeat=2)]
    assert_allclose(joint_entropy(passes), entropy(np.array(each)))


def test_a_row_that_tells_the_same_again_is_picked_last() -> None:
    """BatchBALD's point: the best rows alone may be twins."""
    draw = np.random.default_rng(2)
    first, second = draw.integers(0, 2, (2, 200))
    twin = np.eye(2)[first]
    other = 0.9 * np.eye(2)[second] + 0.05
    chosen, gains = rank_batch(np.stack([twin, twin, other], axis=1), 3)
    assert chosen[1] == 2
    assert np.isclose(gains[2], gains[1], atol=1e-9)
    assert gains[1] > gains[0]


@given(Logits)
def test_the_greedy_sum_is_the_joint_information(logits: np.ndarray) -> None:
    passes = softmax(logits)
    chosen, gains = rank_batch(passes, 3)
    assert sorted(chosen) == [0, 1, 2]
    assert_allclose(gains[-1], joint_mutual_information(passes), atol=1e-9)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="S >= 2"):
        covariance(np.ones((1, 3)))
    with pytest.raises(ValueError, match="from 1 to 3"):
        rank_batch(np.full((4, 3, 2), 0.5), 4)
    with pytest.raises(ValueError, match="take fewer"):
        joint_entropy(np.full((4, 40, 2), 0.5))
    with pytest.raises(ValueError, match=r"\(S, B, C\)"):
        joint_entropy(np.ones((4, 3)))
