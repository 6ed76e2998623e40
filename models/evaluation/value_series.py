"""Ways to answer a regression, scored: the plain answer, the mean over passes, and both with their calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import Calibration, OutputSpec
from thinned.models.evaluation.gathering import Inputs, OnRows, gather
from thinned.models.evaluation.predictive import Array, values_of
from thinned.models.evaluation.ranking import (
    area_under,
    area_under_drawn,
    auroc_of_ood,
    auroc_of_ood_drawn,
    risk_coverage,
)
from thinned.models.evaluation.regression import (
    coverage_curve,
    held_by_normal_intervals,
    held_by_served_intervals,
    regression_drawn,
    regression_scores,
    served_coverage_curve,
)
from thinned.models.evaluation.report import Series
from thinned.models.evaluation.resampling import Resampling
from thinned.models.evaluation.rows import ValueRows

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["value_series"]


def value_series(
    model: StochasticModel,
    spec: OutputSpec,
    inputs: Inputs,
    truth: Array,
    answer: npt.NDArray[Any],
    counts: Sequence[int],
    curves_at: int,
    seed: int,
    ood: Inputs | None,
    resamplings: tuple[Resampling, Resampling | None],
    on_rows: OnRows | None,
) -> tuple[list[Series], ValueRows]:
    """Ask the model, and score all ways to answer.

    Returns:
        The series, and the answers that curves are of.

    Args:
        model: The model.
        spec: The output.
        inputs: By name.
        truth: The targets, (B, K).
        answer: The deterministic answer, (1, B, *shape).
        counts: Numbers of passes, none for a model without sites.
        curves_at: That of them which curves are of.
        seed: Of the passes.
        ood: Rows from elsewhere.
        resamplings: Of the rows, and of those from elsewhere.
        on_rows: Called with the rows done, and the rows in all.
    """
    readings = (False, True) if spec.noise is not None or spec.calibration is not None else (False,)
    served = spec.calibration if spec.calibration is not None and spec.calibration.promise else None
    scorer = _Scorer(truth, served, resamplings)
    place = [*counts, curves_at].index(curves_at)
    series, shown = [], ValueRows.of(values_of(answer, spec, calibrated=False), None)
    for calibrated in readings:
        prefix = "calibrated " if calibrated else ""
        own = ValueRows.of(values_of(answer, spec, calibrated=calibrated), truth)
        series.append(scorer.series(f"{prefix}deterministic", (0,), [own], [None], 0))
        if not counts:
            continue

        def keep(passes: npt.NDArray[Any], rows: slice, calibrated: bool = calibrated) -> ValueRows:
            return ValueRows.of(values_of(passes, spec, calibrated=calibrated), truth[rows])

        def other_rows(passes: npt.NDArray[Any], rows: slice, calibrated: bool = calibrated) -> ValueRows:
            return ValueRows.of(values_of(passes, spec, calibrated=calibrated), None)

        sampled = [ValueRows.joined(parts) for parts in gather(model, spec, inputs, counts, seed, keep, on_rows)]
        others: list[ValueRows | None] = [None] * len(counts)
        if ood is not None:
            others = [ValueRows.joined(parts) for parts in gather(model, spec, ood, counts, seed, other_rows)]
        series.append(scorer.series(f"{prefix}passes", tuple(counts), sampled, others, place))
        shown = sampled[place]
    return series, shown


class _Scorer:
    """Scores answers against the targets of one set of rows."""

    def __init__(
        self, truth: Array, served: Calibration | None, resamplings: tuple[Resampling, Resampling | None]
    ) -> None:
        self._truth, self._served = truth, served
        self._resampling, self._resampling_ood = resamplings

    def series(
        self,
        name: str,
        counts: tuple[int, ...],
        rows: Sequence[ValueRows],
        others: Sequence[ValueRows | None],
        place: int,
    ) -> Series:
        # Intervals are served of calibrated passes; those of a normal about other answers would stand in their place.
        served = self._served if name == "calibrated passes" else None
        found = [self._scores(own, other, served) for own, other in zip(rows, others, strict=True)]
        shown, curves = rows[place], dict[str, Any]()
        if served is not None:
            curves["coverage"] = served_coverage_curve(self._truth, shown, served)
        elif self._served is None and (shown.variance > 0).any():
            curves["coverage"] = coverage_curve(self._truth, shown)
        if np.ptp(shown.variance) > 0:
            loss = ((self._truth - shown.mean) ** 2).ravel()
            curves["risk_coverage_deviation"] = risk_coverage(shown.variance.ravel(), loss)
        return Series(name, counts, tuple(s for s, _ in found), tuple(i for _, i in found), curves)

    def _scores(
        self, own: ValueRows, other: ValueRows | None, served: Calibration | None
    ) -> tuple[dict[str, float | None], dict[str, tuple[float, float] | None]]:
        truth, resampling = self._truth, self._resampling
        scores = regression_scores(truth, own, served=self._served is not None)
        drawn = regression_drawn(truth, own, resampling)
        held: dict[str, Array | None] = {}
        if served is not None:
            held = held_by_served_intervals(truth, own, served)
            scores |= {key: None if each is None else float(each.mean()) for key, each in held.items()}
        elif self._served is None:
            held = held_by_normal_intervals(truth, own)
        if np.ptp(own.variance) > 0:
            surest, squares = own.variance.ravel(), ((truth - own.mean) ** 2).ravel()
            scores["area_under_squared_error"] = area_under(surest, squares)
            drawn["area_under_squared_error"] = area_under_drawn(surest, squares, resampling)
        drawn |= {key: resampling.mean(each) for key, each in held.items() if each is not None}
        if other is not None and self._resampling_ood is not None:
            both = own.epistemic.ravel(), other.epistemic.ravel()
            scores["auroc_strange_deviation"] = auroc_of_ood(*both)
            drawn["auroc_strange_deviation"] = auroc_of_ood_drawn(*both, (resampling, self._resampling_ood))
        return scores, {key: resampling.interval(value, drawn.get(key)) for key, value in scores.items()}
