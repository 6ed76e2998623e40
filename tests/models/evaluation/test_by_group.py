"""Scores by group find the group that a promise over all rows fails, and say how sure that is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.models.evaluation.test_run import OF_VALUES, TWO, evaluated
from thinned.models.card import Calibration
from thinned.models.errors import CalibrationError, InputError
from thinned.models.evaluation.by_group import by_group
from thinned.models.evaluation.page import page


def held(draw: np.random.Generator, groups: np.ndarray, shares: dict[str, float]) -> np.ndarray:
    return draw.uniform(size=len(groups)) < np.array([shares[group] for group in groups])


def test_the_group_that_is_held_too_rarely_is_named() -> None:
    draw = np.random.default_rng(1)
    groups = np.repeat(["a", "b", "c", "<d>"], [400, 400, 400, 9])
    inside = held(draw, groups, {"a": 0.95, "b": 0.93, "c": 0.8, "<d>": 0.1})
    found = by_group(
        "ward", groups, {"set_coverage_0.9": inside, "set_size_0.9": inside + 1.0, "set_coverage_0.8": None}
    )
    assert [(group.group, group.rows) for group in found.groups] == [("a", 400), ("b", 400), ("c", 400)]
    assert (found.worst, found.worst_is_below, found.left_out, found.left_out_rows) == ("c", True, 1, 9)
    assert "Lowest of 3 groups by ward: c, where 90 % was stated" in found.told
    assert "1 groups of fewer than 10 rows (9 rows in all) are left out." in found.told
    for group in found.groups:
        assert_allclose(group.scores["set_coverage_0.9"], inside[groups == group.group].mean())
        for name, (low, high) in group.intervals.items():
            assert low < group.scores[name] < high


def test_chance_is_told_from_a_failed_group() -> None:
    """Of 20 groups that are all held 9 times in 10, one in 20 reports says that the lowest is below."""
    draw, groups = np.random.default_rng(2), np.repeat(np.arange(20).astype(str), 50)
    below = [by_group("g", groups, {"coverage_0.9": draw.uniform(size=1000) < 0.9}).worst_is_below for _ in range(200)]
    assert np.mean(below) <= 0.08


def test_the_interval_of_a_group_is_the_exact_one() -> None:
    groups, inside = np.repeat(["x"], 20), np.arange(20) < 18
    low, high = by_group("g", groups, {"coverage_0.9": inside}).groups[0].intervals["coverage_0.9"]
    assert (low, high) == pytest.approx((0.6830, 0.9877), abs=1e-4)  # Clopper and Pearson, 18 of 20
    all_held = by_group("g", groups, {"coverage_0.9": np.ones(20)}).groups[0].intervals["coverage_0.9"]
    assert all_held == pytest.approx((0.8316, 1.0), abs=1e-4)


def test_an_evaluation_scores_intervals_by_group() -> None:
    two = Calibration(rows=30, n_samples=8, scores=TWO, promise=OF_VALUES)
    groups = np.repeat(["old", "new & <b>"], 30)
    found = evaluated("regression", calibration=two, noise=(1.0, 2.0), counts=(8,), by=("age", groups))
    assert found.by is not None
    of_all = found.series[-1].scores[0]["conformal_coverage_0.9"]
    assert_allclose(np.mean([group.scores["conformal_coverage_0.9"] for group in found.by.groups]), of_all)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert {group["group"] for group in document["by"]["groups"]} == {"old", "new & <b>"}
    told = page(found, [])
    assert "By age" in told
    assert "new &amp; &lt;b&gt;" in told


def test_what_cannot_be_scored_by_group_is_refused() -> None:
    with pytest.raises(
        CalibrationError, match=r"--by age scores the coverage .* the model has none; run thinned calibr"
    ):
        evaluated("classification", counts=(8,), by=("age", np.repeat(["a", "b"], 30)))
    with pytest.raises(InputError, match="expected a group of 10 or more rows, the largest of 60 has 1"):
        evaluated("regression", counts=(8,), by=("id", np.arange(60).astype(str)))
