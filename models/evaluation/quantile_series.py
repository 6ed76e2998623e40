"""Ways to answer quantiles, scored: the plain answer, the mean over passes, and that with its calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from thinned.models.card import Calibration, OutputSpec
from thinned.models.evaluation.gathering import Inputs, OnRows, gather
from thinned.models.evaluation.predictive import Array, quantiles_of
from thinned.models.evaluation.regression import COVERAGES, scored_units
from thinned.models.evaluation.report import Series
from thinned.models.evaluation.resampling import Resampling
from thinned.models.uncertainty.conformal import factor_for, quantile_interval

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["Held", "quantile_series"]

Held = dict[str, npt.NDArray[np.float64] | None]
"""By the name of a score, for each number what its mean is of, (B * K,); None where nothing tells it."""


def quantile_series(
    model: StochasticModel,
    spec: OutputSpec,
    inputs: Inputs,
    truth: Array,
    counts: Sequence[int],
    curves_at: int,
    seed: int,
    resampling: Resampling,
    on_rows: OnRows | None,
) -> tuple[list[Series], Held]:
    """Ask the model, and score all ways to answer.

    Args:
        model: The model.
        spec: The output.
        inputs: By name.
        truth: The targets, (B, K).
        counts: Numbers of passes, none for a model without sites.
        curves_at: That of them by which intervals are scored by group.
        seed: Of the passes.
        resampling: Of the rows.
        on_rows: Called with the rows done, and the rows in all.

    Returns:
        The series, and what is held at `curves_at` by the intervals that are served.
    """
    plain = _lost(spec, quantiles_of(model.predict(inputs)[spec.name][np.newaxis]), truth, None)
    series = [_series("deterministic", (0,), [plain], resampling)]
    if not counts:
        return series, {}
    # The mean quantiles of each number of passes, (B, K, Q).
    parts = gather(model, spec, inputs, counts, seed, lambda passes, _: quantiles_of(passes), on_rows)
    drawn = [np.concatenate(part) for part in parts]
    series.append(_series("passes", tuple(counts), [_lost(spec, mean, truth, None) for mean in drawn], resampling))
    fitted = spec.calibration
    if fitted is None or fitted.promise is None:
        return series, {}
    served = [_lost(spec, mean, truth, fitted) for mean in drawn]
    series.append(_series("calibrated passes", tuple(counts), served, resampling))
    held = served[list(counts).index(curves_at)]
    return series, {name: each for name, each in held.items() if name.startswith("conformal_")}


def _lost(spec: OutputSpec, quantiles: Array, truth: Array, served: Calibration | None) -> Held:
    """What each number scores, (B * K,), by the name of a score."""
    levels = np.asarray(spec.levels)
    off = truth[..., np.newaxis] - quantiles
    middle = int(np.abs(levels - 0.5).argmin())
    inside = (off[..., 0] >= 0) & (off[..., -1] <= 0)
    found: Held = {
        "pinball": np.maximum(levels * off, (levels - 1) * off).mean(axis=-1),
        "mae": np.abs(off[..., middle]),
        "quantile_coverage": inside.astype(np.float64),
        "quantile_width": quantiles[..., -1] - quantiles[..., 0],
    }
    for coverage in COVERAGES if served is not None else ():
        names = f"conformal_coverage_{coverage:g}", f"conformal_width_{coverage:g}"
        found |= dict(zip(names, _held(quantiles, truth, served, coverage), strict=True))
    return {name: None if each is None else each.ravel() for name, each in found.items()}


def _held(
    quantiles: Array, truth: Array, served: Calibration | None, coverage: float
) -> tuple[Array | None, Array | None]:
    """Whether the interval that is served holds each target, and its width; None where there were too few rows."""
    if served is None:
        return None, None
    try:
        factor = factor_for(np.asarray(served.scores), coverage, rows=scored_units(served))
    except ValueError:
        return None, None
    lower, upper = quantile_interval(quantiles[..., 0], quantiles[..., -1], factor)
    return ((truth >= lower) & (truth <= upper)).astype(np.float64), upper - lower


def _series(name: str, counts: tuple[int, ...], found: Sequence[Held], resampling: Resampling) -> Series:
    scores = tuple({key: None if each is None else float(each.mean()) for key, each in held.items()} for held in found)
    intervals = tuple(
        {
            key: None if each is None else resampling.interval(float(each.mean()), resampling.mean(each))
            for key, each in held.items()
        }
        for held in found
    )
    return Series(name, counts, scores, intervals)
