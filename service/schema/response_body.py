"""What the service answers: arrays put into the shapes of the API, and written as JSON.

Numbers are written so that reading them gives back the model's own, bit for bit: float64 as the shortest text that
does, float32 as the float64 of the same value.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson

from thinned.models.card import ModelCard
from thinned.models.errors import InputError, Problem
from thinned.service.http.problem_details import AnswerNotFiniteError
from thinned.service.inference.parts import promises, separations

if TYPE_CHECKING:
    from thinned.service.inference.engine import OutputStatistics

__all__ = ["MOMENTS", "UNCERTAINTIES", "encode", "parts_answer", "predict_answer", "predict_mc_answer"]

MOMENTS = ("mean", "variance", "standard_error")
UNCERTAINTIES = ("predictive_entropy", "expected_entropy", "mutual_information")

_ROWS_NAMED = 10


def predict_answer(
    outputs: Mapping[str, npt.NDArray[Any]], card: ModelCard, version: str, *, max_numbers: int
) -> dict[str, Any]:
    """The answer of `/predict`.

    Raises:
        AnswerNotFiniteError: The model answered NaN or infinity.
        InputError: The answer, of a length that only the input decides, is too large.
    """
    _check(outputs, max_numbers)
    return {"outputs": _lists(outputs), "model": {"name": card.name, "version": version}}


def predict_mc_answer(
    statistics: Mapping[str, OutputStatistics],
    card: ModelCard,
    version: str,
    *,
    n_samples: int,
    seed: int,
    sampling: str,
    max_numbers: int,
    converged: npt.NDArray[np.bool_] | None = None,
    parts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The answer of `/predict_mc`; `quantiles`, `samples`, `converged` and `parts` are there if they were asked for.

    Raises:
        AnswerNotFiniteError: A pass answered NaN or infinity.
        InputError: The answer, of a length that only the input decides, is too large.
    """

    def keyed(name: str) -> dict[str, npt.NDArray[Any]]:
        found = {output: getattr(statistics[output], name) for output in statistics}
        return {output: array for output, array in found.items() if array is not None}

    answer: dict[str, Any] = {}
    for name in MOMENTS:
        _check(keyed(name), max_numbers)
        answer[name] = _lists(keyed(name))
    for name in ("quantiles", "samples", *UNCERTAINTIES):
        if arrays := keyed(name):
            _check(arrays, max_numbers, rows_axis=0 if name in UNCERTAINTIES else 1)
            answer[name] = _lists(arrays, by_name=len(statistics) > 1)
    if converged is not None:
        answer["converged"] = converged.tolist()
    return {
        **answer,
        **(parts or {}),
        "n_samples": n_samples,
        "seed": seed,
        "sampling": sampling,
        "standard_error_from": next(iter(statistics.values())).standard_error_from,
        "model": {"name": card.name, "version": version},
    }


def parts_answer(
    statistics: Mapping[str, OutputStatistics],
    passes: Mapping[str, npt.NDArray[Any]],
    card: ModelCard,
    *,
    n_samples: int,
    separate: bool,
    coverage: float | None,
) -> dict[str, Any]:
    """What else was asked for: the variance in its parts, intervals and sets of a stated coverage.

    Raises:
        AnswerNotFiniteError: A pass answered NaN or infinity.
        CalibrationError: The model is not calibrated for this coverage.
    """
    # Before any arithmetic on them: a NaN would be told as something else.
    _check({name: own.mean for name, own in statistics.items()}, sys.maxsize)
    several = len(card.outputs) > 1
    answer: dict[str, Any] = {}
    if separate:
        found, unknown = separations(statistics, passes, card, n_samples=n_samples)
        for part, arrays in found.items():
            lists = {name: None if array is None else array.tolist() for name, array in arrays.items()}
            answer[part] = lists if several else next(iter(lists.values()))
        if unknown:
            answer["not_known"] = unknown if several else next(iter(unknown.values()))
    if coverage is not None:
        intervals, sets = promises(statistics, passes, card, n_samples=n_samples, coverage=coverage)
        answer["coverage"] = coverage
        ends = {name: {"lower": low.tolist(), "upper": high.tolist()} for name, (low, high) in intervals.items()}
        for field, named in (("interval", ends), ("prediction_set", sets)):
            if named:
                answer[field] = named if several else next(iter(named.values()))
    return answer


def encode(answer: Mapping[str, Any]) -> bytes:
    """Write an answer, all of whose numbers were checked when it was made, as JSON."""
    # It would write NaN as null: `_check` has let none pass.
    return orjson.dumps(answer)


def _lists(arrays: Mapping[str, npt.NDArray[Any]], *, by_name: bool | None = None) -> Any:
    """Nested lists: by output name where the model has several outputs, bare where it has one."""
    if by_name if by_name is not None else len(arrays) > 1:
        return {name: array.tolist() for name, array in arrays.items()}
    return next(iter(arrays.values())).tolist()


def _check(arrays: Mapping[str, npt.NDArray[Any]], max_numbers: int, *, rows_axis: int = 0) -> None:
    numbers = sum(array.size for array in arrays.values())
    if numbers > max_numbers:
        raise InputError(
            [
                Problem(
                    ("inputs",),
                    f"expected an answer of at most {max_numbers} numbers, this one has {numbers}; send less",
                )
            ]
        )
    for name, array in arrays.items():
        finite = np.isfinite(array)
        if not finite.all():
            axes = tuple(axis for axis in range(array.ndim) if axis != rows_axis)
            rows = np.flatnonzero(~finite.all(axis=axes)).tolist()
            more = f" and {len(rows) - _ROWS_NAMED} more" if len(rows) > _ROWS_NAMED else ""
            raise AnswerNotFiniteError(
                f"the model answered NaN or infinity in its output {name!r} for rows {rows[:_ROWS_NAMED]}{more}; "
                "send values nearer to those that it was trained on"
            )
