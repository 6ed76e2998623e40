"""How well an uncertainty sorts rows: wrong answers from right ones, rows from elsewhere, and risk against coverage."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["area_under", "auroc", "risk_coverage"]

POINTS = 50


def auroc(scores: npt.NDArray[Any], positive: npt.NDArray[np.bool_]) -> float | None:
    """Probability that a positive row scores above another one; None where all rows are of one kind, or score alike."""
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any() or np.ptp(scores) == 0:
        return None
    return float(roc_auc_score(positive, scores))


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
