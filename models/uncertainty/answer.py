"""Everything that an answer says of one output, computed from the statistics of its passes. The service writes it down.

Moments and entropies come from the statistics alone. What is not a function of them (quantiles; for logits and gaussian
outputs also the parts of the variance, intervals and sets) is computed from the passes themselves: `needs_passes` says
when they must be kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import ModelCard, OutputSpec
from thinned.models.errors import AnswerNotFiniteError
from thinned.models.sampling import Made, Sampling
from thinned.models.uncertainty.decomposition import (
    Decomposition,
    decompose_gaussian,
    decompose_values,
    split_probabilities,
)
from thinned.models.uncertainty.entropy import probabilities
from thinned.models.uncertainty.mean_probabilities import in_own_shape, mean_probabilities
from thinned.models.uncertainty.policies import Decision, decide
from thinned.models.uncertainty.promises import interval, prediction_set, quantile_interval, scored_as
from thinned.models.uncertainty.running_statistics import ErrorSource, RunningStatistics

__all__ = [
    "OutputAnswer",
    "answer_output",
    "likeliest_class",
    "needs_passes",
    "require_finite",
    "told_by_passes",
]

Array = npt.NDArray[np.float64]
_ROWS_NAMED = 10


@dataclass(frozen=True, slots=True)
class OutputAnswer:
    """What S passes say of one output, for B rows.

    `mean`, `variance` (ddof=1) and `standard_error` (of the mean) have shape (B, *output_shape), float64; the error is
    told by the spread of passes, or by that of stratified blocks where there are enough of them, and stands on
    `degrees_of_freedom` free deviations: an interval about the mean takes Student's t with as many. `estimator` says
    what mean and variance were made of; where it is "exact" there is no error, and nothing that it stands on. The
    entropies, in nats, have shape (B,), with further axes where a row holds several classifications; None but for
    classification. `likeliest`, of the same shape, is the number of the class with the largest mean probability.

    Of an ensemble `variance` is the sum of `variance_within` and `variance_between` its members, of the same shape.

    With a temperature that was fitted, `mean` and `predictive_entropy` are tempered, and `plain_mean` and
    `plain_predictive_entropy` those of the passes; all else is of the passes. For an output of logits `mean` is their
    mean, and `mean_probabilities` (and `plain_mean_probabilities`) the mean over passes of the probabilities.

    What was asked for besides: `quantiles` (Q, B, *output_shape); `samples` (S, B, *output_shape); `decomposition`, the
    parts of the variance; for a coverage `interval`, lower and upper ends (B, *output_shape), of a regression, or
    `prediction_set`, booleans (B, ..., C), of a classification; and `decision`, of an output with a policy.
    """

    mean: Array
    variance: Array
    standard_error: Array
    standard_error_from: ErrorSource
    degrees_of_freedom: int | None
    estimator: Made = "passes"
    predictive_entropy: Array | None = None
    expected_entropy: Array | None = None
    mutual_information: Array | None = None
    likeliest: npt.NDArray[np.intp] | None = None
    variance_within: Array | None = None
    variance_between: Array | None = None
    quantiles: Array | None = None
    samples: npt.NDArray[Any] | None = None
    decomposition: Decomposition | None = None
    interval: tuple[Array, Array] | None = None
    prediction_set: npt.NDArray[np.bool_] | None = None
    decision: Decision | None = None
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
    policy: bool = False,
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
        policy: Whether to give what the output's policy says of each row.

    Raises:
        AnswerNotFiniteError: A pass is NaN or infinite.
        CalibrationError: The output is not calibrated for this coverage.
    """
    require_finite(spec.name, statistics.mean)
    error, source = statistics.standard_error(sampling)
    variances = statistics.parts
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
        members = prediction_set(spec, plain, coverage)
    elif coverage is not None and spec.task == "quantile":
        ends = quantile_interval(spec, statistics.mean, coverage)
    elif coverage is not None:
        parts = _decompose(scored_as(spec), statistics, passes)
        ends = interval(
            spec,
            _target_mean(spec, statistics),
            parts.epistemic if parts.total is None else parts.total,
            coverage,
        )
    return OutputAnswer(
        mean=statistics.mean if tempered is None or logits is not None else tempered.best,
        variance=statistics.variance,
        standard_error=error,
        standard_error_from=source,
        degrees_of_freedom=None if statistics.made == "exact" else statistics.degrees_of_freedom(sampling),
        estimator=statistics.made,
        predictive_entropy=predictive if tempered is None else tempered.tempered_entropy,
        expected_entropy=expected,
        mutual_information=None if predictive is None or expected is None else predictive - expected,
        likeliest=likeliest,
        variance_within=None if variances is None else variances.within,
        variance_between=None if variances is None else variances.between,
        quantiles=levels,
        samples=passes if return_samples else None,
        decomposition=_decompose(spec, statistics, passes) if separate else None,
        interval=ends,
        prediction_set=members,
        decision=decide(spec, statistics, found, passes) if policy else None,
        plain_mean=None if tempered is None or logits is not None else tempered.plain,
        mean_probabilities=None if logits is None else logits.best,
        plain_mean_probabilities=None if tempered is None or logits is None else logits.plain,
        plain_predictive_entropy=None if tempered is None else tempered.plain_entropy,
    )


def told_by_passes(answers: Iterable[OutputAnswer]) -> OutputAnswer:
    """Of the answers to one request, which have the same passes, one that tells of them: an exact one does not."""
    found = list(answers)
    return next((answer for answer in found if answer.estimator != "exact"), found[0])


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
        "send values nearer to those that it was trained on",
        rows,
    )


def needs_passes(card: ModelCard) -> bool:
    """Whether the parts of the variance, intervals or sets of some output cannot be told from its statistics."""
    return any(spec.task == "gaussian" or spec.scale == "logits" for spec in card.outputs)


def _decompose(spec: OutputSpec, statistics: RunningStatistics, passes: npt.NDArray[Any] | None) -> Decomposition:
    if spec.task == "gaussian" and passes is not None:
        factor = spec.calibration.variance_factor if spec.calibration is not None else None
        return decompose_gaussian(passes, factor=factor or 1.0, epistemic=_means_of(statistics.variance))
    if spec.task in ("regression", "quantile"):
        return decompose_values(statistics.variance, _noise(spec, statistics.variance.shape))
    if spec.scale == "logits" and passes is not None:
        probs = in_own_shape(spec, passes)
        return split_probabilities(probs.mean(axis=0), probs.var(axis=0))
    return split_probabilities(statistics.mean, statistics.population_variance)


def _target_mean(spec: OutputSpec, statistics: RunningStatistics) -> Array:
    """Mean of the target: of a gaussian output, the mean over passes of its means."""
    return statistics.mean if spec.task != "gaussian" else _means_of(statistics.mean)


def _means_of(values: Array) -> Array:
    """Of a gaussian output what is said of its means, (B, ..., K) of (B, ..., 2 K)."""
    return values[..., : values.shape[-1] // 2]


def _noise(spec: OutputSpec, shape: tuple[int, ...]) -> Array | None:
    if spec.noise is None:
        return None
    noise: Array = np.broadcast_to(np.asarray(spec.noise).reshape((1, *shape[1:])), shape)
    return noise
