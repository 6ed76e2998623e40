"""Monte Carlo standard errors are the spread that repeating the passes shows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from thinned.models.uncertainty import EntropyMoments, error_of_mean, error_of_variance, errors_of_entropies, softmax

REPEATS = 4000


def test_errors_of_mean_and_variance_are_the_spread_over_repeats() -> None:
    passes = np.random.default_rng(0).gamma(2.0, size=(50, REPEATS))
    assert_allclose(error_of_mean(passes).mean(), passes.mean(axis=0).std(), rtol=0.05)
    variances = passes.var(axis=0, ddof=1)
    assert_allclose(np.sqrt((error_of_variance(passes) ** 2).mean()), variances.std(), rtol=0.15)


def test_errors_of_entropies_are_the_spread_over_repeats() -> None:
    draw = np.random.default_rng(1)
    passes = softmax(draw.normal([1.0, 0.0, -0.5], 0.8, size=(200, REPEATS, 3)))
    found = EntropyMoments().update(passes)
    errors = errors_of_entropies(passes)
    for name in ("predictive_entropy", "expected_entropy", "mutual_information"):
        assert_allclose(getattr(errors, name).mean(), getattr(found, name).std(), rtol=0.06)


@given(arrays(np.float64, (6, 3), elements=st.floats(-1e3, 1e3)), st.floats(-10, 10))
def test_errors_scale_with_the_passes(passes: np.ndarray, factor: float) -> None:
    assert_allclose(error_of_mean(factor * passes), abs(factor) * error_of_mean(passes), rtol=1e-6, atol=1e-9)
    expected = factor**2 * error_of_variance(passes)
    assert_allclose(error_of_variance(factor * passes), expected, rtol=1e-5, atol=1e-4)


def test_passes_that_agree_leave_no_error() -> None:
    same = np.tile([[0.2, 0.8], [1.0, 0.0]], (5, 1, 1))
    assert_allclose(np.stack(errors_of_entropies(same)), 0.0, atol=1e-15)
    assert_allclose(error_of_variance(same), 0.0, atol=1e-15)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="2 or more passes, received 1"):
        error_of_mean(np.ones((1, 3)))
    with pytest.raises(ValueError, match="4 or more"):
        error_of_variance(np.ones((3, 3)))
    with pytest.raises(ValueError, match="C >= 2"):
        errors_of_entropies(np.ones((3, 3, 1)))
