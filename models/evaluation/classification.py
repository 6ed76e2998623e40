"""Scores of a classification, from its probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import Calibration
from thinned.models.evaluation.predictive import Array
from thinned.models.evaluation.regression import COVERAGES
from thinned.models.uncertainty import temper
from thinned.models.uncertainty.conformal import factor_for, prediction_set

__all__ = ["BINS", "classification_scores", "expected_calibration_error", "reliability", "set_scores"]

BINS = 15
_TINY = 1e-12


def reliability(probs: Array, labels: npt.NDArray[np.int64], bins: int = BINS) -> list[dict[str, float]]:
    """Confidence against accuracy in bins of equal width; bins without rows are left out."""
    best, confidence = probs.argmax(axis=1), probs.max(axis=1)
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    found = []
    for number in np.unique(place).tolist():
        inside = place == number
        found.append(
            {
                "from": number / bins,
                "to": (number + 1) / bins,
                "rows": float(inside.sum()),
                "confidence": float(confidence[inside].mean()),
                "accuracy": float((best == labels)[inside].mean()),
            }
        )
    return found


def expected_calibration_error(probs: Array, labels: npt.NDArray[np.int64], bins: int = BINS) -> float:
    """Mean |accuracy - confidence| over bins, weighed by rows (Naeini et al. 2015; Guo et al. 2017)."""
    each = reliability(probs, labels, bins)
    return sum(b["rows"] * abs(b["accuracy"] - b["confidence"]) for b in each) / len(labels)


def classification_scores(probs: Array, labels: npt.NDArray[np.int64]) -> dict[str, float | None]:
    """Scores of probabilities (M, C) against labels (M,).

    `nll` is in nats, `brier` the squared error summed over classes (Brier 1950), `ece` over 15 bins.
    """
    from sklearn.metrics import accuracy_score, log_loss

    truth = np.eye(probs.shape[1])[labels]
    safe = np.clip(probs, _TINY, 1.0)
    return {
        "accuracy": float(accuracy_score(labels, probs.argmax(axis=1))),
        "nll": float(log_loss(labels, safe / safe.sum(axis=1, keepdims=True), labels=range(probs.shape[1]))),
        "brier": float(((probs - truth) ** 2).sum(axis=1).mean()),
        "ece": expected_calibration_error(probs, labels),
    }


def set_scores(probs: Array, labels: npt.NDArray[np.int64], calibration: Calibration) -> dict[str, float | None]:
    """Coverage and mean size of conformal prediction sets, of probabilities with the fitted temperature.

    The sets are of the temperature that the scores were made with, which was fitted on other rows.
    """
    promise = calibration.promise
    if promise is None:
        return {}
    probs = temper(probs, (promise.temperature or 1.0) / (calibration.temperature or 1.0))
    scores: dict[str, float | None] = {}
    kept: npt.NDArray[Any] = np.asarray(calibration.scores)[:, 0]
    rows = np.arange(len(labels))
    for coverage in COVERAGES:
        try:
            factor = float(factor_for(kept, coverage, rows=promise.n))
        except ValueError:
            scores |= {f"set_coverage_{coverage:g}": None, f"set_size_{coverage:g}": None}
            continue
        members = prediction_set(probs, factor)
        scores[f"set_coverage_{coverage:g}"] = float(members[rows, labels].mean())
        scores[f"set_size_{coverage:g}"] = float(members.sum(axis=1).mean())
    return scores
