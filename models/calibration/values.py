"""The noise of a regression, or a factor on the noise that it answers, and the scores of its intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.calibration.fitted import FINE, SEED, Fit, kept, now, require_few
from thinned.models.card import Calibration, OutputSpec, Promise
from thinned.models.errors import CalibrationError
from thinned.models.evaluation.predictive import Array, Values, log_likelihood
from thinned.models.uncertainty import conformal
from thinned.models.uncertainty.folds import Units

__all__ = ["calibrate_values"]


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
    require_few(targets.shape[1])
    units = units or Units.of_rows(len(targets))
    factor, noise, fitted = _scale(values, targets)
    before = log_likelihood(targets, values) if values.noises is not None else None
    after = log_likelihood(targets, fitted)
    fits, scored = units.parted(SEED)
    own_factor, own_noise, _ = _scale(_rows(values, fits), targets[fits])
    own = _scaled(_rows(values, ~fits), own_factor, own_noise)
    scores = conformal.scaled_scores(targets[~fits], own.mean, own.variance)
    made = Calibration(
        created=now(),
        rows=len(targets),
        n_samples=n_samples,
        variance_factor=factor,
        scores=kept(scores, scored),
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
        factor = _most_likely(lambda f: log_likelihood(targets, replace(values, noises=f * noises)), 1.0)
        return factor, None, _scaled(values, factor, None)
    noise = tuple(_noise_of(values, targets, unit) for unit in range(targets.shape[1]))
    return None, noise, _scaled(values, None, noise)


def _scaled(values: Values, factor: float | None, noise: tuple[float, ...] | None) -> Values:
    noises = np.asarray(noise) if values.noises is None else (factor or 1.0) * values.noises
    return replace(values, noises=noises)


def _rows(values: Values, rows: npt.NDArray[np.bool_]) -> Values:
    noises = None if values.noises is None else values.noises[:, rows]
    return replace(values, means=values.means[:, rows], noises=noises)


def _noise_of(values: Values, targets: Array, unit: int) -> float:
    """The noise variance of one number that makes the targets most likely."""
    means, truth = values.means[..., unit : unit + 1], targets[:, unit : unit + 1]
    start = float(((truth - means.mean(axis=0)) ** 2).mean())
    if start <= 0:
        raise CalibrationError(
            "the targets are the model's own answers to the last digit; give rows it was not made of"
        )
    return _most_likely(lambda noise: log_likelihood(truth, Values(means, np.array([noise]), values.members)), start)


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
