"""Numbers with their uncertainty: means over repeats, ratios, and a straight line through points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Estimate", "Line", "estimate", "fit_line", "student"]

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over repeats with its 95 % interval (Student's t); without bounds where one repeat tells none."""

    value: float
    low: float | None
    high: float | None
    each: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """As the results hold it."""
        return {"value": self.value, "low": self.low, "high": self.high, "each": list(self.each)}


@dataclass(frozen=True)
class Line:
    """`y = intercept + slope x` by least squares, with standard errors and what is left over."""

    intercept: float
    slope: float
    intercept_error: float | None
    slope_error: float | None
    r_squared: float
    residuals: tuple[float, ...]


def student(freedom: float, level: float = LEVEL) -> float:
    """The two-sided quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + level / 2))


def estimate(each: Sequence[float], *, at_least: float | None = 0.0) -> Estimate | None:
    """The mean of what repeats gave; None if they gave nothing. A bound below `at_least` is moved to it."""
    known = [float(one) for one in each if np.isfinite(one)]
    if not known:
        return None
    value = float(np.mean(known))
    if len(known) == 1:
        return Estimate(value, None, None, tuple(known))
    half = student(len(known) - 1) * float(np.std(known, ddof=1)) / len(known) ** 0.5
    low = value - half if at_least is None else max(at_least, value - half)
    return Estimate(value, low, value + half, tuple(known))


def fit_line(x: Sequence[float], y: Sequence[float]) -> Line | None:
    """The line through points; None for fewer than three, which say nothing about its fit."""
    if len(x) < 3:
        return None
    design = np.column_stack([np.ones(len(x)), x])
    solution, *_ = np.linalg.lstsq(design, np.asarray(y, float), rcond=None)
    residuals = np.asarray(y, float) - design @ solution
    spread = float(residuals @ residuals)
    total = float(((np.asarray(y) - np.mean(y)) ** 2).sum())
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * spread / (len(x) - 2))
    return Line(
        float(solution[0]),
        float(solution[1]),
        float(errors[0]),
        float(errors[1]),
        1 - spread / total if total else 1.0,
        tuple(residuals.tolist()),
    )
