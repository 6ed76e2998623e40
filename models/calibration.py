"""Fit what a network cannot know of itself on rows that it was not trained on, and keep it as a version of its card."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import Calibration, OutputSpec
from thinned.models.errors import CalibrationError
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
LEAST_ROWS = 10
PRIOR = 0.25
TINY = 1e-12


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
) -> Fit:
    """Calibrate one output.

    Args:
        model: The model.
        spec: The output; what it was calibrated with before is fitted anew.
        inputs: Rows that the model was not trained on, by input name.
        targets: Their answers.
        n_samples: Passes whose mean and variance are calibrated; ask for as many when serving.
        seed: Of the passes.

    Raises:
        CalibrationError: There are too few rows, or too many numbers a row.
        NoSitesError: The model has no site.
        InputError: The targets do not fit.
    """
    rows = len(next(iter(inputs.values())))
    if rows < LEAST_ROWS:
        raise CalibrationError(f"expected {LEAST_ROWS} or more rows to calibrate with, received {rows}; give more")
    passes = model.sample(inputs, n_samples=n_samples, seed=seed)[spec.name]
    if is_classes(spec):
        return calibrate_classes(classes_of(passes, spec), class_targets(targets, spec, rows), spec, n_samples)
    bare = spec.model_copy(update={"noise": None, "calibration": None})
    values = values_of(passes, bare, calibrated=False)
    return calibrate_values(values, value_targets(targets, *values.mean.shape), bare, n_samples)


def calibrate_classes(passes: Array, labels: npt.NDArray[np.int64], spec: OutputSpec, n_samples: int) -> Fit:
    """Fit a temperature to the mean over passes, then the scores of conformal sets.

    The logarithm of the temperature has a normal prior about 0, of deviation 0.25. Without one, a model that gets every
    calibration row right would be made as sure as can be, and its first error would cost more than all was gained; a
    few hundred rows with errors among them outweigh it.

    Args:
        passes: Probabilities (S, M, C).
        labels: (M,).
        spec: The output.
        n_samples: S.
    """
    from scipy.optimize import minimize_scalar

    mean = passes.mean(axis=0)

    def loss(log_temperature: float) -> float:
        probs = temper(mean, float(np.exp(log_temperature)))
        return -float(np.log(np.clip(probs[np.arange(len(labels)), labels], TINY, 1.0)).mean())

    def with_prior(log_temperature: float) -> float:
        return loss(log_temperature) + (log_temperature / PRIOR) ** 2 / (2 * len(labels))

    found = minimize_scalar(with_prior, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    before = loss(0.0)
    best = float(found.x) if found.fun < before else 0.0
    temperature = float(np.exp(best))
    scores = conformal.class_scores(temper(mean, temperature), labels)
    kept = () if spec.task == "multilabel" else _kept(scores[:, np.newaxis])
    made = Calibration(created=_now(), rows=len(labels), n_samples=n_samples, temperature=temperature, scores=kept)
    return Fit(spec.model_copy(update={"calibration": made}), before, loss(best))


def calibrate_values(values: Values, targets: Array, spec: OutputSpec, n_samples: int) -> Fit:
    """Fit the noise of a regression, or a factor on the noise that the network answers; then the conformal scores.

    Args:
        values: What the passes say, without noise unless the network answers it.
        targets: (B, K).
        spec: The output, without noise and calibration.
        n_samples: S.

    Raises:
        CalibrationError: A row has more numbers than can be calibrated one by one.
    """
    units = targets.shape[1]
    if units > MOST_UNITS:
        raise CalibrationError(f"expected at most {MOST_UNITS} numbers a row to calibrate, this output has {units}")
    if values.noises is not None:
        before = log_likelihood(targets, values)
        factor = _most_likely(lambda f: log_likelihood(targets, Values(values.means, f * _noises(values))), 1.0)
        fitted = Values(values.means, factor * values.noises)
        update: dict[str, Any] = {}
    else:
        before, factor = None, None
        noise = tuple(_noise_of(values, targets, unit) for unit in range(units))
        fitted = Values(values.means, np.asarray(noise))
        update = {"noise": noise}
    after = log_likelihood(targets, fitted)
    scores = conformal.scaled_scores(targets, fitted.mean, fitted.variance)
    made = Calibration(
        created=_now(), rows=len(targets), n_samples=n_samples, variance_factor=factor, scores=_kept(scores)
    )
    return Fit(
        spec.model_copy(update={**update, "calibration": made}),
        None if before is None else -float(before.mean()),
        float("nan") if after is None else -float(after.mean()),
    )


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
    found = minimize_scalar(lambda log: -float(likelihood(float(np.exp(log))).mean()), bounds=bounds, method="bounded")
    best = float(np.exp(found.x))
    # The search may end beside the start without having tried it.
    return best if -float(found.fun) >= float(likelihood(start).mean()) else start


def _noises(values: Values) -> Array:
    return np.zeros(1) if values.noises is None else values.noises


def _kept(scores: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in line) for line in conformal.thin(scores, MOST_SCORES))


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
