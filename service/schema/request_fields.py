"""The fields of a request, checked by hand: every problem is named at once, and a check takes microseconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import prod
from typing import Any, cast

import numpy.typing as npt

from thinned.models.card import ModelCard
from thinned.models.errors import InputError, Problem
from thinned.models.sampling import ESTIMATORS, SAMPLINGS, SEEDS, Estimator, Sampling
from thinned.models.uncertainty.answer import needs_passes
from thinned.models.uncertainty.mean_probabilities import check_temperature, has_temperature
from thinned.models.uncertainty.nearest_rows import check_ood
from thinned.models.uncertainty.policies import check_promises, policy_passes
from thinned.models.uncertainty.promises import CALIBRATED_ESTIMATOR, calibrated_passes
from thinned.models.uncertainty.reduction import Reduction
from thinned.service.schema.input_arrays import MAX_PROBLEMS, check_inputs, describe
from thinned.service.schema.reduce_field import read_reduction
from thinned.service.settings import Settings

__all__ = [
    "LEAST_TIMEOUT_MS",
    "MAX_QUANTILES",
    "SAMPLE_FIELDS",
    "PredictRequest",
    "SampleRequest",
    "read_predict",
    "read_predict_mc",
]

MAX_QUANTILES = 99
LEAST_TIMEOUT_MS = 1
"""Nothing is answered sooner; a smaller number is likely to be meant in seconds."""


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """A checked request for the deterministic answer. `inputs` holds (B, *shape) by input name."""

    inputs: dict[str, npt.NDArray[Any]]
    timeout_ms: float
    ood: bool = False


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A checked request for an answer over passes; `seed` is None where the service may choose it."""

    inputs: dict[str, npt.NDArray[Any]]
    n_samples: int
    seed: int | None
    quantiles: tuple[float, ...] | None
    return_samples: bool
    timeout_ms: float
    sampling: Sampling = "stratified"
    tolerance: float | None = None
    budget_ms: float | None = None
    separate: bool = False
    coverage: float | None = None
    calibrated: bool = False
    policy: bool = False
    ood: bool = False
    at_limit: bool = False
    """Whether `n_samples` is no number that was sent, but the most that the limits allow."""
    estimator: Estimator = "best"
    reduction: Reduction | None = None
    needs_passes: bool = False
    """Whether something that is asked for can only be computed from the passes themselves."""
    members: int = 1
    """How many members of an ensemble draw `n_samples` each."""

    @property
    def kept_passes(self) -> int:
        """Passes that there are to keep."""
        return self.n_samples * self.members


SAMPLE_FIELDS = (
    "inputs",
    "n_samples",
    "seed",
    "sampling",
    "tolerance",
    "budget_ms",
    "timeout_ms",
    "quantiles",
    "return_samples",
    "separate",
    "coverage",
    "calibrated",
    "policy",
    "estimator",
    "reduce",
    "ood",
)


def read_predict(document: Mapping[str, object], card: ModelCard, settings: Settings) -> PredictRequest:
    """Check the body of `/predict`.

    Raises:
        InputError: With everything that is wrong with it.
        CalibrationError: It asks how unlike the rows are, and the model was not calibrated for that.
    """
    problems = _unknown_fields(document, ("inputs", "timeout_ms", "ood"))
    timeout_ms = _read_timeout(document, settings, problems)
    ood = document.get("ood", False)
    _check_flags({"ood": ood}, problems)
    inputs = _read_inputs(document, card, settings, problems)
    _refuse(problems)
    if ood:
        check_ood(card)
    _refuse(_check_size(inputs, card, settings, copies=1))
    return PredictRequest(inputs, timeout_ms, bool(ood))


def read_predict_mc(document: Mapping[str, object], card: ModelCard, settings: Settings) -> SampleRequest:
    """Check the body of `/predict_mc`.

    Raises:
        InputError: With everything that is wrong with it.
        CalibrationError: A coverage is asked for, calibrated answers or a policy, for which the model is not
            calibrated, or a coverage or a policy of other passes than were calibrated.
    """
    problems = _unknown_fields(document, SAMPLE_FIELDS)
    coverage = _read_coverage(document, problems)
    policy = document.get("policy", False)
    n_samples = _whole(document.get("n_samples", _usual_samples(card, settings, coverage, policy=policy is True)))
    seed = _whole(document.get("seed"))
    quantiles = document.get("quantiles")
    return_samples = document.get("return_samples", False)
    problems += _check_integer("n_samples", n_samples, 2, settings.max_samples)
    if seed is not None:
        problems += _check_integer("seed", seed, 0, SEEDS - 1, or_null=True)
    problems += _check_quantiles(quantiles)
    separate = document.get("separate", False)
    calibrated = document.get("calibrated", any(map(has_temperature, card.outputs)))
    ood = document.get("ood", False)
    flags = {"return_samples": return_samples, "separate": separate, "calibrated": calibrated, "policy": policy}
    _check_flags({**flags, "ood": ood}, problems)
    sampling = document.get("sampling", "stratified")
    if sampling not in SAMPLINGS:
        problems.append(Problem(("sampling",), f"expected {' or '.join(SAMPLINGS)}, received {describe(sampling)}"))
    estimator = document.get("estimator")
    if estimator not in (None, *ESTIMATORS):
        expected = f"expected {' or '.join(ESTIMATORS)}, or null"
        problems.append(Problem(("estimator",), f"{expected}, received {describe(estimator)}"))
    tolerance = _read_positive(document, "tolerance", problems)
    budget_ms = _read_positive(document, "budget_ms", problems)
    timeout_ms = _read_timeout(document, settings, problems)
    reduction = read_reduction(document, card, problems)
    inputs = _read_inputs(document, card, settings, problems)
    _refuse(problems)
    adaptive = tolerance is not None or budget_ms is not None
    promised = coverage is not None or bool(policy)
    check_promises(
        card,
        coverage,
        bool(policy),
        n_samples=cast(int, n_samples),
        sampling=cast(Sampling, sampling),
        adaptive=adaptive,
        limit=settings.max_samples,
        estimator=cast("Estimator | None", estimator),
    )
    if calibrated:
        check_temperature(card.outputs)
    if ood:
        check_ood(card)
    kept = (
        bool(quantiles)
        or bool(return_samples)
        or reduction is not None
        or ((bool(separate) or promised) and needs_passes(card))
    )
    made = CALIBRATED_ESTIMATOR if promised else cast("Estimator | None", estimator) or "best"
    at_limit = "n_samples" not in document and not promised and adaptive
    request = SampleRequest(
        inputs,
        n_samples=cast(int, n_samples),
        seed=cast("int | None", seed),
        quantiles=tuple(map(float, quantiles)) if isinstance(quantiles, list) else None,
        return_samples=bool(return_samples),
        timeout_ms=timeout_ms,
        sampling=cast(Sampling, sampling),
        tolerance=tolerance,
        budget_ms=budget_ms,
        separate=bool(separate),
        coverage=coverage,
        calibrated=bool(calibrated),
        policy=bool(policy),
        ood=bool(ood),
        at_limit=at_limit,
        estimator=made,
        reduction=reduction,
        needs_passes=kept,
        members=card.outputs[0].members,
    )
    if at_limit:
        request = replace(request, n_samples=_most_samples(request, card, settings))
    _refuse(_check_work(request, card, settings))
    return request


def _unknown_fields(document: Mapping[str, object], known: Sequence[str]) -> list[Problem]:
    expected = f"unknown field; expected {', '.join(known)}"
    return [Problem((name,), expected) for name in islice((n for n in document if n not in known), MAX_PROBLEMS)]


def _read_inputs(
    document: Mapping[str, object], card: ModelCard, settings: Settings, problems: list[Problem]
) -> dict[str, npt.NDArray[Any]]:
    """The inputs; what is wrong with them is added to `problems`."""
    if "inputs" not in document:
        problems.append(Problem(("inputs",), "this field is required"))
        return {}
    try:
        return check_inputs(document["inputs"], card.inputs, max_rows=settings.max_rows, max_length=settings.max_length)
    except InputError as error:
        problems += error.problems
        return {}


def _check_flags(flags: Mapping[str, object], problems: list[Problem]) -> None:
    """Add to `problems` what should be true or false, and is not."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            problems.append(Problem((name,), f"expected true or false, received {describe(value)}"))


def _whole(value: object) -> object:
    """JSON knows one kind of number, and 15.0 is an integer to JSON Schema."""
    return int(value) if type(value) is float and value.is_integer() else value


def _check_integer(name: str, value: object, low: int, high: int, *, or_null: bool = False) -> Iterator[Problem]:
    if type(value) is not int or not low <= value <= high:
        expected = f"an integer from {low} to {high}{' or null' if or_null else ''}"
        yield Problem((name,), f"expected {expected}, received {describe(value)}")


def _read_timeout(document: Mapping[str, object], settings: Settings, problems: list[Problem]) -> float:
    """The time to answer in, in ms; what is wrong with it is added to `problems`."""
    timeout_ms = _read_positive(document, "timeout_ms", problems)
    if timeout_ms is not None and not LEAST_TIMEOUT_MS <= timeout_ms <= settings.max_timeout_ms:
        expected = f"expected a number from {LEAST_TIMEOUT_MS} to {settings.max_timeout_ms}"
        problems.append(Problem(("timeout_ms",), f"{expected}, received {describe(timeout_ms)}"))
    return settings.timeout_ms if timeout_ms is None else timeout_ms


def _read_positive(document: Mapping[str, object], name: str, problems: list[Problem]) -> float | None:
    """A number above 0, or None where null or nothing was sent."""
    value = document.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < cast(float, value) <= sys.float_info.max:
        problems.append(Problem((name,), f"expected a number above 0 or null, received {describe(value)}"))
        return None
    return float(cast(float, value))


def _read_coverage(document: Mapping[str, object], problems: list[Problem]) -> float | None:
    """The coverage asked for; what is wrong with it is added to `problems`."""
    value = document.get("coverage")
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < cast(float, value) < 1:
        expected = "expected a number between 0 and 1, both left out, or null"
        problems.append(Problem(("coverage",), f"{expected}, received {describe(value)}"))
        return None
    return float(cast(float, value))


def _usual_samples(card: ModelCard, settings: Settings, coverage: float | None, *, policy: bool) -> int:
    """Passes where the request does not say: with a coverage or a policy as many as were calibrated."""
    calibrated = calibrated_passes(card) if coverage is not None else policy_passes(card) if policy else None
    return settings.default_samples if calibrated is None else max(2, min(calibrated, settings.max_samples))


def _check_quantiles(value: object) -> Iterator[Problem]:
    if value is None:
        return
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_QUANTILES:
        yield Problem(("quantiles",), f"expected null or a list of 1 to {MAX_QUANTILES}, received {describe(value)}")
        return
    for i, q in enumerate(value):
        if type(q) not in (int, float) or not 0 < q < 1:
            yield Problem(("quantiles", i), f"expected a number between 0 and 1, both left out, received {describe(q)}")


def _check_work(request: SampleRequest, card: ModelCard, settings: Settings) -> Iterator[Problem]:
    """What the request costs in time, counted in row-passes, and in memory, counted in numbers."""
    rows = _rows(request.inputs)
    if rows * request.n_samples > settings.max_row_passes:
        yield Problem(
            ("n_samples",),
            f"expected at most {settings.max_row_passes} rows times n_samples, received {rows} × {request.n_samples} = "
            f"{rows * request.n_samples}; send fewer rows or ask for fewer samples",
        )
    kept = request.kept_passes if request.needs_passes else 0
    yield from _check_size(request.inputs, card, settings, copies=_copies(request) + kept)


def _copies(request: SampleRequest) -> int:
    """Arrays of the outputs' shapes in an answer, beside the passes themselves."""
    if request.reduction is not None:
        return 0
    parts = 3 * request.separate + 2 * (request.coverage is not None) + 2 * request.calibrated + request.policy
    return 3 + 2 * (request.members > 1) + parts + len(request.quantiles or ())


def _most_samples(request: SampleRequest, card: ModelCard, settings: Settings) -> int:
    """The most passes that such a request may have; at least 2, which the checks then refuse where it is too many."""
    rows = _rows(request.inputs)
    most = min(settings.max_samples, settings.max_row_passes // rows)
    if request.needs_passes:
        numbers = settings.max_returned_numbers // (rows * _numbers(card)) - _copies(request)
        most = min(most, numbers // request.members)
    return max(2, most)


def _check_size(
    inputs: Mapping[str, npt.NDArray[Any]], card: ModelCard, settings: Settings, *, copies: int
) -> Iterator[Problem]:
    """Numbers of `copies` arrays of the outputs' shapes; an axis of unknown length counts as 1."""
    rows = _rows(inputs)
    numbers = rows * copies * _numbers(card)
    if numbers > settings.max_returned_numbers:
        yield Problem(
            ("inputs",),
            f"expected a request whose answer holds at most {settings.max_returned_numbers} numbers, received one of "
            f"{rows} rows that needs {numbers}; send fewer rows, or do without samples and quantiles",
        )


def _numbers(card: ModelCard) -> int:
    return sum(prod(n or 1 for n in output.shape) for output in card.outputs)


def _rows(inputs: Mapping[str, npt.NDArray[Any]]) -> int:
    return len(next(iter(inputs.values())))


def _refuse(problems: Iterator[Problem] | list[Problem]) -> None:
    problems = list(problems)
    if problems:
        raise InputError(problems[:MAX_PROBLEMS])
