"""Answers and passes against Keras's own, in standard errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

ERRORS = 5.0
TOLERANCE, DEEP_TOLERANCE, HALF_TOLERANCE = 1e-4, 1e-3, 3e-2
DEEP = 50
"""Layers with weights from which float rounding is allowed DEEP_TOLERANCE."""


def plain_gap(ours: list[Any], theirs: list[Any]) -> float:
    """The largest difference of an output, relative to its largest number."""
    gap = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            return math.inf
        scale = max(float(np.abs(b).max(initial=0.0)), 1e-12)
        gap = max(gap, float(np.abs(np.asarray(a, np.float64) - b).max(initial=0.0)) / scale)
    return gap


def tolerance(layers: int, half: bool) -> float:
    """How far the plain answers may lie apart."""
    return HALF_TOLERANCE if half else DEEP_TOLERANCE if layers >= DEEP else TOLERANCE


def moment_gaps(ours: list[Any], theirs: list[Any], rounding: float) -> tuple[list[str], float]:
    """Outputs whose mean or total variance differ by more than ERRORS; and the largest number of errors seen."""
    found, worst = [], 0.0
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        scale = max(float(np.abs(b).max(initial=0.0)), 1e-30)
        (own, own_error), (other, other_error) = _total_variance(a), _total_variance(b)
        if max(own, other) <= a.shape[1] * (1e-6 * scale) ** 2:
            continue
        apart = max(0.0, abs(own - other) - rounding * max(own, other)) / max(
            math.hypot(own_error, other_error), 1e-300
        )
        errors = np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))
        shift = np.maximum(0.0, np.abs(a.mean(axis=0) - b.mean(axis=0)) - rounding * scale) / np.maximum(errors, 1e-300)
        worst = max(worst, apart, float(shift.max(initial=0.0)))
        if apart > ERRORS:
            found.append(f"output {i}: variance {own:.4g}, Keras's own {other:.4g}, {apart:.0f} standard errors apart")
        if shift.max(initial=0.0) > ERRORS:
            unit = int(shift.argmax())
            found.append(
                f"output {i}: mean {a[:, unit].mean():.4g}, Keras's own {b[:, unit].mean():.4g}, "
                f"{shift.max():.0f} standard errors apart"
            )
    return found, worst


def _total_variance(x: Any) -> tuple[float, float]:
    squares = ((x - x.mean(axis=0)) ** 2).sum(axis=1)
    return float(squares.sum() / (len(x) - 1)), float(squares.std(ddof=1) / math.sqrt(len(x)))
