"""Scores of a classification, from its probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import Calibration, SetRule
from thinned.models.evaluation.predictive import Array
from thinned.models.evaluation.regression import COVERAGES, scored_units, served_levels
from thinned.models.evaluation.resampling import Resampling
from thinned.models.uncertainty import temper
from thinned.models.uncertainty.class_sets import class_scores, of_labels
from thinned.models.uncertainty.conformal import factor_for

__all__ = [
    "BINS",
    "classification_drawn",
    "classification_scores",
    "expected_calibration_error",
    "held_by_sets",
    "reliability",
    "set_coverage_curve",
]

BINS = 15
_TINY = 1e-12


def reliability(probs: Array, labels: npt.NDArray[np.int64], bins: int = BINS) -> list[dict[str, float]]:
    """Confidence against accuracy in bins of equal width; bins without rows are left out."""
    best, confidence = probs.argmax(axis=1), probs.max(axis=1)
    place = _bin_of(confidence, bins)
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


def _bin_of(confidence: Array, bins: int) -> npt.NDArray[np.int64]:
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


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


def classification_drawn(probs: Array, labels: npt.NDArray[np.int64], resampling: Resampling) -> dict[str, Array]:
    """`classification_scores` of every draw of the rows, (1 + R,) each."""
    true, confidence = probs[np.arange(len(labels)), labels], probs.max(axis=1)
    right = (probs.argmax(axis=1) == labels).astype(np.float64)
    brier = (probs**2).sum(axis=1) - 2 * true + 1
    means = resampling.mean(np.stack([right, -np.log(np.clip(true, _TINY, 1.0)), brier], axis=1))
    gaps = resampling.histogram(_bin_of(confidence, BINS), BINS, confidence - right)
    ece = np.abs(gaps).sum(axis=1) / resampling.total(np.ones(len(labels)))
    return {"accuracy": means[:, 0], "nll": means[:, 1], "brier": means[:, 2], "ece": ece}


def held_by_sets(
    probs: Array, labels: npt.NDArray[np.int64], calibration: Calibration, rows: int | None = None
) -> dict[str, npt.NDArray[Any] | None]:
    """Of each answer whether its set holds the true class, and the number of classes in it, for each coverage.

    Args:
        probs: The mean over passes with the fitted temperature, (M, C).
        labels: (M,).
        calibration: What was fitted, with a promise.
        rows: Of several labels the rows that they are of, B; then the share of a row's true labels that its set holds,
            and the number of labels in it, (B,).

    Returns:
        By the name of a score, whose value is the mean, (M,); None where there were too few calibration rows.
    """
    found: dict[str, npt.NDArray[Any] | None] = {}
    held = _Held(probs, labels, calibration, rows)
    for coverage in COVERAGES:
        names = f"set_coverage_{coverage:g}", f"set_size_{coverage:g}"
        try:
            found |= dict(zip(names, held.at(coverage), strict=True))
        except ValueError:
            found |= dict.fromkeys(names)
    return found


def set_coverage_curve(
    probs: Array, labels: npt.NDArray[np.int64], calibration: Calibration, rows: int | None = None
) -> dict[str, list[float]]:
    """How often served sets hold the true class and how large they are, by the coverage that was asked for."""
    curve: dict[str, list[float]] = {"stated": [], "measured": [], "size": []}
    held = _Held(probs, labels, calibration, rows)
    for level in served_levels(calibration):
        inside, size = held.at(level)
        curve["stated"].append(level)
        curve["measured"].append(float(inside.mean()))
        curve["size"].append(float(size.mean()))
    return curve


class _Held:
    """What sets hold, at one coverage after another."""

    def __init__(self, probs: Array, labels: npt.NDArray[np.int64], calibration: Calibration, rows: int | None) -> None:
        probs, promise = _as_scored(probs, calibration), calibration.promise
        if rows is not None:
            self._scores = 1.0 - probs[:, 1].reshape(rows, -1)
        else:
            self._scores = class_scores(probs, SetRule(may_be_empty=True) if promise is None else promise.sets)
        self._labels, self._several = labels, rows is not None
        self._kept, self._n = np.asarray(calibration.scores)[:, 0], scored_units(calibration)

    def at(self, coverage: float) -> tuple[Array, npt.NDArray[np.int64]]:
        """The share that is held and the size, of each answer, or of each row of several labels.

        Raises:
            ValueError: There were too few calibration rows.
        """
        factor = float(factor_for(self._kept, coverage, rows=self._n))
        members = self._scores <= factor
        if not self._several:
            return (of_labels(self._scores, self._labels) <= factor).astype(np.float64), members.sum(axis=1)
        true = self._labels.reshape(members.shape) == 1
        held = np.where(true.any(axis=1), (members & true).sum(axis=1) / np.maximum(true.sum(axis=1), 1), 1.0)
        return held, members.sum(axis=1)


def _as_scored(probs: Array, calibration: Calibration) -> Array:
    """Probabilities of the fitted temperature with the one that the scores were made with, which other rows fitted."""
    own = calibration.promise.temperature if calibration.promise is not None else None
    fitted = calibration.temperature or 1.0
    return probs if own is None else temper(probs, own / fitted)
