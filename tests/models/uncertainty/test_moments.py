"""Moments over blocks are those of all passes at once, however they are cut, and wherever they lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from thinned.models.uncertainty import Moments

Passes = st.integers(2, 24).flatmap(
    lambda s: arrays(np.float64, (s, 3), elements=st.floats(-1e6, 1e6, allow_subnormal=False))
)


@given(Passes)
def test_they_are_those_of_numpy(passes: np.ndarray) -> None:
    moments = Moments.of(passes)
    scale = np.abs(passes).max() + 1e-300
    assert moments.count == len(passes)
    assert_allclose(moments.mean, passes.mean(axis=0), rtol=1e-12, atol=1e-12 * scale)
    assert_allclose(moments.variance, passes.var(axis=0, ddof=1), rtol=1e-9, atol=1e-12 * scale**2)
    assert_allclose(moments.standard_error, np.sqrt(moments.variance / len(passes)))


@given(Passes, st.integers(0, 24), st.integers(0, 24))
def test_blocks_may_be_cut_anywhere(passes: np.ndarray, first: int, second: int) -> None:
    first, second = sorted((min(first, len(passes)), min(second, len(passes))))
    whole = Moments.of(passes)
    cut = Moments.of(passes[:first]).update(passes[first:second]).update(passes[second:])
    scale = np.abs(passes).max() + 1e-300
    assert cut.count == whole.count
    assert_allclose(cut.mean, whole.mean, rtol=1e-12, atol=1e-12 * scale)
    assert_allclose(cut.variance, whole.variance, rtol=1e-9, atol=1e-12 * scale**2)


@given(Passes, Passes, Passes)
def test_merging_is_associative_and_commutative(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    def of(*blocks: np.ndarray) -> Moments:
        merged = Moments()
        for block in blocks:
            merged.merge(Moments.of(block))
        return merged

    left = of(a, b).merge(Moments.of(c))
    scale = max(np.abs(x).max() for x in (a, b, c)) + 1e-300
    for other in (Moments.of(a).merge(of(b, c)), of(c, a, b)):
        assert other.count == left.count
        assert_allclose(other.mean, left.mean, rtol=1e-12, atol=1e-12 * scale)
        assert_allclose(other.variance, left.variance, rtol=1e-9, atol=1e-12 * scale**2)


@pytest.mark.parametrize("offset", [0.0, 1e8, -1e8])
def test_a_large_offset_loses_no_variance(offset: float) -> None:
    passes = np.random.default_rng(3).normal(size=(4000, 5)) + offset
    moments = Moments()
    for start in range(0, 4000, 7):
        moments.update(passes[start : start + 7])
    # A running mean near 1e8 is itself only known to 1e-8; nothing more is lost than that.
    exact = (passes - offset).var(axis=0, ddof=1)
    assert_allclose(moments.variance, exact, rtol=1e-8 if offset else 1e-12)
    assert_allclose(moments.mean - offset, (passes - offset).mean(axis=0), atol=1e-6)


def test_float32_passes_are_summed_in_float64() -> None:
    passes = np.full((20_000, 1), 0.1, np.float32)
    moments = Moments.of(passes[:9_000]).update(passes[9_000:])
    assert moments.mean.dtype == np.float64
    assert_allclose(moments.mean, float(np.float32(0.1)), rtol=1e-15)
    assert moments.variance == 0.0


@given(arrays(np.float64, (6, 2), elements=st.floats(-1e6, 1e6)).map(lambda a: np.repeat(a[:1], 6, axis=0)))
def test_equal_passes_have_no_variance(passes: np.ndarray) -> None:
    assert_allclose(Moments.of(passes[:2]).update(passes[2:]).variance, 0.0, atol=1e-18)


def test_merging_leaves_the_other_as_it_was() -> None:
    one, other = Moments.of(np.ones((3, 2))), Moments.of(np.zeros((2, 2)))
    one.merge(other).update(np.ones((4, 2)))
    assert (one.count, other.count) == (9, 2)
    assert_allclose(other.mean, 0.0)
    fresh = Moments().merge(other)
    fresh.update(np.ones((2, 2)))
    assert_allclose(other.mean, 0.0)


def test_an_empty_block_changes_nothing() -> None:
    moments = Moments.of(np.ones((2, 3))).update(np.ones((0, 3)))
    assert moments.count == 2


def test_what_is_asked_too_early_is_refused() -> None:
    with pytest.raises(ValueError, match="a mean needs 1 or more passes, received 0"):
        _ = Moments().mean
    with pytest.raises(ValueError, match="sample variance needs 2 or more passes, received 1"):
        _ = Moments.of(np.ones((1, 2))).variance


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected passes of shape \(S, 3\), received \(S, 2\)"):
        Moments.of(np.ones((2, 3))).update(np.ones((2, 2)))
    with pytest.raises(ValueError, match="received a single number"):
        Moments.of(np.float64(1.0))


def test_blocks_that_are_not_finite_are_joined_without_a_warning() -> None:
    """Whoever makes an answer of them tells that they are not."""
    moments = Moments.from_parts(32, np.array([np.inf, 1.0]), np.array([0.0, 0.0]))
    moments.merge(Moments.from_parts(32, np.array([-np.inf, 3.0]), np.array([0.0, 0.0])))
    moments.merge(Moments.from_parts(32, np.array([np.inf, 2.0]), np.array([0.0, 0.0])))
    assert_allclose(moments.mean, [np.nan, 2.0])
