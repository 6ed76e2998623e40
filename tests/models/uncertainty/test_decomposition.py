"""The parts of a variance add up, and are what the law of total variance says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from thinned.models.uncertainty import (
    decompose_gaussian,
    decompose_probabilities,
    decompose_values,
    softmax,
    split_gaussian,
)


@given(arrays(np.float64, (5, 3, 4), elements=st.floats(-20, 20)))
def test_class_variances_are_the_law_of_total_variance(logits: np.ndarray) -> None:
    passes = softmax(logits)
    found = decompose_probabilities(passes.mean(axis=0), passes.var(axis=0, ddof=1), 5)
    assert_allclose(found.epistemic, passes.var(axis=0), atol=1e-12)
    assert_allclose(found.aleatoric, (passes * (1 - passes)).mean(axis=0), atol=1e-12)
    assert_allclose(found.total, found.epistemic + found.aleatoric, atol=1e-15)
    assert (found.aleatoric >= 0).all()


def test_a_network_of_mean_and_log_variance_is_the_sampled_mixture() -> None:
    draw = np.random.default_rng(0)
    passes = np.concatenate([draw.normal(0, 2, (400, 1, 1)), draw.normal(0, 0.5, (400, 1, 1))], axis=-1)
    means, variances = split_gaussian(passes)
    targets = means + np.sqrt(variances) * draw.normal(size=(400, 500, 1))
    found = decompose_gaussian(passes)
    assert_allclose(found.total, targets.var(axis=(0, 1)).reshape(1, 1), rtol=0.02)
    assert_allclose(decompose_gaussian(passes, factor=3.0).aleatoric, 3 * found.aleatoric)
    assert_allclose(decompose_gaussian(passes, factor=3.0).epistemic, found.epistemic)


def test_noise_that_is_not_known_is_said_to_be_not_known() -> None:
    assert decompose_values(np.ones(3), None)[1:] == (None, None)
    assert_allclose(decompose_values(np.ones((2, 1)), 3.0).total, 4.0)


def test_log_variances_beyond_reason_stay_finite() -> None:
    _, variances = split_gaussian(np.array([0.0, 1e6]))
    assert np.isfinite(variances).all()


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="last axis"):
        split_gaussian(np.ones((4, 3)))
    with pytest.raises(ValueError, match="S >= 2"):
        decompose_gaussian(np.ones((1, 3, 2)))
    with pytest.raises(ValueError, match="2 or more"):
        decompose_probabilities(np.ones(1), np.ones(1), 1)
