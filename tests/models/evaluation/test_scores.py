"""Scores are what their papers define, and order models as they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from scipy import stats

from thinned.models.card import OutputSpec
from thinned.models.errors import InputError
from thinned.models.evaluation.classification import (
    classification_scores,
    expected_calibration_error,
    reliability,
)
from thinned.models.evaluation.predictive import (
    Values,
    class_targets,
    classes_of,
    log_likelihood,
    value_targets,
    values_of,
)
from thinned.models.evaluation.ranking import area_under, auroc, risk_coverage
from thinned.models.evaluation.regression import coverage_curve, crps_gaussian, regression_scores
from thinned.models.evaluation.rows import ClassRows, ValueRows
from thinned.models.uncertainty import temper

VALUES = OutputSpec(name="y", shape=(2,), dtype="float32", task="regression")
CLASSES = OutputSpec(
    name="y", shape=(3,), dtype="float32", task="classification", scale="probabilities", labels=("a", "b", "c")
)
MANY = OutputSpec(name="y", shape=(3,), dtype="float32", task="multilabel", scale="logits")


def test_the_log_likelihood_is_that_of_the_mixture_about_the_passes() -> None:
    draw = np.random.default_rng(0)
    means, targets = draw.normal(size=(5, 4, 1)), draw.normal(size=(4, 1))
    found = log_likelihood(targets, Values(means, np.array([0.3])))
    assert_allclose(found, np.log(stats.norm(means, 0.3**0.5).pdf(targets).mean(axis=0)))


def test_without_noise_it_is_that_of_one_normal_and_of_one_pass_there_is_none() -> None:
    means = np.random.default_rng(1).normal(size=(50, 4, 1))
    found = log_likelihood(np.zeros((4, 1)), Values(means, None))
    assert_allclose(found, stats.norm(means.mean(axis=0), means.std(axis=0, ddof=1)).logpdf(0.0))
    assert log_likelihood(np.zeros((4, 1)), Values(means[:1], None)) is None


def test_crps_is_its_own_integral() -> None:
    grid = np.linspace(-30, 30, 200_001)
    for target, mean, deviation in ((0.3, 0.0, 1.0), (5.0, 1.0, 2.0)):
        steps = (stats.norm(mean, deviation).cdf(grid) - (grid >= target)) ** 2
        expected = np.trapezoid(steps, grid)
        assert_allclose(crps_gaussian(np.array(target), np.array(mean), np.array(deviation**2)), expected, rtol=1e-3)
    assert_allclose(crps_gaussian(np.array(2.0), np.array(0.5), np.array(0.0)), 1.5)


def test_right_intervals_lie_on_the_diagonal() -> None:
    draw = np.random.default_rng(2)
    mean, variance = draw.normal(size=(20_000, 1)), draw.uniform(0.1, 4, (20_000, 1))
    targets = mean + np.sqrt(variance) * draw.normal(size=mean.shape)
    rows = ValueRows(mean, variance, None, None)
    curve = coverage_curve(targets, rows)
    assert_allclose(curve["measured"], curve["stated"], atol=0.015)
    scores = regression_scores(targets, rows)
    for coverage in (0.8, 0.9, 0.95):
        assert scores[f"coverage_{coverage:g}"] == pytest.approx(coverage, abs=0.01)
    assert scores["log_likelihood"] is None
    assert (scores["error_rank_correlation"] or 0) > 0.3


Logits = arrays(np.float64, (40, 3), elements=st.floats(-6, 6))


@given(Logits, st.floats(0.2, 5))
def test_a_temperature_keeps_the_order_of_classes(logits: np.ndarray, heat: float) -> None:
    probs = temper(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), heat)
    assert_allclose(probs.sum(axis=1), 1.0)
    assert_allclose(probs.max(axis=1), np.take_along_axis(probs, logits.argmax(axis=1)[:, None], 1)[:, 0])


@given(Logits, arrays(np.int64, 40, elements=st.integers(0, 2)))
def test_scores_keep_their_bounds(logits: np.ndarray, labels: np.ndarray) -> None:
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = classification_scores(probs, labels)
    assert 0 <= (scores["brier"] or 0) <= 2
    assert 0 <= (scores["ece"] or 0) <= 1
    assert sum(b["rows"] for b in reliability(probs, labels)) == 40
    assert_allclose(scores["nll"], -np.log(probs[np.arange(40), labels]).mean(), rtol=1e-6)


def test_probabilities_that_mean_what_they_say_have_no_calibration_error() -> None:
    draw = np.random.default_rng(3)
    probs = draw.dirichlet(np.ones(3), size=40_000)
    labels = (probs.cumsum(axis=1) > draw.uniform(size=(40_000, 1))).argmax(axis=1)
    assert expected_calibration_error(probs, labels) < 0.01
    assert expected_calibration_error(temper(probs, 0.3), labels) > 0.1


def test_rankings() -> None:
    wrong = np.array([True, False, True, False])
    assert auroc(np.array([0.9, 0.1, 0.8, 0.2]), wrong) == 1.0
    assert auroc(np.arange(4.0), np.zeros(4, bool)) is None
    assert auroc(np.ones(4), wrong) is None
    assert area_under(np.array([0.9, 0.1, 0.8, 0.2]), wrong.astype(float)) == pytest.approx((0 + 0 + 1 / 3 + 0.5) / 4)
    curve = risk_coverage(np.array([0.9, 0.1, 0.8, 0.2]), wrong.astype(float))
    assert curve["risk"][-1] == 0.5
    assert curve["coverage"][-1] == 1.0
    assert curve["risk"][0] == 0.0


def test_targets_are_read_as_numbers_labels_or_one_hot() -> None:
    expected = [2, 0, 1]
    for given_ in ([2, 0, 1], ["c", "a", "b"], np.eye(3)[expected], [[2.0], [0.0], [1.0]]):
        assert class_targets(np.asarray(given_), CLASSES, 3).tolist() == expected
    assert class_targets(np.array([[0, 1, 1], [1, 0, 0]]), MANY, 2).tolist() == [0, 1, 1, 1, 0, 0]
    for wrong in ([3, 0, 0], [0.5, 0, 0], ["z", "a", "a"], [0, 1]):
        with pytest.raises(InputError, match="targets: expected"):
            class_targets(np.asarray(wrong), CLASSES, 3)
    assert value_targets(np.arange(4), 2, 2).shape == (2, 2)
    for wrong_values in (np.arange(3), np.array([np.nan, 1, 1, 1]), np.array(["x"] * 4)):
        with pytest.raises(InputError, match="targets: expected"):
            value_targets(wrong_values, 2, 2)


def test_passes_are_read_by_their_task() -> None:
    draw = np.random.default_rng(4)
    passes = draw.normal(size=(6, 5, 4))
    gaussian = values_of(passes, VALUES.model_copy(update={"shape": (4,), "task": "gaussian"}), calibrated=False)
    assert_allclose(gaussian.mean, passes[..., :2].mean(axis=0))
    assert_allclose(gaussian.aleatoric, np.exp(passes[..., 2:]).mean(axis=0))
    known = VALUES.model_copy(update={"noise": (1.0, 4.0)})
    assert_allclose(values_of(passes[..., :2], known, calibrated=True).aleatoric, np.tile([1.0, 4.0], (5, 1)))
    assert values_of(passes[..., :2], known, calibrated=False).aleatoric is None
    many = ClassRows.of(classes_of(draw.normal(size=(6, 5, 3)), MANY))
    assert many.probs.shape == (15, 2)
    assert many.entropy.shape == (15,)


def test_targets_that_are_nan_are_refused_by_their_row() -> None:
    spec = OutputSpec(name="y", shape=(3,), dtype="float32", task="classification", scale="probabilities")
    with pytest.raises(InputError, match="NaN or infinity in row 2"):
        value_targets(np.array([1.0, 2.0, np.nan]), 3, 1)
    with pytest.raises(InputError, match="NaN or infinity in row 1"):
        class_targets(np.array([0.0, np.nan, np.nan]), spec, 3)
