"""The temperature of a classification, and the scores of its sets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from thinned.models.calibration.fitted import FINE, SEED, Fit, kept, now
from thinned.models.card import Calibration, OutputSpec, Promise, SetKind, SetRule
from thinned.models.errors import CalibrationError
from thinned.models.evaluation.predictive import Array
from thinned.models.uncertainty import temper
from thinned.models.uncertainty.class_sets import class_scores, of_labels, rule_for
from thinned.models.uncertainty.folds import Units

__all__ = ["calibrate_classes"]

PRIOR = 0.25
TINY = 1e-12


def calibrate_classes(
    passes: Array,
    labels: npt.NDArray[np.int64],
    spec: OutputSpec,
    n_samples: int,
    units: Units | None = None,
    *,
    sets: SetKind = "plain",
    empty_sets: bool = False,
) -> Fit:
    """Fit a temperature to the mean over passes, then the scores of conformal sets.

    The logarithm of the temperature has a normal prior about 0, of deviation 0.25. Without one, a model that gets every
    calibration row right would be made as sure as can be, and its first error would cost more than all was gained; a
    few hundred rows with errors among them outweigh it.

    Args:
        passes: Probabilities (S, M, C).
        labels: (M,).
        spec: The output.
        n_samples: S.
        units: What is exchangeable; by default each of the M.
        sets: How sets are made.
        empty_sets: Whether plain ones may be empty.

    Raises:
        CalibrationError: The output has no such sets.
    """
    _check_sets(spec, sets, empty_sets)
    mean, units = passes.mean(axis=0), units or Units.of_rows(len(labels))
    temperature = _temperature(mean, labels)
    fits, scored = units.parted(SEED)
    own = _temperature(mean[fits], labels[fits])
    fitting, probs, truth = temper(mean[fits], own), temper(mean[~fits], own), labels[~fits]
    if spec.task == "multilabel":
        rule = SetRule(may_be_empty=True)
        scores, scored_units = _label_scores(probs, truth, scored)
    else:
        rule = rule_for(sets, empty_sets, fitting, labels[fits])
        scores, scored_units = of_labels(class_scores(probs, rule), truth), scored
    promise = Promise(n=scored.count, counted=units.counted, positions=units.per_row, temperature=own, sets=rule)
    made = Calibration(
        created=now(),
        rows=len(labels) // units.per_row,
        n_samples=n_samples,
        temperature=temperature,
        scores=kept(scores[:, np.newaxis], scored_units),
        promise=promise,
    )
    return Fit(
        spec.model_copy(update={"calibration": made}), _loss(mean, labels, 1.0), _loss(mean, labels, temperature)
    )


def _check_sets(spec: OutputSpec, sets: SetKind, empty_sets: bool) -> None:
    if spec.task == "multilabel" and (sets != "plain" or empty_sets):
        raise CalibrationError(
            f"the output {spec.name!r} has several labels at once, whose sets are made in one way: leave --sets and "
            "--empty-sets out"
        )
    if sets != "plain" and empty_sets:
        raise CalibrationError(f"{sets} sets are never empty: leave --empty-sets out, or ask for --sets plain")


def _label_scores(probs: Array, truth: npt.NDArray[np.int64], units: Units) -> tuple[Array, Units]:
    """One less the probability of each true label, with its unit; a unit without any has a score that is always held.

    Args:
        probs: Of labels not true and true, (M, 2).
        truth: (M,), 0 or 1.
        units: Of the M labels.
    """
    true = truth == 1
    without = np.setdiff1d(np.arange(units.count), units.of[true])
    scores = np.concatenate([1.0 - probs[true, 1], np.zeros(len(without))])
    return scores, Units(np.concatenate([units.of[true], without]), units.count, units.counted, units.per_row)


def _loss(mean: Array, labels: npt.NDArray[np.int64], temperature: float) -> float:
    """Negative log-likelihood of the labels in nats."""
    probs = temper(mean, temperature)
    return -float(np.log(np.clip(probs[np.arange(len(labels)), labels], TINY, 1.0)).mean())


def _temperature(mean: Array, labels: npt.NDArray[np.int64]) -> float:
    """The most likely temperature, with the prior."""
    from scipy.optimize import minimize_scalar

    def with_prior(log_temperature: float) -> float:
        return _loss(mean, labels, float(np.exp(log_temperature))) + (log_temperature / PRIOR) ** 2 / (2 * len(labels))

    found = minimize_scalar(with_prior, bounds=(np.log(0.05), np.log(20.0)), method="bounded", options=FINE)
    return float(np.exp(found.x)) if found.fun < _loss(mean, labels, 1.0) else 1.0
