"""Intervals hold what they say, and none that does is shorter than the highest-density one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from thinned.models.uncertainty import central_interval, highest_density_interval, quantiles

Passes = st.integers(1, 30).flatmap(lambda s: arrays(np.float64, (s, 4), elements=st.floats(-1e6, 1e6)))
Shares = st.floats(0.01, 0.99)


@given(Passes, Shares)
def test_a_highest_density_interval_holds_its_share_and_is_the_shortest(passes: np.ndarray, share: float) -> None:
    lower, upper = highest_density_interval(passes, share)
    held = ((passes >= lower) & (passes <= upper)).sum(axis=0)
    needed = math.ceil(share * len(passes) - 1e-9)
    assert (held >= needed).all()
    for column in range(passes.shape[1]):
        for start in passes[:, column]:
            inside = np.sort(passes[passes[:, column] >= start, column])
            if len(inside) >= needed:
                assert upper[column] - lower[column] <= inside[needed - 1] - start + 1e-9


@given(Passes, Shares, st.floats(-100, 100))
def test_intervals_move_with_the_passes(passes: np.ndarray, share: float, shift: float) -> None:
    for find in (central_interval, highest_density_interval):
        lower, upper = find(passes, share)
        assert (lower <= upper).all()
        moved = find(passes + shift, share)
        assert_allclose(moved[1] - moved[0], upper - lower, atol=1e-6)


def test_known_intervals() -> None:
    passes = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 100.0])
    lower, upper = highest_density_interval(passes, 0.9)
    assert (lower, upper) == (0.0, 8.0)
    assert_allclose(central_interval(passes, 0.5), np.quantile(passes, [0.25, 0.75]))
    assert_allclose(quantiles(passes, (0.5,)), [4.5])


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="share between 0 and 1"):
        central_interval(np.ones(3), 1.0)
    with pytest.raises(ValueError, match="levels from 0 to 1"):
        quantiles(np.ones(3), (1.5,))
    with pytest.raises(ValueError, match="S >= 1"):
        quantiles(np.ones((0, 3)), (0.5,))
