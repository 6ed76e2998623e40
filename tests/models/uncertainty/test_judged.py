"""Others compute the same: MAPIE's sets, intervals and thresholds, scoringrules' scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scoringrules
from mapie.classification import SplitConformalClassifier
from mapie.conformity_scores import ResidualNormalisedScore
from mapie.regression import ConformalizedQuantileRegressor, SplitConformalRegressor
from mapie.risk_control import MultiLabelClassificationController
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from thinned.models.calibration import calibrate_classes
from thinned.models.card import OutputSpec, SetRule
from thinned.models.evaluation.regression import crps_gaussian
from thinned.models.uncertainty.class_sets import class_scores, of_labels, prediction_set
from thinned.models.uncertainty.conformal import factor_for, interval, quantile_interval, quantile_scores, scaled_scores
from thinned.models.uncertainty.folds import Units
from thinned.models.uncertainty.promises import prediction_set as served_set

COVERAGES = [0.7, 0.8, 0.9, 0.95]
DRAW = np.random.default_rng(11)


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose rows are their probabilities."""

    classes_ = np.arange(5)
    n_features_in_ = 5

    def predict_proba(self, rows: Any) -> Any:
        return np.asarray(rows)

    def predict(self, rows: Any) -> Any:
        return np.asarray(rows).argmax(axis=1)

    def __sklearn_is_fitted__(self) -> bool:
        return True


class Column(RegressorMixin, BaseEstimator):
    """A regression that answers one column of its rows."""

    def __init__(self, place: int = 0) -> None:
        self.place = place

    def fit(self, rows: Any, targets: Any) -> Column:
        self.n_features_in_ = np.shape(rows)[1]
        return self

    def predict(self, rows: Any) -> Any:
        return np.asarray(rows)[:, self.place]


@pytest.mark.parametrize("rows", [60, 333])
def test_plain_sets_are_mapies_lac(rows: int) -> None:
    probs = DRAW.dirichlet(np.ones(5), size=rows + 100)
    labels = (probs.cumsum(axis=1) > DRAW.uniform(size=(len(probs), 1))).argmax(axis=1)
    other = SplitConformalClassifier(Given(), confidence_level=COVERAGES, conformity_score="lac", prefit=True)
    other.conformalize(probs[:rows], labels[:rows])
    theirs = other.predict_set(probs[rows:])[1]
    rule = SetRule(may_be_empty=True)
    scores = np.sort(of_labels(class_scores(probs[:rows], rule), labels[:rows]))
    for place, coverage in enumerate(COVERAGES):
        ours = prediction_set(probs[rows:], float(factor_for(scores, coverage)), rule)
        assert_array_equal(ours, theirs[:, :, place])


def test_an_adaptive_set_is_the_smallest_that_holds_more_than_the_bound() -> None:
    """By its definition: classes are added, the likeliest first, until their probabilities exceed the bound."""
    probs = DRAW.dirichlet(np.ones(5), size=200)
    for bound in (0.0, 0.3, 0.7, 0.95):
        for row, members in zip(probs, prediction_set(probs, bound, SetRule(kind="aps")), strict=True):
            held = np.cumsum(np.sort(row)[::-1])
            count = min(int(np.searchsorted(held, bound, side="right")) + 1, 5)
            assert set(np.flatnonzero(members)) == set(np.argsort(row)[::-1][:count])
    rule = SetRule(kind="raps", penalty=0.1, unpenalised=2)
    added = class_scores(probs, rule) - class_scores(probs, SetRule(kind="aps"))
    assert_allclose(np.sort(added, axis=1), np.tile([0, 0, 0.1, 0.2, 0.3], (200, 1)), atol=1e-12)


def test_intervals_are_mapies_of_normalised_residuals() -> None:
    mean, deviation = DRAW.normal(size=500), DRAW.uniform(0.2, 3, size=500)
    targets = mean + deviation * DRAW.standard_t(4, size=500)
    rows = np.stack([mean, deviation], axis=1)
    score = ResidualNormalisedScore(residual_estimator=Column(1).fit(rows, targets), prefit=True, sym=True)
    other = SplitConformalRegressor(
        Column(0).fit(rows, targets), confidence_level=COVERAGES, conformity_score=score, prefit=True
    )
    other.conformalize(rows[:300], targets[:300])
    theirs = other.predict_interval(rows[300:])[1]
    scores = np.sort(scaled_scores(targets[:300], mean[:300], deviation[:300] ** 2))
    for place, coverage in enumerate(COVERAGES):
        lower, upper = interval(mean[300:], deviation[300:] ** 2, factor_for(scores, coverage))
        assert_allclose(np.stack([lower, upper], axis=1), theirs[:, :, place], rtol=1e-6, atol=1e-6)


def test_intervals_of_quantiles_are_mapies() -> None:
    centre, spread = DRAW.normal(size=400), DRAW.uniform(0.2, 2, size=400)
    rows = np.stack([centre - spread, centre + spread, centre], axis=1)
    targets = centre + spread * DRAW.standard_t(4, size=400)
    for coverage in (0.8, 0.9):
        known = [Column(place).fit(rows, targets) for place in range(3)]
        other = ConformalizedQuantileRegressor(known, confidence_level=coverage, prefit=True)
        other.conformalize(rows[:250], targets[:250])
        theirs = other.predict_interval(rows[250:], symmetric_correction=True)[1][:, :, 0]
        scores = np.sort(quantile_scores(targets[:250], rows[:250, 0], rows[:250, 1]))
        ours = quantile_interval(rows[250:, 0], rows[250:, 1], factor_for(scores, coverage))
        assert_allclose(np.stack(ours, axis=1), theirs, rtol=1e-9)


def test_sets_of_several_labels_are_mapies_control_of_the_recall() -> None:
    """It looks for its threshold in steps of a hundredth; ours lies within one of it."""
    probs = DRAW.uniform(size=(300, 4))
    truth = (DRAW.uniform(size=probs.shape) < probs).astype(np.int64)
    truth[np.arange(300), probs.argmax(axis=1)] = 1
    spec = OutputSpec(name="y", shape=(4,), dtype="float32", task="multilabel", scale="probabilities")
    units = Units.of_rows(300, 4)
    passes = np.stack([1 - probs, probs], axis=-1).reshape(1, -1, 2)
    fitted = calibrate_classes(passes, truth.ravel(), spec, 2, units).spec
    assert fitted.calibration is not None
    assert fitted.calibration.promise is not None
    # The rows that are scored, and the temperature that the others fitted, are given to both.
    scored = ~units.parted(20170806)[0].reshape(300, 4)[:, 0]
    part = 1 / (fitted.calibration.promise.temperature or 1.0)
    warm = probs**part / (probs**part + (1 - probs) ** part)
    for coverage in (0.7, 0.8, 0.9):
        other = MultiLabelClassificationController(
            predict_function=lambda rows: np.asarray(rows), risk="recall", method="crc", target_level=coverage
        )
        other.calibrate(warm[scored], truth[scored])
        theirs = float(np.ravel(other.best_predict_param)[0])
        members = served_set(fitted, probs, coverage)
        ours = warm[members].min()
        assert abs(theirs - ours) <= 0.011


def test_scores_of_a_normal_are_those_of_scoringrules() -> None:
    targets, mean, deviation = DRAW.normal(size=(3, 200))
    deviation = np.exp(deviation)
    theirs = scoringrules.crps_normal(targets, mean, deviation)
    assert_allclose(crps_gaussian(targets, mean, deviation**2), theirs, rtol=1e-9)
