"""Means over repeats with confidence intervals, and a straight line through points by least squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Estimate", "LineFit", "estimate", "fit_line", "student_quantile"]

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over repeats with its 95 % interval (Student's t); `low` and `high` are None for a single repeat."""

    value: float
    low: float | None
    high: float | None
    each: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """The estimate as the results document holds it."""
        return {"value": self.value, "low": self.low, "high": self.high, "each": list(self.each)}


@dataclass(frozen=True)
class LineFit:
    """`y = intercept + slope x` by least squares, with standard errors and residuals."""

    intercept: float
    slope: float
    intercept_error: float | None
    slope_error: float | None
    r_squared: float
    residuals: tuple[float, ...]


def student_quantile(freedom: float, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's t.

    Args:
        freedom: Degrees of freedom.
        level: Probability that t lies within plus or minus the quantile.
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + level / 2))


def estimate(each: Sequence[float], *, at_least: float | None = 0.0) -> Estimate | None:
    """The mean over repeats with its interval; None if no repeat gave a finite number.

    Args:
        each: One number per repeat; those that are not finite are left out.
        at_least: Smallest possible value: a lower bound below it is raised to it.
    """
    known = [float(one) for one in each if np.isfinite(one)]
    if not known:
        return None
    value = float(np.mean(known))
    if len(known) == 1:
        return Estimate(value, None, None, tuple(known))
    half = student_quantile(len(known) - 1) * float(np.std(known, ddof=1)) / len(known) ** 0.5
    low = value - half if at_least is None else max(at_least, value - half)
    return Estimate(value, low, value + half, tuple(known))


def fit_line(x: Sequence[float], y: Sequence[float]) -> LineFit | None:
    """The least-squares line through points; None for fewer than three, which leave no residual to judge the fit by."""
    if len(x) < 3:
        return None
    design = np.column_stack([np.ones(len(x)), x])
    solution, *_ = np.linalg.lstsq(design, np.asarray(y, float), rcond=None)
    residuals = np.asarray(y, float) - design @ solution
    residual_squares = float(residuals @ residuals)
    total_squares = float(((np.asarray(y) - np.mean(y)) ** 2).sum())
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * residual_squares / (len(x) - 2))
    return LineFit(
        float(solution[0]),
        float(solution[1]),
        float(errors[0]),
        float(errors[1]),
        1 - residual_squares / total_squares if total_squares else 1.0,
        tuple(residuals.tolist()),
    )
