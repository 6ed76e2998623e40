"""Bootstrap intervals are those of scoring every draw by itself, and cover as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from thinned.models.evaluation.classification import classification_drawn, classification_scores
from thinned.models.evaluation.ranking import (
    area_under,
    area_under_drawn,
    auroc,
    auroc_drawn,
    auroc_of_ood_drawn,
    rank_correlation_drawn,
)
from thinned.models.evaluation.regression import regression_drawn, regression_scores
from thinned.models.evaluation.resampling import Resampling
from thinned.models.evaluation.rows import ValueRows

DRAW = np.random.default_rng(0)
PROBS = DRAW.dirichlet(np.ones(4), size=120)
LABELS = DRAW.integers(0, 4, 120)


def draws(resampling: Resampling) -> list[np.ndarray]:
    """The rows of every draw, the rows as they are first."""
    return [np.repeat(np.arange(resampling.units), times.astype(int)) for times in resampling._times]


def test_scores_of_a_classification_are_those_of_each_draw() -> None:
    resampling = Resampling(120, seed=1, replicates=25)
    found = classification_drawn(PROBS, LABELS, resampling)
    for place, rows in enumerate(draws(resampling)):
        expected = classification_scores(PROBS[rows], LABELS[rows])
        for name, each in found.items():
            assert_allclose(each[place], expected[name], rtol=1e-6, err_msg=name)


def test_scores_of_a_regression_are_those_of_each_draw() -> None:
    resampling = Resampling(50, answers=2, seed=1, replicates=25)
    truth, mean = DRAW.normal(size=(50, 2)), DRAW.normal(size=(50, 2))
    rows = ValueRows(mean, DRAW.uniform(0.1, 2, (50, 2)), None, DRAW.normal(size=(50, 2)))
    found = regression_drawn(truth, rows, resampling)
    for place, chosen in enumerate(draws(resampling)):
        some = ValueRows(mean[chosen], rows.epistemic[chosen], None, rows.log_likelihood[chosen])  # type: ignore[index]
        expected = regression_scores(truth[chosen], some)
        for name in ("rmse", "mae", "r2", "crps", "log_likelihood"):
            assert_allclose(found[name][place], expected[name], rtol=1e-6, err_msg=name)
        assert_allclose(found["error_rank_correlation"][place], expected["error_rank_correlation"], atol=0.05)


def test_rankings_are_those_of_each_draw() -> None:
    resampling, other = Resampling(120, seed=1, replicates=25), Resampling(40, seed=2, replicates=25)
    sure, wrong, strange = DRAW.random(120), DRAW.random(120) < 0.3, DRAW.random(40) + 0.2
    found = auroc_drawn(sure, wrong, resampling), area_under_drawn(sure, wrong.astype(float), resampling)
    ood = auroc_of_ood_drawn(sure, strange, (resampling, other))
    for place, (rows, others) in enumerate(zip(draws(resampling), draws(other), strict=True)):
        assert_allclose(found[0][place], auroc(sure[rows], wrong[rows]))
        assert_allclose(found[1][place], area_under(sure[rows], wrong[rows].astype(float)), atol=0.01)
        both = np.concatenate([sure[rows], strange[others]])
        assert_allclose(ood[place], auroc(both, np.arange(len(both)) >= len(rows)))


def test_answers_of_a_row_stay_together() -> None:
    alike = np.repeat(DRAW.normal(size=30), 200)
    together, apart = Resampling(30, answers=200, seed=0), Resampling(6000, seed=0)
    widths = [np.ptp(r.interval(float(alike.mean()), r.mean(alike))) for r in (together, apart)]  # type: ignore[arg-type]
    assert widths[0] > 8 * widths[1]


def test_intervals_hold_the_truth_about_as_often_as_they_say_whatever_the_number_of_rows() -> None:
    for units in (60, 3000):
        held = 0
        for number in range(200):
            x = np.random.default_rng(number).normal(size=units)
            resampling = Resampling(units, seed=number, replicates=200)
            low, high = resampling.interval(float(x.mean()), resampling.mean(x)) or (1.0, 0.0)
            held += low <= 0 <= high
        assert 0.89 <= held / 200 <= 0.985, units


def test_many_rows_are_drawn_in_groups_at_the_same_width() -> None:
    x = np.random.default_rng(5).normal(size=20_000)
    resampling = Resampling(20_000, seed=0)
    assert resampling.groups == 1000
    low, high = resampling.interval(float(x.mean()), resampling.mean(x)) or (0.0, 0.0)
    assert high - low == pytest.approx(2 * 1.96 * x.std() / 20_000**0.5, rel=0.12)
    assert_allclose(resampling.mean(x)[0], x.mean())
    y = x + np.random.default_rng(6).normal(size=20_000)
    ranks = rank_correlation_drawn(x, y, resampling)
    assert_allclose(ranks[0], stats.spearmanr(x, y).statistic)


def test_few_rows_and_scores_that_most_draws_lack_have_no_interval() -> None:
    assert Resampling(9, seed=0).interval(1.0, np.ones(1001)) is None
    resampling = Resampling(20, seed=0)
    assert resampling.interval(None, np.ones(1001)) is None
    one = np.arange(20) == 3
    assert resampling.interval(0.9, auroc_drawn(DRAW.random(20), one, resampling)) is None


def test_the_same_seed_gives_the_same_interval() -> None:
    x = DRAW.normal(size=40)
    same = [Resampling(40, seed=7).interval(0.0, Resampling(40, seed=7).mean(x)) for _ in range(2)]
    assert same[0] == same[1]
    assert same[0] != Resampling(40, seed=8).interval(0.0, Resampling(40, seed=8).mean(x))
