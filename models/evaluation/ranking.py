"""How well an uncertainty sorts rows: wrong answers from right ones, rows from elsewhere, and risk against coverage."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from thinned.models.evaluation.predictive import Array
from thinned.models.evaluation.resampling import Resampling

__all__ = [
    "area_under",
    "area_under_drawn",
    "auroc",
    "auroc_drawn",
    "auroc_of_ood",
    "auroc_of_ood_drawn",
    "rank_correlation_drawn",
    "risk_coverage",
]

POINTS = 50
BINS = 256
"""Of uncertainty, in which draws of rows are sorted; exact where there are no more values than these."""


def auroc(scores: npt.NDArray[Any], positive: npt.NDArray[np.bool_]) -> float | None:
    """Probability that a positive row scores above another one; None where all rows are of one kind, or score alike."""
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any() or np.ptp(scores) == 0:
        return None
    return float(roc_auc_score(positive, scores))


def auroc_drawn(scores: npt.NDArray[Any], positive: npt.NDArray[np.bool_], resampling: Resampling) -> Array:
    """`auroc` of every draw, (1 + R,); NaN where a draw has rows of one kind alone."""
    places, bins = _places(scores)
    above = resampling.histogram(places, bins, positive)
    return _share_above(above, resampling.histogram(places, bins) - above)


def auroc_of_ood(own: npt.NDArray[Any], other: npt.NDArray[Any]) -> float | None:
    """`auroc` of telling other rows from one's own, each of any shape."""
    ood = np.repeat([False, True], [own.size, other.size])
    return auroc(np.concatenate([own.ravel(), other.ravel()]), ood)


def auroc_of_ood_drawn(own: npt.NDArray[Any], other: npt.NDArray[Any], draws: tuple[Resampling, Resampling]) -> Array:
    """`auroc` of telling other rows from one's own, of every draw of both, (1 + R,)."""
    places, bins = _places(np.concatenate([own, other]))
    return _share_above(draws[1].histogram(places[len(own) :], bins), draws[0].histogram(places[: len(own)], bins))


def risk_coverage(uncertainty: npt.NDArray[Any], loss: npt.NDArray[Any]) -> dict[str, list[float]]:
    """Mean loss of the surest rows, by their share (El-Yaniv & Wiener 2010); ties in their order.

    Args:
        uncertainty: (M,).
        loss: (M,), such as 1 for a wrong answer.
    """
    order = np.argsort(uncertainty, kind="stable")
    risks = np.cumsum(loss[order]) / np.arange(1, len(loss) + 1)
    places = np.unique(np.ceil(np.linspace(1 / POINTS, 1, POINTS) * len(loss)).astype(np.int64)) - 1
    return {"coverage": ((places + 1) / len(loss)).tolist(), "risk": risks[places].tolist()}


def area_under(uncertainty: npt.NDArray[Any], loss: npt.NDArray[Any]) -> float:
    """Area under the risk-coverage curve, at every row (Geifman & El-Yaniv 2017); the smaller the better."""
    order = np.argsort(uncertainty, kind="stable")
    return float((np.cumsum(loss[order]) / np.arange(1, len(loss) + 1)).mean())


def area_under_drawn(uncertainty: npt.NDArray[Any], loss: npt.NDArray[Any], resampling: Resampling) -> Array:
    """`area_under` of every draw, (1 + R,), with the risk at the middle of each bin."""
    places, bins = _places(uncertainty)
    rows, losses = resampling.histogram(places, bins), resampling.histogram(places, bins, loss)
    before = np.maximum(rows.cumsum(axis=1) - rows / 2, np.finfo(float).tiny)
    risk = (losses.cumsum(axis=1) - losses / 2) / before
    area: Array = (rows * risk).sum(axis=1) / rows.sum(axis=1)
    return area


def rank_correlation_drawn(a: npt.NDArray[Any], b: npt.NDArray[Any], resampling: Resampling) -> Array:
    """Correlation of the ranks of a and b, (M,) each, in every draw, (1 + R,); ranks are those among all rows."""
    x, y = (stats.rankdata(values) / len(values) for values in (a, b))
    x, y = x - x.mean(), y - y.mean()
    means = resampling.mean(np.stack([x, y, x * x, y * y, x * y], axis=1)).T
    spread = (means[2] - means[0] ** 2) * (means[3] - means[1] ** 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = (means[4] - means[0] * means[1]) / np.sqrt(spread)
    return found


def _places(scores: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], int]:
    """The bin of each score and the number of bins, of about as many rows each."""
    values = np.unique(scores)
    if len(values) > BINS:
        values = np.unique(np.quantile(scores, np.linspace(0, 1, BINS + 1)[:-1]))
    places: npt.NDArray[np.int64] = np.searchsorted(values, scores, side="right") - 1
    return places, len(values)


def _share_above(positive: Array, negative: Array) -> Array:
    """Share of pairs whose positive stands in a higher bin, those of one bin counted half."""
    below = negative.cumsum(axis=1) - negative / 2
    with np.errstate(invalid="ignore"):
        share: Array = (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))
    return share
