"""Entropies keep their bounds, whatever the passes, and split as information theory says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from thinned.models.uncertainty import EntropyMoments, entropy, probabilities, softmax

Logits = st.integers(2, 7).flatmap(lambda c: arrays(np.float64, (5, 3, c), elements=st.floats(-60, 60)))


@given(Logits)
def test_an_entropy_lies_between_0_and_that_of_even_odds(logits: np.ndarray) -> None:
    found = entropy(softmax(logits))
    assert found.shape == (5, 3)
    assert (found >= 0).all()
    assert (found <= math.log(logits.shape[-1]) + 1e-12).all()


def test_known_entropies() -> None:
    rows = np.array([[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]])
    assert_allclose(entropy(rows), [0, math.log(4), math.log(2)], atol=1e-15)
    assert not np.signbit(entropy(rows)[0])
    assert_allclose(entropy(rows.T, axis=0), entropy(rows))


def test_rounding_beyond_1_gives_no_negative_entropy() -> None:
    assert entropy(np.array([np.float32(1.0000001), 0.0])) == 0.0


@given(Logits, st.integers(0, 5))
def test_mutual_information_lies_between_0_and_the_predictive_entropy(logits: np.ndarray, cut: int) -> None:
    passes = softmax(logits).astype(np.float32)
    found = EntropyMoments().update(passes[:cut]).update(passes[cut:])
    assert found.mutual_information.shape == (3,)
    assert (found.mutual_information >= 0).all()
    assert (found.mutual_information <= found.predictive_entropy).all()
    assert_allclose(found.mutual_information + found.expected_entropy, found.predictive_entropy, atol=1e-12)
    assert_allclose(found.predictive_entropy, entropy(passes.mean(axis=0, dtype=np.float64)), atol=1e-9)
    assert_allclose(found.expected_entropy, entropy(passes).mean(axis=0), atol=1e-6)


def test_passes_that_agree_share_no_information_and_those_that_are_sure_and_differ_share_all() -> None:
    agree = np.tile([0.3, 0.7], (8, 1, 1))
    differ = np.tile(np.eye(2)[:, None, :], (4, 1, 1))
    assert_allclose(EntropyMoments().update(agree).mutual_information, 0.0, atol=1e-12)
    assert_allclose(EntropyMoments().update(differ).mutual_information, math.log(2))
    assert_allclose(EntropyMoments().update(differ).expected_entropy, 0.0)


def test_axes_between_rows_and_classes_are_kept() -> None:
    passes = softmax(np.random.default_rng(0).normal(size=(4, 2, 3, 5)))
    assert EntropyMoments().update(passes).predictive_entropy.shape == (2, 3)


@given(Logits)
def test_softmax_gives_probabilities_and_ignores_a_shift(logits: np.ndarray) -> None:
    probs = softmax(logits)
    assert_allclose(probs.sum(axis=-1), 1.0)
    assert (probs >= 0).all()
    assert_allclose(softmax(logits + 1000.0), probs, atol=1e-9)


@given(arrays(np.float64, (4, 1), elements=st.floats(-700, 700)))
def test_one_unit_stands_for_two_classes(logit: np.ndarray) -> None:
    probs = probabilities(logit, "logits")
    assert_allclose(probs.sum(axis=-1), 1.0)
    with np.errstate(over="ignore"):
        assert_allclose(probs[:, 1:], 1 / (1 + np.exp(-logit)), atol=1e-12)
    assert_allclose(probabilities(probs[:, 1:], "probabilities"), probs, atol=1e-12)


def test_probabilities_are_left_alone_and_logits_are_not() -> None:
    values = np.array([[0.1, 0.9]])
    assert_array_equal(probabilities(values, "probabilities"), values)
    assert_allclose(probabilities(values, "logits"), softmax(values))


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="'probabilities' or 'logits', received 'values'"):
        probabilities(np.ones((1, 2)), "values")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(\.\.\., C\)"):
        probabilities(np.float64(0.5), "logits")
    with pytest.raises(ValueError, match="C >= 2"):
        EntropyMoments().update(np.ones((4, 3, 1)))
    with pytest.raises(ValueError, match="received"):
        EntropyMoments().update(np.ones((4, 3, 2))).update(np.ones((4, 2, 2)))
    with pytest.raises(ValueError, match="1 or more passes"):
        _ = EntropyMoments().predictive_entropy
