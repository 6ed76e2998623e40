"""p-values of unlike rows: uniform for rows like the scored ones, whatever the features; small for others."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from thinned.models.errors import AnswerNotFiniteError
from thinned.models.uncertainty.nearest_rows import NUMBERS, NearestRows

REPEATS = 500


def fitted(reference: np.ndarray, scored: np.ndarray, units_of: np.ndarray | None = None) -> NearestRows:
    near = NearestRows.of(reference, reference.std(axis=0), seed=1)
    return near.compared_with(near.distances(scored), np.arange(len(scored)) if units_of is None else units_of)


@pytest.mark.parametrize("scored", [9, 40])
def test_over_repeats_the_p_value_of_a_row_like_the_others_is_uniform(scored: int) -> None:
    draw = np.random.default_rng(scored)
    found = []
    for _ in range(REPEATS):
        rows = draw.standard_t(3, size=(20 + scored + 1, 5))
        found.append(fitted(rows[:20], rows[20:-1]).answer(rows[-1:]).p_value[0])
    ranks = np.round(np.array(found) * (scored + 1)).astype(int)
    np.testing.assert_allclose(ranks / (scored + 1), found)
    assert (ranks.min(), ranks.max()) == (1, scored + 1)
    counts = np.histogram(ranks, bins=np.linspace(0.5, scored + 1.5, 6 if scored == 9 else 42))
    assert stats.chisquare(counts[0]).pvalue > 0.001


def test_rows_of_a_new_group_have_small_p_values_no_more_often_than_is_stated() -> None:
    draw = np.random.default_rng(5)
    levels = np.array([0.05, 0.1, 0.2, 0.5])
    shares = []
    for _ in range(REPEATS):
        sizes = draw.integers(1, 7, 31)
        centres = np.repeat(draw.normal(size=(31, 3)) * 2, sizes, axis=0)
        rows, of = centres + draw.normal(size=centres.shape), np.repeat(np.arange(31), sizes)
        known, new = of < 30, of == 30
        reference = known & (of < 10)
        scored = known & (of >= 10)
        p_values = fitted(rows[reference], rows[scored], of[scored]).answer(rows[new]).p_value
        shares.append((p_values[:, None] <= levels).mean(axis=0))
    mean, error = np.mean(shares, axis=0), np.std(shares, axis=0) / REPEATS**0.5
    assert (mean <= levels + 3 * error).all()


def test_rows_that_lie_as_far_count_as_farther() -> None:
    reference = np.array([[0.0, 1.0], [0.0, -1.0]])
    near = NearestRows.of(reference, np.ones(2), seed=0)
    found = near.compared_with(np.array([1.0, 2.0, 2.0, 3.0]), np.arange(4))
    np.testing.assert_allclose(found.p_values(np.array([0.0, 1.0, 2.0, 2.5, 9.0])), [1, 1, 0.8, 0.4, 0.2])
    groups = near.compared_with(np.array([1.0, 2.0, 3.0]), np.array([7, 7, 2]))
    np.testing.assert_allclose(groups.p_values(np.array([0.5, 2.0, 3.5])), [1, (1 + 1.5) / 3, 1 / 3])


@pytest.mark.parametrize("width", [1, 7, NUMBERS, 1000, 5001])
def test_many_numbers_are_added_up_and_distances_stay_about_the_same(width: int) -> None:
    draw = np.random.default_rng(width)
    reference, rows = draw.normal(size=(30, width)), draw.normal(size=(200, width))
    near = NearestRows.of(reference, np.ones(width), seed=3)
    exact = np.sqrt(((rows[:, None] - reference[None]) ** 2).sum(axis=2)).min(axis=1)
    assert near.reference.shape == (30, min(width, NUMBERS))
    if width <= NUMBERS:
        np.testing.assert_allclose(near.distances(rows), exact, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_allclose(near.distances(rows), exact, rtol=0.25)


def test_near_rows_far_from_zero_are_told_apart() -> None:
    reference = 1e7 + np.arange(3.0)[:, None] * np.ones((1, 4))
    near = NearestRows.of(reference, np.ones(4), seed=0)
    np.testing.assert_allclose(near.distances(reference + 0.25), [0.5, 0.5, 0.5], rtol=1e-6)
    assert near.distances(np.full((1, 4), 3e38))[0] == pytest.approx(6e38, rel=1e-3)


def test_it_is_read_as_it_was_written() -> None:
    draw = np.random.default_rng(0)
    found = fitted(draw.normal(size=(9, 300)), draw.normal(size=(12, 300)))
    again = NearestRows.from_bytes(found.to_bytes())
    rows = draw.normal(size=(5, 300))
    np.testing.assert_array_equal(np.array(again.answer(rows)), np.array(found.answer(rows)))
    assert again.units == 12


def test_what_is_not_finite_is_refused_by_its_row() -> None:
    near = fitted(np.eye(3), np.eye(3) + 1)
    rows = np.zeros((4, 3))
    rows[2, 1] = np.nan
    with pytest.raises(AnswerNotFiniteError, match=r"gave NaN or infinity for rows \[2\]"):
        near.answer(rows)
