"""What a calibrated output promises: intervals and sets of a stated coverage, for whom, and on how many rows.

The scores of a calibration hold for answers that are made as they were: of as many passes, stratified, with the mean
and the variance of these passes.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from thinned.models.card import Calibration, ModelCard, OutputSpec, Promise
from thinned.models.errors import CalibrationError
from thinned.models.sampling import Estimator, Sampling
from thinned.models.uncertainty import class_sets, conformal
from thinned.models.uncertainty.entropy import probabilities, temper
from thinned.models.uncertainty.folds import units_for

__all__ = [
    "CALIBRATED_ESTIMATOR",
    "CALIBRATED_SAMPLING",
    "calibrated_passes",
    "check_coverage",
    "AskedPasses",
    "answers_promised",
    "check_passes",
    "describe_promise",
    "interval",
    "prediction_set",
    "quantile_interval",
    "refuse_other_passes",
    "scored_as",
]

Array = npt.NDArray[np.float64]
CALIBRATED_SAMPLING: Sampling = "stratified"
CALIBRATED_ESTIMATOR: Estimator = "passes"


def calibrated_passes(card: ModelCard) -> int | None:
    """Passes that every output was calibrated with; None where one has no promise, or they differ."""
    fitted = [spec.calibration for spec in card.outputs if spec.calibration and spec.calibration.promise]
    counts = {calibration.n_samples for calibration in fitted}
    return counts.pop() if len(fitted) == len(card.outputs) and len(counts) == 1 else None


def check_coverage(card: ModelCard, coverage: float) -> None:
    """Refuse a coverage that an output of the model cannot promise.

    Raises:
        CalibrationError: An output is not calibrated, or on too few rows for this coverage, or the outputs with
            different numbers of passes; says what to run.
    """
    for spec in card.outputs:
        _factor(spec, coverage)
    if calibrated_passes(card) is None:
        told = ", ".join(f"{o.name} with {o.calibration.n_samples}" for o in card.outputs if o.calibration is not None)
        raise CalibrationError(
            f"the outputs were calibrated with different numbers of passes ({told}), and one answer has as many for "
            "all; run thinned calibrate with the same --n-samples for each --output"
        )


class AskedPasses(TypedDict):
    """The passes that an answer is asked for with.

    `n_samples` and `sampling` as in a request; `adaptive`: whether a tolerance or a budget may end them sooner;
    `limit`: the most that may be asked for; `estimator`: how mean and variance are to be made, None for as in the
    calibration.
    """

    n_samples: int
    sampling: Sampling
    adaptive: bool
    limit: int
    estimator: NotRequired[Estimator | None]


def check_passes(card: ModelCard, **asked: Unpack[AskedPasses]) -> None:
    """Refuse a coverage for answers that are made otherwise than those that were calibrated.

    Args:
        card: Of a model whose coverage `check_coverage` lets pass.
        asked: The passes asked for.

    Raises:
        CalibrationError: They differ; says what to leave out.
    """
    passes = calibrated_passes(card)
    if passes is not None:
        refuse_other_passes("coverage", passes, **asked)


def refuse_other_passes(what: str, passes: int, **asked: Unpack[AskedPasses]) -> None:
    """Refuse what holds for answers of so many stratified passes where others are asked for.

    Raises:
        CalibrationError: They differ; says what to leave out.
    """
    if passes > asked["limit"]:
        raise CalibrationError(
            f"the {what} holds for answers of {passes} passes, as calibrated, and at most {asked['limit']} may be "
            f"asked for here; raise THINNED_MAX_SAMPLES, or run thinned calibrate with --n-samples {asked['limit']}"
        )
    estimator = asked.get("estimator")
    others = [
        *([f"{asked['n_samples']} passes"] if asked["n_samples"] != passes else []),
        *([f"{asked['sampling']} passes"] if asked["sampling"] != CALIBRATED_SAMPLING else []),
        *(["a tolerance or a budget of time"] if asked["adaptive"] else []),
        *([f'the estimator "{estimator}"'] if estimator not in (None, CALIBRATED_ESTIMATOR) else []),
    ]
    if others:
        raise CalibrationError(
            f"the {what} holds for answers of {passes} {CALIBRATED_SAMPLING} passes, as calibrated, and this asks "
            f"for one with {' and '.join(others)}; leave that out, or run thinned calibrate with another --n-samples"
        )


def describe_promise(spec: OutputSpec) -> str:
    """In a few sentences what the coverage of an output promises, and what its n counts."""
    fitted = spec.calibration
    if fitted is None or not fitted.scores:
        return f"Output {spec.name} promises no coverage."
    if fitted.promise is None:
        return f"Output {spec.name} promises no coverage: {_OLD}."
    promise, n = fitted.promise, fitted.promise.n
    numbers, several = spec.task in ("regression", "gaussian", "quantile"), spec.task == "multilabel"
    what = "interval holds a number" if numbers else "set holds the class"
    positions = promise.positions > 1
    if several:
        return _of_labels(spec, fitted, promise)
    if promise.counted == "groups":
        whose, unit = "of the rows of a new group, on average over them", "groups, not rows"
    elif positions:
        whose, unit = "of the positions of a new row, on average over them", "rows, not positions"
    else:
        whose, unit = "of a new row", "rows"
    slack = 1 if promise.counted == "rows" and not positions else 2
    counted = _counted(n, unit, spec, fitted)
    most = f"about C + {slack}/(n + 1) at most"
    if not numbers and not promise.sets.may_be_empty:
        most += ", or as often as the likeliest class is right"
    kind = "" if numbers else f" They are {class_sets.describe_rule(promise.sets)}."
    return (
        f"Coverage C of {spec.name}: {'an' if numbers else 'a'} {what} {whose}, with probability C at least and "
        f"{most}, for C up to {conformal.largest_coverage(n):.4g}.{kind} {counted}"
    )


def _of_labels(spec: OutputSpec, fitted: Calibration, promise: Promise) -> str:
    whose = "a new row" if promise.counted == "rows" else "the rows of a new group"
    unit = "rows, not labels" if promise.counted == "rows" else "groups, not rows"
    return (
        f"Coverage C of {spec.name}: a set holds a share of C at least and about C + 2/(n + 1) at most of the true "
        f"labels of {whose}, on average, for C up to {conformal.largest_coverage(promise.n):.4g}; without true labels "
        f"all are held, and a set may be empty. {_counted(promise.n, unit, spec, fitted)}"
    )


def _counted(n: int, unit: str, spec: OutputSpec, fitted: Calibration) -> str:
    parted = "" if spec.task == "quantile" else ", whose scores another fold of the rows did not fit"
    return f"n = {n} counts {unit}{parted}; it holds for {answers_promised(spec, fitted)}."


def answers_promised(spec: OutputSpec, fitted: Calibration) -> str:
    """Which answers a calibration holds for, in words."""
    passes = f"answers of {fitted.n_samples} {CALIBRATED_SAMPLING} passes"
    return passes if spec.members == 1 else f"{passes} of each member; where none draws noise, for every answer"


def scored_as(spec: OutputSpec) -> OutputSpec:
    """The output with what its scores were made with: the noise, factor and temperature that other rows fitted.

    Raises:
        CalibrationError: The output has no scores that hold a promise.
    """
    fitted, promise = _promise(spec)
    scale = {"temperature": promise.temperature, "variance_factor": promise.variance_factor}
    return spec.model_copy(update={"noise": promise.noise, "calibration": fitted.model_copy(update=scale)})


def interval(
    spec: OutputSpec, mean: npt.NDArray[Any], variance: npt.NDArray[Any], coverage: float
) -> tuple[Array, Array]:
    """The interval of stated coverage about each answer of a regression.

    Args:
        spec: The output, calibrated.
        mean: Mean over passes, (B, *shape); of a gaussian output the means alone.
        variance: Predictive variance of `scored_as(spec)`, network and noise, of the same shape.
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


def quantile_interval(spec: OutputSpec, quantiles: npt.NDArray[Any], coverage: float) -> tuple[Array, Array]:
    """The interval of stated coverage about each number of an output of quantiles.

    Args:
        spec: The output, calibrated.
        quantiles: Mean over passes, (B, ..., Q).
        coverage: In (0, 1).

    Returns:
        Lower and upper ends, (B, ...).

    Raises:
        CalibrationError: The output is not calibrated, or on too few rows for this coverage.
    """
    ordered = np.sort(np.asarray(quantiles, np.float64), axis=-1)
    flat = ordered.reshape(len(ordered), -1, ordered.shape[-1])
    lower, upper = conformal.quantile_interval(flat[..., 0], flat[..., -1], _factor(spec, coverage))
    return lower.reshape(ordered.shape[:-1]), upper.reshape(ordered.shape[:-1])


def prediction_set(spec: OutputSpec, probs: npt.NDArray[Any], coverage: float) -> npt.NDArray[np.bool_]:
    """Which classes belong to the set of stated coverage of each row.

    Args:
        spec: The output, calibrated.
        probs: Mean probabilities over passes in the output's own shape, (B, *shape), not yet tempered.
        coverage: In (0, 1): how often, at least, a new row's class is in its set; of several labels, the share of its
            true labels that is.

    Returns:
        Booleans (B, ..., C); of a single unit for both classes.

    Raises:
        CalibrationError: The output is not calibrated, or on too few rows for this coverage.
    """
    factor, promise = float(_factor(spec, coverage)[0]), _promise(spec)[1]
    values, several = np.asarray(probs, np.float64), spec.task == "multilabel"
    tempered = temper(probabilities(values[..., np.newaxis] if several else values, "probabilities"), _scale(promise))
    if several:
        members: npt.NDArray[np.bool_] = 1.0 - tempered[..., 1] <= factor
        return members
    return class_sets.prediction_set(tempered, factor, promise.sets)


def _scale(promise: Promise) -> float:
    return promise.temperature or 1.0


_OLD = (
    "it was calibrated by an earlier version of Thinned, whose scores were made of the rows that had fitted the scale; "
    "calibrate again (thinned calibrate NAME --data val.npz)"
)


def _promise(spec: OutputSpec) -> tuple[Calibration, Promise]:
    fitted = spec.calibration
    if fitted is None or not fitted.scores:
        raise CalibrationError(
            f"the output {spec.name!r} is not calibrated for a coverage, so no coverage can be promised; run thinned "
            "calibrate NAME --data val.npz"
        )
    if fitted.promise is None:
        raise CalibrationError(f"the output {spec.name!r} promises no coverage: {_OLD}")
    return fitted, fitted.promise


def _factor(spec: OutputSpec, coverage: float) -> Array:
    fitted, promise = _promise(spec)
    least, whole = conformal.least_rows(coverage), spec.task == "quantile"
    if promise.n < least:
        more = f"{least} or more" if whole else f"{units_for(least)} or more"
        raise CalibrationError(
            f"the output {spec.name!r}: a coverage of {coverage:g} needs the scores of {least} or more "
            f"{promise.counted}, there are {promise.n}; ask for {conformal.largest_coverage(promise.n):.4g} or less, "
            f"or calibrate with {more} {promise.counted}{'' if whole else ', of which a third fits the scale'}"
        )
    return np.asarray(conformal.factor_for(np.asarray(fitted.scores), coverage, rows=promise.n))
