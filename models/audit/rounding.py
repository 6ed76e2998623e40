"""How far float rounding alone moves an answer, and which variances are too small to form a ratio with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.compat.keras import flatten_layers
from thinned.models.dropout.stochastic_model import StochasticModel

__all__ = ["relative_rounding", "rounding_of_outputs", "telling", "unit_rounding"]

Array = npt.NDArray[Any]
_SINGLE, _FLOAT16, _BFLOAT16 = 2.0**-23, 2.0**-10, 2.0**-7
_MARGIN = 4.0
_NEGLIGIBLE = 1e-4
"""Share of the largest unit's variance below which a unit says nothing: a deviation of less than a hundredth."""


def unit_rounding(model: StochasticModel) -> float:
    """The relative error of one operation, in the coarsest numbers that the model computes with."""
    dtypes = {str(layer.compute_dtype) for layer in flatten_layers(model.keras_model)}
    return _BFLOAT16 if "bfloat16" in dtypes else _FLOAT16 if "float16" in dtypes else _SINGLE


def relative_rounding(model: StochasticModel) -> float:
    """How far rounding is expected to move an answer, relative to the largest number of the output.

    The error of one operation times the root of the number of layers with weights: errors of either sign add up like a
    random walk.
    """
    depth = 1 + sum(bool(layer.weights) for layer in flatten_layers(model.keras_model))
    unit = unit_rounding(model)
    return unit * math.sqrt(depth) * (_MARGIN if unit == _SINGLE else 1.0)


def rounding_of_outputs(
    model: StochasticModel, answers: Mapping[str, Array], again: Mapping[str, Array]
) -> dict[str, float]:
    """How far two answers of each output may lie apart by rounding alone, in the output's units.

    It is the larger of what was measured, twice the distance of `answers` from `again`, and of what is expected.

    Args:
        model: The model.
        answers: Deterministic answers by output name, (B, ...).
        again: The same, computed by another graph.
    """
    expected = relative_rounding(model)
    found = {}
    for name, values in answers.items():
        apart = np.abs(values.astype(np.float64) - again[name])
        measured = float(np.nan_to_num(apart, nan=0.0, posinf=0.0).max(initial=0.0))
        scale = float(np.abs(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)).max(initial=0.0))
        found[name] = max(2 * measured, expected * scale)
    return found


def telling(variance: Array, mean: Array, *, unit: float) -> npt.NDArray[np.bool_]:
    """Which units vary enough for a ratio of their variances to mean something.

    A unit is left out whose variance is negligible beside the largest one's, or no more than the rounding of its mean.

    Args:
        variance: Of each unit, (K,).
        mean: Of each unit, (K,).
        unit: `unit_rounding` of the model.
    """
    rounding = (_MARGIN * unit * np.abs(mean.astype(np.float64))) ** 2
    least = np.maximum(_NEGLIGIBLE * variance.max(initial=0.0), rounding)
    return np.asarray((variance > least) & np.isfinite(variance), dtype=np.bool_)
