"""Answers of a stated coverage from what calibration has stored on the card: intervals, and sets of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import OutputSpec
from thinned.models.errors import CalibrationError
from thinned.models.uncertainty import conformal, temper

__all__ = ["check_coverage", "interval", "prediction_set"]

Array = npt.NDArray[np.float64]


def check_coverage(spec: OutputSpec, coverage: float) -> None:
    """Refuse a coverage that this output cannot promise.

    Raises:
        CalibrationError: The output is not calibrated, or on too few rows for this coverage.
    """
    _factor(spec, coverage)


def interval(
    spec: OutputSpec, mean: npt.NDArray[Any], variance: npt.NDArray[Any], coverage: float
) -> tuple[Array, Array]:
    """The interval of stated coverage about each answer of a regression.

    Args:
        spec: The output, calibrated.
        mean: Mean over passes, (B, *shape); of a gaussian output the means alone.
        variance: Predictive variance, network and noise, of the same shape.
        coverage: In (0, 1): how often, at least, a new row's target lies inside.

    Returns:
        Lower and upper ends, of the same shape.

    Raises:
        CalibrationError: The output is not calibrated, or on too few rows for this coverage.
    """
    factor = np.asarray(_factor(spec, coverage))
    shape = np.shape(mean)
    flat = [np.asarray(x, np.float64).reshape(shape[0], -1) for x in (mean, variance)]
    lower, upper = conformal.interval(flat[0], flat[1], factor)
    return lower.reshape(shape), upper.reshape(shape)


def prediction_set(spec: OutputSpec, probs: npt.NDArray[Any], coverage: float) -> npt.NDArray[np.bool_]:
    """Which classes belong to the set of stated coverage of each row.

    Args:
        spec: The output, calibrated.
        probs: Mean probabilities over passes, (B, ..., C), not yet tempered.
        coverage: In (0, 1): how often, at least, a new row's class is in its set.

    Returns:
        Booleans of the same shape.

    Raises:
        CalibrationError: The output is not calibrated, or on too few rows for this coverage.
    """
    factor = float(_factor(spec, coverage)[0])
    heat = spec.calibration.temperature if spec.calibration is not None else None
    return conformal.prediction_set(temper(np.asarray(probs, np.float64), heat or 1.0), factor)


def _factor(spec: OutputSpec, coverage: float) -> Array:
    fitted = spec.calibration
    if fitted is None or not fitted.scores:
        why = "is not calibrated" if fitted is None else "has several labels at once, for which there are no sets"
        raise CalibrationError(
            f"the output {spec.name!r} {why}, so no coverage can be promised; run thinned calibrate NAME --data val.npz"
        )
    try:
        return np.asarray(conformal.factor_for(np.asarray(fitted.scores), coverage, rows=fitted.rows))
    except ValueError as error:
        raise CalibrationError(f"the output {spec.name!r}: {error}") from None
