"""Scores of a regression, from its means and variances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from thinned.models.card import Calibration
from thinned.models.evaluation.predictive import Array
from thinned.models.evaluation.rows import ValueRows
from thinned.models.uncertainty.conformal import factor_for, interval

__all__ = ["COVERAGES", "conformal_scores", "coverage_curve", "crps_gaussian", "regression_scores"]

COVERAGES = (0.8, 0.9, 0.95)
_TINY = 1e-300


def crps_gaussian(targets: Array, mean: Array, variance: Array) -> Array:
    """Continuous ranked probability score of a normal (Gneiting & Raftery 2007, equation 21), in units of the target.

    The smaller the better; with no variance it is the absolute error.
    """
    deviation = np.sqrt(np.maximum(variance, _TINY))
    z = (targets - mean) / deviation
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    score: Array = deviation * (z * (2 * special.ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))
    return score


def regression_scores(targets: Array, rows: ValueRows) -> dict[str, float | None]:
    """Every score of a regression; a score that the noise is needed for is None where nothing tells it."""
    from sklearn.metrics import mean_absolute_error, r2_score

    mean, variance, likelihood = rows.mean, rows.variance, rows.log_likelihood
    spread = bool((variance > 0).any())
    scores: dict[str, float | None] = {
        "rmse": float(np.sqrt(((targets - mean) ** 2).mean())),
        "mae": float(mean_absolute_error(targets, mean)),
        "r2": float(r2_score(targets, mean)) if len(targets) > 1 else None,
        "log_likelihood": None if likelihood is None else float(likelihood.mean()),
        "crps": float(crps_gaussian(targets, mean, variance).mean()),
    }
    for coverage in COVERAGES:
        half = special.ndtri((1 + coverage) / 2) * np.sqrt(variance)
        inside = np.abs(targets - mean) <= half
        scores[f"coverage_{coverage:g}"] = float(inside.mean()) if spread else None
        scores[f"width_{coverage:g}"] = float(2 * half.mean()) if spread else None
    rank = stats.spearmanr(np.abs(targets - mean).ravel(), variance.ravel()).statistic if np.ptp(variance) > 0 else None
    scores["error_rank_correlation"] = None if rank is None or not math.isfinite(rank) else float(rank)
    return scores


def conformal_scores(targets: Array, rows: ValueRows, calibration: Calibration) -> dict[str, float | None]:
    """Coverage and width of conformal intervals; None where there were too few calibration rows.

    The intervals are of the noise, or the factor, that the scores were made with, which was fitted on other rows.
    """
    promise = calibration.promise
    if promise is None:
        return {}
    noise: Any = np.asarray(promise.noise) if promise.noise is not None else rows.aleatoric
    if promise.noise is None and noise is not None:
        noise = noise * ((promise.variance_factor or 1.0) / (calibration.variance_factor or 1.0))
    variance = rows.epistemic if noise is None else rows.epistemic + noise
    scores: dict[str, float | None] = {}
    kept = np.asarray(calibration.scores)
    for coverage in COVERAGES:
        try:
            factor = factor_for(kept, coverage, rows=promise.n)
        except ValueError:
            scores |= {f"conformal_coverage_{coverage:g}": None, f"conformal_width_{coverage:g}": None}
            continue
        lower, upper = interval(rows.mean, variance, factor)
        scores[f"conformal_coverage_{coverage:g}"] = float(((targets >= lower) & (targets <= upper)).mean())
        scores[f"conformal_width_{coverage:g}"] = float((upper - lower).mean())
    return scores


def coverage_curve(targets: Array, rows: ValueRows) -> dict[str, list[float]]:
    """How often central normal intervals hold the target, by what they say: on the diagonal if they are right."""
    levels = np.linspace(0.05, 0.95, 19)
    deviations = np.abs(targets - rows.mean) / np.sqrt(np.maximum(rows.variance, _TINY))
    held: npt.NDArray[Any] = (deviations.ravel()[:, np.newaxis] <= special.ndtri((1 + levels) / 2)).mean(axis=0)
    return {"stated": levels.tolist(), "measured": held.tolist()}
