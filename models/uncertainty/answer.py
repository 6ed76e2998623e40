"""Everything that an answer says of one output, computed from the statistics of its passes. The service writes it down.

Moments and entropies come from the statistics alone. What is not a function of them (quantiles; for logits and gaussian
outputs also the parts of the variance, intervals and sets) is computed from the passes themselves: `needs_passes` says
when they must be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import ModelCard, OutputSpec
from thinned.models.errors import AnswerNotFiniteError, CalibrationError
from thinned.models.sampling import Sampling
from thinned.models.uncertainty import conformal
from thinned.models.uncertainty.decomposition import (
    Decomposition,
    decompose_gaussian,
    decompose_probabilities,
    decompose_values,
    split_gaussian,
)
from thinned.models.uncertainty.entropy import probabilities, temper
from thinned.models.uncertainty.mean_probabilities import in_own_shape, mean_probabilities
from thinned.models.uncertainty.running_statistics import ErrorSource, RunningStatistics

__all__ = [
    "OutputAnswer",
    "answer_output",
    "calibrated_passes",
    "check_coverage",
    "interval",
    "likeliest_class",
    "needs_passes",
    "prediction_set",
    "require_finite",
]

Array = npt.NDArray[np.float64]
_ROWS_NAMED = 10


@dataclass(frozen=True, slots=True)
class OutputAnswer:
    """What S passes say of one output, for B rows.

    `mean`, `variance` (ddof=1) and `standard_error` (of the mean) have shape (B, *output_shape), float64; the error is
    told by the spread of passes, or by that of stratified blocks where there are enough of them, and stands on
    `degrees_of_freedom` free deviations: an interval about the mean takes Student's t with as many. The entropies, in
    nats, have shape (B,), with further axes where a row holds several classifications; None but for classification.
    `likeliest`, of the same shape, is the number of the class with the largest mean probability.

    With a temperature that was fitted, `mean` and `predictive_entropy` are tempered, and `plain_mean` and
    `plain_predictive_entropy` those of the passes; all else is of the passes. For an output of logits `mean` is their
    mean, and `mean_probabilities` (and `plain_mean_probabilities`) the mean over passes of the probabilities.

    What was asked for besides: `quantiles` (Q, B, *output_shape); `samples` (S, B, *output_shape); `decomposition`, the
    parts of the variance; and for a coverage `interval`, lower and upper ends (B, *output_shape), of a regression, or
    `prediction_set`, booleans (B, ..., C), of a classification.
    """

    mean: Array
    variance: Array
    standard_error: Array
    standard_error_from: ErrorSource
    degrees_of_freedom: int
    predictive_entropy: Array | None = None
    expected_entropy: Array | None = None
    mutual_information: Array | None = None
    likeliest: npt.NDArray[np.intp] | None = None
    quantiles: Array | None = None
    samples: npt.NDArray[Any] | None = None
    decomposition: Decomposition | None = None
    interval: tuple[Array, Array] | None = None
    prediction_set: npt.NDArray[np.bool_] | None = None
    plain_mean: Array | None = None
    mean_probabilities: Array | None = None
    plain_mean_probabilities: Array | None = None
    plain_predictive_entropy: Array | None = None


def answer_output(
    spec: OutputSpec,
    statistics: RunningStatistics,
    *,
    sampling: Sampling,
    passes: npt.NDArray[Any] | None = None,
    quantiles: Sequence[float] | None = None,
    return_samples: bool = False,
    separate: bool = False,
    coverage: float | None = None,
    calibrated: bool = False,
) -> OutputAnswer:
    """Compute what an answer says of one output.

    Args:
        spec: The output, with what calibration has found.
        statistics: Of its passes.
        sampling: How the passes relate to each other.
        passes: The passes, (S, B, *output_shape); needed for quantiles and samples, and where `needs_passes`.
        quantiles: Levels in (0, 1) of the quantiles to give.
        return_samples: Whether to give the passes.
        separate: Whether to give the parts of the variance.
        coverage: How often, at least, the interval or set is to hold a new row's truth; None for neither.
        calibrated: Whether to give the mean with the temperature that was fitted, where one was.

    Raises:
        AnswerNotFiniteError: A pass is NaN or infinite.
        CalibrationError: The output is not calibrated for this coverage.
    """
    require_finite(spec.name, statistics.mean)
    error, source = statistics.standard_error(sampling)
    found = mean_probabilities(spec, statistics, passes, calibrated=calibrated)
    expected = likeliest = None
    if spec.task == "classification":
        probs = statistics.mean_probabilities
        likeliest = likeliest_class(spec, statistics.mean) if probs is None else probs.argmax(axis=-1)
    predictive = None if found is None else found.plain_entropy
    if predictive is not None and statistics.mean_entropy is not None:
        # Jensen's inequality holds in exact arithmetic; rounding must not break it.
        expected = np.minimum(statistics.mean_entropy, predictive)
    tempered = found if found is not None and found.tempered is not None else None
    logits = found if spec.scale == "logits" else None
    levels = None
    if passes is not None and quantiles:
        levels = np.quantile(passes.astype(np.float64), list(quantiles), axis=0)
    ends = members = None
    if coverage is not None and spec.task in ("classification", "multilabel"):
        plain = statistics.mean if found is None else found.plain
        members = prediction_set(spec, probabilities(plain, "probabilities"), coverage)
    elif coverage is not None:
        parts = _decompose(spec, statistics, passes)
        ends = interval(
            spec,
            _target_mean(spec, statistics, passes),
            parts.epistemic if parts.total is None else parts.total,
            coverage,
        )
    return OutputAnswer(
        mean=statistics.mean if tempered is None or logits is not None else tempered.best,
        variance=statistics.variance,
        standard_error=error,
        standard_error_from=source,
        degrees_of_freedom=statistics.degrees_of_freedom(sampling),
        predictive_entropy=predictive if tempered is None else tempered.tempered_entropy,
        expected_entropy=expected,
        mutual_information=None if predictive is None or expected is None else predictive - expected,
        likeliest=likeliest,
        quantiles=levels,
        samples=passes if return_samples else None,
        decomposition=_decompose(spec, statistics, passes) if separate else None,
        interval=ends,
        prediction_set=members,
        plain_mean=None if tempered is None or logits is not None else tempered.plain,
        mean_probabilities=None if logits is None else logits.best,
        plain_mean_probabilities=None if tempered is None or logits is None else logits.plain,
        plain_predictive_entropy=None if tempered is None else tempered.plain_entropy,
    )


def likeliest_class(spec: OutputSpec, values: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The number of the most probable class of each classification, (B, ...).

    Args:
        spec: A classification output.
        values: What it gave, (B, ..., C), or (B, ..., 1) for class 1 alone.
    """
    scale: Any = spec.scale
    numbers: npt.NDArray[np.intp] = probabilities(values, scale).argmax(axis=-1)
    return numbers


def require_finite(name: str, array: npt.NDArray[Any], *, rows_axis: int = 0) -> None:
    """Refuse an answer that JSON cannot hold.

    Args:
        name: Of the output.
        array: Its numbers.
        rows_axis: The axis of rows, which the text names.

    Raises:
        AnswerNotFiniteError: A number is NaN or infinite.
    """
    finite = np.isfinite(array)
    if finite.all():
        return
    axes = tuple(axis for axis in range(array.ndim) if axis != rows_axis)
    rows = np.flatnonzero(~finite.all(axis=axes)).tolist()
    more = f" and {len(rows) - _ROWS_NAMED} more" if len(rows) > _ROWS_NAMED else ""
    raise AnswerNotFiniteError(
        f"the model answered NaN or infinity in its output {name!r} for rows {rows[:_ROWS_NAMED]}{more}; "
        "send values nearer to those that it was trained on"
    )


def needs_passes(card: ModelCard) -> bool:
    """Whether the parts of the variance, intervals or sets of some output cannot be told from its statistics."""
    return any(spec.task == "gaussian" or spec.scale == "logits" for spec in card.outputs)


def calibrated_passes(card: ModelCard) -> int | None:
    """Passes that every output was calibrated with, where all were; the most of them."""
    counts = [spec.calibration.n_samples for spec in card.outputs if spec.calibration is not None]
    return max(counts) if len(counts) == len(card.outputs) else None


def check_coverage(card: ModelCard, coverage: float) -> None:
    """Refuse a coverage that an output of the model cannot promise.

    Raises:
        CalibrationError: An output is not calibrated, or on too few rows for this coverage; says what to run.
    """
    for spec in card.outputs:
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
    shape = np.shape(mean)
    flat = [np.asarray(x, np.float64).reshape(shape[0], -1) for x in (mean, variance)]
    lower, upper = conformal.interval(flat[0], flat[1], _factor(spec, coverage))
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
    temperature = spec.calibration.temperature if spec.calibration is not None else None
    return conformal.prediction_set(temper(np.asarray(probs, np.float64), temperature or 1.0), factor)


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


def _decompose(spec: OutputSpec, statistics: RunningStatistics, passes: npt.NDArray[Any] | None) -> Decomposition:
    if spec.task == "gaussian" and passes is not None:
        factor = spec.calibration.variance_factor if spec.calibration is not None else None
        return decompose_gaussian(passes, factor=factor or 1.0)
    if spec.task == "regression":
        return decompose_values(statistics.variance, _noise(spec, statistics.variance.shape))
    if spec.scale == "logits" and passes is not None:
        probs = in_own_shape(spec, passes)
        return decompose_probabilities(probs.mean(axis=0), probs.var(axis=0, ddof=1), statistics.count)
    return decompose_probabilities(statistics.mean, statistics.variance, statistics.count)


def _target_mean(spec: OutputSpec, statistics: RunningStatistics, passes: npt.NDArray[Any] | None) -> Array:
    """Mean of the target: of a gaussian output, the mean over passes of its means."""
    if spec.task != "gaussian" or passes is None:
        return statistics.mean
    mean: Array = split_gaussian(passes)[0].mean(axis=0)
    return mean


def _noise(spec: OutputSpec, shape: tuple[int, ...]) -> Array | None:
    if spec.noise is None:
        return None
    noise: Array = np.broadcast_to(np.asarray(spec.noise).reshape((1, *shape[1:])), shape)
    return noise
