"""Fit what a network cannot know of itself on rows that it was not trained on, and keep it as a version of its card."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import Calibration, OutputSpec, Promise
from thinned.models.errors import CalibrationError, InputError, Problem
from thinned.models.evaluation.own_passes import own_passes
from thinned.models.evaluation.predictive import (
    Array,
    Values,
    class_targets,
    classes_of,
    is_classes,
    log_likelihood,
    value_targets,
    values_of,
)
from thinned.models.storage.model_store import StoredModel, load_rows, store
from thinned.models.uncertainty import conformal, temper
from thinned.models.uncertainty.folds import Units, units_for

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = [
    "Fit",
    "calibrate_classes",
    "calibrate_values",
    "fit",
    "store_calibrated",
]

SEED = 20170806
MOST_SCORES = 1000
MOST_UNITS = 64
LEAST_UNITS = 10
PRIOR = 0.25
TINY = 1e-12
FINE = {"xatol": 1e-3}
"""Where a search over logarithms ends: a thousandth of a temperature or a noise is far below what rows can tell."""


@dataclass(frozen=True)
class Fit:
    """An output with its calibration, and the negative log-likelihood (nats) on the calibration rows with and without.

    `nll_before` is None where there was no density before: a regression whose noise was not known.
    """

    spec: OutputSpec
    nll_before: float | None
    nll_after: float


def fit(
    model: StochasticModel,
    spec: OutputSpec,
    inputs: Mapping[str, npt.NDArray[Any]],
    targets: npt.NDArray[Any],
    *,
    n_samples: int = 128,
    seed: int = SEED,
    groups: npt.NDArray[Any] | None = None,
) -> Fit:
    """Calibrate one output.

    What is served (noise, temperature, factor) is fitted on all rows. The conformal scores are made with one that a
    third of the rows fitted, of the other two thirds: split conformal prediction, in which no row has a part on both
    sides. Cross-fitting (CV+) would use each row for both, but promises only 1 - 2 (1 - C).

    Args:
        model: The model.
        spec: The output; what it was calibrated with before is fitted anew.
        inputs: Rows that the model was not trained on, by input name.
        targets: Their answers.
        n_samples: Passes whose mean and variance are calibrated; a coverage is promised for as many.
        seed: Of the passes; each row has passes of its own, as each request has.
        groups: For each row what it belongs to, (B,), where rows are not exchangeable but groups of them are.

    Raises:
        CalibrationError: There are too few rows or groups, or too many numbers a row.
        NoSitesError: The model has no site.
        InputError: The targets do not fit.

    References:
        Barber, Candes, Ramdas & Tibshirani 2021, Predictive Inference with the Jackknife+,
        https://arxiv.org/abs/1905.02928
    """
    rows = len(next(iter(inputs.values())))
    require_units(Units.of_rows(rows) if groups is None else Units.of_groups(groups))
    passes = own_passes(model, spec.name, inputs, n_samples=n_samples, seed=seed)

    def units(per_row: int) -> Units:
        return Units.of_rows(rows, per_row) if groups is None else Units.of_groups(groups, per_row)

    if is_classes(spec):
        probs, labels = classes_of(passes, spec), class_targets(targets, spec, rows)
        if len(labels) != probs.shape[1]:
            what = f"expected {probs.shape[1] // rows} targets for each of {rows} rows, received {len(labels)} in all"
            raise InputError([Problem(("targets",), what)])
        return calibrate_classes(probs, labels, spec, n_samples, units(len(labels) // rows))
    bare = spec.model_copy(update={"noise": None, "calibration": None})
    values = values_of(passes, bare, calibrated=False)
    return calibrate_values(values, value_targets(targets, *values.mean.shape), bare, n_samples, units(1))


def require_units(units: Units) -> None:
    """Refuse to calibrate with next to nothing.

    Raises:
        CalibrationError: There are fewer than 10 rows, or groups.
    """
    if units.count < LEAST_UNITS:
        raise CalibrationError(
            f"expected {LEAST_UNITS} or more {units.counted} to calibrate with, received {units.count}; give more (a "
            f"coverage of 0.9 needs {units_for(conformal.least_rows(0.9))}, one of 0.95 "
            f"{units_for(conformal.least_rows(0.95))})"
        )


def calibrate_classes(
    passes: Array, labels: npt.NDArray[np.int64], spec: OutputSpec, n_samples: int, units: Units | None = None
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
    """
    mean, units = passes.mean(axis=0), units or Units.of_rows(len(labels))
    temperature = _temperature(mean, labels)
    fits, scored = units.parted(SEED)
    promise: Promise | None = None
    kept: tuple[tuple[float, ...], ...] = ()
    if spec.task != "multilabel":
        own = _temperature(mean[fits], labels[fits])
        scores = conformal.class_scores(temper(mean[~fits], own), labels[~fits])
        kept = _kept(scores[:, np.newaxis], scored)
        promise = Promise(n=scored.count, counted=units.counted, positions=units.per_row, temperature=own)
    made = Calibration(
        created=_now(),
        rows=len(labels) // units.per_row,
        n_samples=n_samples,
        temperature=temperature,
        scores=kept,
        promise=promise,
    )
    return Fit(
        spec.model_copy(update={"calibration": made}), _loss(mean, labels, 1.0), _loss(mean, labels, temperature)
    )


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


def calibrate_values(
    values: Values, targets: Array, spec: OutputSpec, n_samples: int, units: Units | None = None
) -> Fit:
    """Fit the noise of a regression, or a factor on the noise that the network answers; then the conformal scores.

    Args:
        values: What the passes say, without noise unless the network answers it.
        targets: (B, K).
        spec: The output, without noise and calibration.
        n_samples: S.
        units: What is exchangeable; by default each row.

    Raises:
        CalibrationError: A row has more numbers than can be calibrated one by one.
    """
    if targets.shape[1] > MOST_UNITS:
        raise CalibrationError(
            f"expected at most {MOST_UNITS} numbers a row to calibrate, this output has {targets.shape[1]}"
        )
    units = units or Units.of_rows(len(targets))
    factor, noise, fitted = _scale(values, targets)
    before = log_likelihood(targets, values) if values.noises is not None else None
    after = log_likelihood(targets, fitted)
    fits, scored = units.parted(SEED)
    own_factor, own_noise, _ = _scale(_rows(values, fits), targets[fits])
    own = _scaled(_rows(values, ~fits), own_factor, own_noise)
    scores = conformal.scaled_scores(targets[~fits], own.mean, own.variance)
    made = Calibration(
        created=_now(),
        rows=len(targets),
        n_samples=n_samples,
        variance_factor=factor,
        scores=_kept(scores, scored),
        promise=Promise(n=scored.count, counted=units.counted, variance_factor=own_factor, noise=own_noise),
    )
    return Fit(
        spec.model_copy(update={"calibration": made, **({} if noise is None else {"noise": noise})}),
        None if before is None else -float(before.mean()),
        float("nan") if after is None else -float(after.mean()),
    )


def _scale(values: Values, targets: Array) -> tuple[float | None, tuple[float, ...] | None, Values]:
    """The factor on the noises that the network answers, or the noise of each number; and the values with it."""
    if values.noises is not None:
        noises = values.noises
        factor = _most_likely(lambda f: log_likelihood(targets, Values(values.means, f * noises)), 1.0)
        return factor, None, _scaled(values, factor, None)
    noise = tuple(_noise_of(values, targets, unit) for unit in range(targets.shape[1]))
    return None, noise, _scaled(values, None, noise)


def _scaled(values: Values, factor: float | None, noise: tuple[float, ...] | None) -> Values:
    if values.noises is None:
        return Values(values.means, np.asarray(noise))
    return Values(values.means, (factor or 1.0) * values.noises)


def _rows(values: Values, rows: npt.NDArray[np.bool_]) -> Values:
    return Values(values.means[:, rows], None if values.noises is None else values.noises[:, rows])


def _noise_of(values: Values, targets: Array, unit: int) -> float:
    """The noise variance of one number that makes the targets most likely."""
    means, truth = values.means[..., unit : unit + 1], targets[:, unit : unit + 1]
    start = float(((truth - means.mean(axis=0)) ** 2).mean())
    if start <= 0:
        raise CalibrationError(
            "the targets are the model's own answers to the last digit; give rows it was not made of"
        )
    return _most_likely(lambda noise: log_likelihood(truth, Values(means, np.array([noise]))), start)


def _most_likely(likelihood: Any, start: float) -> float:
    """The scale near `start` of greatest likelihood, between a ten-thousandth and a hundredfold of it."""
    from scipy.optimize import minimize_scalar

    bounds = (np.log(start * 1e-4), np.log(start * 1e2))
    found = minimize_scalar(
        lambda log: -float(likelihood(float(np.exp(log))).mean()), bounds=bounds, method="bounded", options=FINE
    )
    best = float(np.exp(found.x))
    # The search may end beside the start without having tried it.
    return best if -float(found.fun) >= float(likelihood(start).mean()) else start


def _kept(scores: Array, units: Units) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, conformal.thin(scores, MOST_SCORES, units.of).tolist()))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def store_calibrated(stored: StoredModel, spec: OutputSpec, *, note: str | None = None) -> StoredModel:
    """Store the model as a new version whose card holds the calibrated output; the old version stays.

    Raises:
        ModelFileError: The stored files are not those that its card describes.
    """
    outputs = tuple(spec if output.name == spec.name else output for output in stored.card.outputs)
    update = {"outputs": outputs, "created": _now(), "note": note or stored.card.note}
    card = stored.card.model_copy(update=update)
    module = stored.path / "layers.py" if card.module_sha256 is not None else None
    return store(stored.path / "model.keras", card, module=module, rows=load_rows(stored))
