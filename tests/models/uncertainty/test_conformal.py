"""Conformal answers hold the target as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from thinned.models.uncertainty.conformal import (
    factor_for,
    interval,
    least_rows,
    scaled_scores,
    thin,
)


@given(st.integers(1, 300), st.floats(0.05, 0.95), st.integers(0, 2**31))
def test_of_all_places_for_a_new_score_the_stated_share_lies_within(n: int, coverage: float, seed: int) -> None:
    """Exact, not statistical: a new row is equally likely to be any of the n + 1."""
    scores = np.random.default_rng(seed).normal(size=n + 1)
    if n < least_rows(coverage):
        with pytest.raises(ValueError, match="calibration rows"):
            factor_for(np.sort(scores[1:]), coverage)
        return
    held = [scores[i] <= factor_for(np.sort(np.delete(scores, i)), coverage) for i in range(n + 1)]
    assert coverage - 1e-9 <= np.mean(held) <= coverage + 1 / (n + 1)


@given(st.integers(2, 500), st.integers(1, 60), st.floats(0.05, 0.95))
def test_thinning_never_lowers_a_factor(n: int, most: int, coverage: float) -> None:
    scores = np.random.default_rng(n).normal(size=(n, 2))
    kept = thin(scores, most)
    assert len(kept) == min(n, most)
    assert_array_equal(kept[-1], scores.max(axis=0))
    if n >= least_rows(coverage):
        assert (factor_for(kept, coverage, rows=n) >= factor_for(np.sort(scores, axis=0), coverage)).all()


def test_an_interval_is_where_scores_stay_below_the_factor() -> None:
    draw = np.random.default_rng(1)
    targets, mean, variance = draw.normal(size=(50, 1)), draw.normal(size=(50, 1)), draw.uniform(0.1, 2, (50, 1))
    lower, upper = interval(mean, variance, 1.3)
    inside = (targets >= lower) & (targets <= upper)
    assert_array_equal(inside, scaled_scores(targets, mean, variance) <= 1.3)
    assert_allclose(upper - lower, 2.6 * np.sqrt(variance))


def test_coverage_needs_rows() -> None:
    assert [least_rows(c) for c in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    with pytest.raises(ValueError, match="needs 19 or more"):
        factor_for(np.arange(18.0), 0.95)
    with pytest.raises(ValueError, match="between 0 and 1"):
        factor_for(np.arange(18.0), 1.0)
