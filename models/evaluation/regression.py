"""Scores of a regression, from its means and variances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from thinned.models.card import Calibration
from thinned.models.evaluation.predictive import Array
from thinned.models.evaluation.ranking import rank_correlation_drawn
from thinned.models.evaluation.resampling import Resampling
from thinned.models.evaluation.rows import ValueRows
from thinned.models.uncertainty.conformal import factor_for, interval, least_rows, scaled_scores

__all__ = [
    "COVERAGES",
    "coverage_curve",
    "crps_gaussian",
    "held_by_normal_intervals",
    "held_by_served_intervals",
    "regression_drawn",
    "regression_scores",
    "scored_units",
    "served_coverage_curve",
    "served_levels",
]

COVERAGES = (0.8, 0.9, 0.95)
LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 20))
_TINY = 1e-300
_MOST_UNITS = 64
"""Numbers a row beyond which the R² of draws is left out: it needs the spread of every one of them."""


def crps_gaussian(targets: Array, mean: Array, variance: Array) -> Array:
    """Continuous ranked probability score of a normal (Gneiting & Raftery 2007, equation 21), in units of the target.

    The smaller the better; with no variance it is the absolute error.
    """
    deviation = np.sqrt(np.maximum(variance, _TINY))
    z = (targets - mean) / deviation
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    score: Array = deviation * (z * (2 * special.ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))
    return score


def regression_scores(targets: Array, rows: ValueRows, *, served: bool = False) -> dict[str, float | None]:
    """Every score of a regression; a score that the noise is needed for is None where nothing tells it.

    Args:
        targets: (B, K).
        rows: What is said of them.
        served: Whether intervals of a stated coverage are served for this output; then those of a normal are left out.
    """
    from sklearn.metrics import mean_absolute_error, r2_score

    mean, variance, likelihood = rows.mean, rows.variance, rows.log_likelihood
    scores: dict[str, float | None] = {
        "rmse": float(np.sqrt(((targets - mean) ** 2).mean())),
        "mae": float(mean_absolute_error(targets, mean)),
        "r2": float(r2_score(targets, mean)) if len(targets) > 1 else None,
        "log_likelihood": None if likelihood is None else float(likelihood.mean()),
        "crps": float(crps_gaussian(targets, mean, variance).mean()),
    }
    if not served:
        held = held_by_normal_intervals(targets, rows)
        scores |= {name: None if each is None else float(each.mean()) for name, each in held.items()}
    rank = stats.spearmanr(np.abs(targets - mean).ravel(), variance.ravel()).statistic if np.ptp(variance) > 0 else None
    scores["error_rank_correlation"] = None if rank is None or not math.isfinite(rank) else float(rank)
    return scores


def regression_drawn(targets: Array, rows: ValueRows, resampling: Resampling) -> dict[str, Array]:
    """Scores of every draw of the rows, (1 + R,) each; without those of intervals, which are means over rows."""
    error = np.abs(targets - rows.mean)
    crps = crps_gaussian(targets, rows.mean, rows.variance)
    means = resampling.mean(np.stack([error.ravel() ** 2, error.ravel(), crps.ravel()], axis=1))
    found = {"rmse": np.sqrt(means[:, 0]), "mae": means[:, 1], "crps": means[:, 2]}
    if rows.log_likelihood is not None:
        found["log_likelihood"] = resampling.mean(rows.log_likelihood.ravel())
    units = targets.shape[1]
    if units <= _MOST_UNITS:
        by_row = resampling.by_unit()
        totals = by_row.total(np.concatenate([error**2, targets, targets**2], axis=1))
        squares, sums, sums_of_squares = (totals[:, i * units : (i + 1) * units] for i in range(3))
        spread = sums_of_squares - sums**2 / by_row.total(np.ones(len(targets)))[:, np.newaxis]
        with np.errstate(invalid="ignore", divide="ignore"):
            found["r2"] = (1 - squares / np.where(spread > 0, spread, np.nan)).mean(axis=1)
    if np.ptp(rows.variance) > 0:
        found["error_rank_correlation"] = rank_correlation_drawn(error.ravel(), rows.variance.ravel(), resampling)
    return found


def held_by_normal_intervals(targets: Array, rows: ValueRows) -> dict[str, Array | None]:
    """Of each number whether a normal's interval holds its target, and its width, for each coverage.

    Returns:
        By the name of a score, whose value is the mean, (B * K,); None where there is no variance.
    """
    found: dict[str, Array | None] = {}
    for coverage in COVERAGES:
        names = f"coverage_{coverage:g}", f"width_{coverage:g}"
        if not (rows.variance > 0).any():
            found |= dict.fromkeys(names)
            continue
        half = (special.ndtri((1 + coverage) / 2) * np.sqrt(rows.variance)).ravel()
        inside = np.abs(targets - rows.mean).ravel() <= half
        found |= dict(zip(names, (inside.astype(np.float64), 2 * half), strict=True))
    return found


def held_by_served_intervals(targets: Array, rows: ValueRows, calibration: Calibration) -> dict[str, Array | None]:
    """Of each number whether the interval that is served holds its target, and its width, for each coverage.

    Returns:
        By the name of a score, whose value is the mean, (B * K,); None where there were too few calibration rows.
    """
    found: dict[str, Array | None] = {}
    kept, variance = np.asarray(calibration.scores), _scored_variance(rows, calibration)
    for coverage in COVERAGES:
        names = f"conformal_coverage_{coverage:g}", f"conformal_width_{coverage:g}"
        try:
            factor = factor_for(kept, coverage, rows=scored_units(calibration))
        except ValueError:
            found |= dict.fromkeys(names)
            continue
        lower, upper = interval(rows.mean, variance, factor)
        inside = ((targets >= lower) & (targets <= upper)).astype(np.float64)
        found |= dict(zip(names, (inside.ravel(), (upper - lower).ravel()), strict=True))
    return found


def coverage_curve(targets: Array, rows: ValueRows) -> dict[str, list[float]]:
    """How often central normal intervals hold the target, by what they say: on the diagonal if they are right."""
    deviations = np.abs(targets - rows.mean) / np.sqrt(np.maximum(rows.variance, _TINY))
    bounds = special.ndtri((1 + np.asarray(LEVELS)) / 2)
    held: npt.NDArray[Any] = (deviations.ravel()[:, np.newaxis] <= bounds).mean(axis=0)
    return {"stated": list(LEVELS), "measured": held.tolist()}


def served_coverage_curve(targets: Array, rows: ValueRows, calibration: Calibration) -> dict[str, list[float]]:
    """The same of the intervals that are served, with their mean width."""
    variance, kept = _scored_variance(rows, calibration), np.asarray(calibration.scores)
    scores = scaled_scores(targets, rows.mean, variance)
    curve: dict[str, list[float]] = {"stated": [], "measured": [], "width": []}
    for level in served_levels(calibration):
        factor = factor_for(kept, level, rows=scored_units(calibration))
        lower, upper = interval(rows.mean, variance, factor)
        curve["stated"].append(level)
        curve["measured"].append(float((scores <= factor).mean()))
        curve["width"].append(float((upper - lower).mean()))
    return curve


def served_levels(calibration: Calibration) -> list[float]:
    """The levels of a curve that there are enough calibration rows for."""
    return [level for level in LEVELS if least_rows(level) <= scored_units(calibration)]


def scored_units(calibration: Calibration) -> int:
    """Rows, or groups, whose scores the calibration keeps: the n of its promise."""
    return 0 if calibration.promise is None else calibration.promise.n


def _scored_variance(rows: ValueRows, calibration: Calibration) -> Array:
    """The predictive variance with the noise, or the factor, that the scores were made with."""
    promise = calibration.promise
    if promise is None or rows.aleatoric is None:
        return rows.variance
    ratio = (promise.variance_factor or 1.0) / (calibration.variance_factor or 1.0)
    noise: Array = rows.aleatoric * ratio if promise.noise is None else np.asarray(promise.noise)
    return np.asarray(rows.epistemic + noise)
