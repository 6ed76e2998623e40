"""Votes and margins, whatever the passes."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from thinned.models.uncertainty import margin, softmax, variation_ratio

Logits = st.integers(2, 6).flatmap(lambda c: arrays(np.float64, (7, 3, c), elements=st.floats(-20, 20)))


@given(Logits, st.randoms())
def test_a_variation_ratio_keeps_its_bounds_and_forgets_the_order_of_passes(logits: np.ndarray, random: Random) -> None:
    passes = softmax(logits)
    found = variation_ratio(passes)
    assert found.shape == (3,)
    assert (found >= 0).all()
    assert (found <= 1 - 1 / passes.shape[-1] + 1e-12).all()
    order = list(range(7))
    random.shuffle(order)
    assert_allclose(variation_ratio(passes[order]), found)


def test_votes_are_counted() -> None:
    passes = np.eye(3)[[[0, 0], [0, 1], [0, 2], [0, 1]]]
    assert_allclose(variation_ratio(passes), [0.0, 0.5])


@given(Logits)
def test_a_margin_keeps_its_bounds(logits: np.ndarray) -> None:
    probs = softmax(logits)
    found = margin(probs)
    assert found.shape == (7, 3)
    assert (found >= 0).all()
    assert (found <= probs.max(axis=-1)).all()
    assert_allclose(margin(probs[..., ::-1]), found)


def test_known_margins() -> None:
    assert_allclose(margin(np.array([[0.7, 0.2, 0.1], [0.4, 0.2, 0.4]])), [0.5, 0.0])


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(S, B, \.\.\., C\)"):
        variation_ratio(np.ones((4, 3, 1)))
    with pytest.raises(ValueError, match="C >= 2"):
        margin(np.ones((4, 1)))
