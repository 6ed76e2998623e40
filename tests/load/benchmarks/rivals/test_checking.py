"""Right answers pass, wrong ones do not."""

from __future__ import annotations

import numpy as np
import pytest

from thinned.loadtest.benchmarks.rivals.checking import Reference, WrongRivalError, pooled, worst_distance


def passes(seed: int, n: int, *, shift: float = 0.0, widen: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of n softmax outputs of 8 rows."""
    draws = np.random.default_rng(seed)
    logits = np.random.default_rng(0).normal(size=(8, 10)) * 4 + draws.normal(size=(n, 8, 10)) * 2 * widen
    logits[..., 0] += shift
    each = np.exp(logits - logits.max(axis=-1, keepdims=True))
    each /= each.sum(axis=-1, keepdims=True)
    return each.mean(axis=0), each.var(axis=0, ddof=1)


def reference() -> Reference:
    return pooled([passes(seed, 1000) for seed in (1, 2, 3)], 1000)


def test_many_answers_make_one_of_all_their_passes() -> None:
    whole = reference()
    assert whole.passes == 3000
    mean, variance = passes(99, 30_000)
    assert np.abs(whole.mean - mean).max() < 0.03
    assert whole.variance.sum() == pytest.approx(variance.sum(), rel=0.05)
    assert pooled([passes(1, 50)], 50).passes == 50


@pytest.mark.parametrize("n", [60, 300, 3000])
def test_the_same_network_passes(n: int) -> None:
    whole = reference()
    furthest = [worst_distance(pooled([passes(seed, n)], n), whole) for seed in range(10, 40)]
    assert max(furthest) < 5


def test_another_network_does_not() -> None:
    with pytest.raises(WrongRivalError, match="standard errors"):
        worst_distance(pooled([passes(7, 900, shift=0.7)], 900), reference())


def test_another_variance_does_not() -> None:
    whole = reference()
    for share in (0.5, 0.0, 2.0):
        with pytest.raises(WrongRivalError, match="variance"):
            worst_distance(Reference(whole.mean, share * whole.variance, 300), whole)


@pytest.mark.parametrize("wrong", [np.full((8, 10), np.nan), np.zeros((1, 10)), np.full((8, 10), np.inf)])
def test_what_is_no_answer_does_not(wrong: np.ndarray) -> None:
    whole = reference()
    with pytest.raises(WrongRivalError, match="expected finite numbers"):
        worst_distance(Reference(wrong, whole.variance, 300), whole)
