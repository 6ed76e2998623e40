"""Requests that fit a model's card, and what a right answer to one looks like."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Rows", "WrongAnswerError", "check_predict", "check_predict_mc", "draw_inputs"]

# Where a card leaves a length open, any will do.
OPEN_LENGTH = 8
MAX_SEED = 2**53 - 1


class WrongAnswerError(Exception):
    """An answer of status 200 whose body is not what was asked for."""


@dataclass(frozen=True)
class Rows:
    """Rows to ask with, as nested lists by input name, and where they come from."""

    by_input: Mapping[str, list[Any]]
    origin: str

    def __len__(self) -> int:
        return len(next(iter(self.by_input.values())))

    def draw(self, rows: int, source: random.Random) -> Any:
        """`rows` of them at random, as a request holds them."""
        return self.pick([source.randrange(len(self)) for _ in range(rows)])

    def pick(self, which: list[int]) -> Any:
        """The rows of these numbers: a list for a model of one input, else a dict of lists by name."""
        picked = {name: [values[i] for i in which] for name, values in self.by_input.items()}
        return next(iter(picked.values())) if len(picked) == 1 else picked


def draw_inputs(card: Mapping[str, Any], rows: int, source: random.Random) -> Any:
    """Random inputs for `rows` rows: a list for a model of one input, else a dict of lists by name.

    Floats are in [0, 1). Integers are 0 or 1, which every embedding of two entries or more has.
    """
    drawn = {spec["name"]: _draw(spec, rows, source) for spec in card["inputs"]}
    return next(iter(drawn.values())) if len(drawn) == 1 else drawn


def _draw(spec: Mapping[str, Any], rows: int, source: random.Random) -> Any:
    lengths = [rows, *(OPEN_LENGTH if length is None else length for length in spec["shape"])]
    is_float = "float" in spec["dtype"]

    def fill(axis: int) -> Any:
        if axis == len(lengths):
            return round(source.random(), 4) if is_float else source.randrange(2)
        return [fill(axis + 1) for _ in range(lengths[axis])]

    return fill(0)


def check_predict(card: Mapping[str, Any], rows: int, answer: Any) -> None:
    """Holds a `/predict` answer to its request.

    Raises:
        WrongAnswerError: The body lacks a part, or a part has another shape or a number that is not finite.
    """
    for output, values in _by_output(card, _part(answer, "outputs"), "outputs"):
        _numbers(output, rows, values, "outputs")
    _check_model(card, answer)


def check_predict_mc(card: Mapping[str, Any], request: Mapping[str, Any], rows: int, answer: Any) -> None:
    """Holds a `/predict_mc` answer to its request, whose `n_samples` and `seed` it must repeat.

    Raises:
        WrongAnswerError: As for `check_predict`; or a variance is negative, or all are 0.
    """
    for name in ("n_samples", "seed"):
        if _part(answer, name) != request[name]:
            raise WrongAnswerError(f"{name}: expected {request[name]}, received {answer[name]}")
    for name in ("mean", "variance", "standard_error"):
        spread = 0.0
        for output, values in _by_output(card, _part(answer, name), name):
            numbers = _numbers(output, rows, values, name)
            spread += float(np.abs(numbers).sum())
            if name != "mean" and (numbers < 0).any():
                raise WrongAnswerError(f"{name}: expected none below 0, received {numbers.min()}")
        if name == "variance" and spread == 0:
            raise WrongAnswerError("variance: expected some above 0, received 0 everywhere")
    _check_model(card, answer)


def _part(answer: Any, name: str) -> Any:
    if not isinstance(answer, dict) or name not in answer:
        raise WrongAnswerError(f"expected an object with {name!r}, received {str(answer)[:200]}")
    return answer[name]


def _by_output(card: Mapping[str, Any], part: Any, name: str) -> list[tuple[Mapping[str, Any], Any]]:
    outputs = card["outputs"]
    if len(outputs) == 1:
        return [(outputs[0], part)]
    if not isinstance(part, dict) or set(part) != {output["name"] for output in outputs}:
        raise WrongAnswerError(f"{name}: expected one entry for each output, received {str(part)[:200]}")
    return [(output, part[output["name"]]) for output in outputs]


def _numbers(output: Mapping[str, Any], rows: int, values: Any, name: str) -> np.ndarray:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise WrongAnswerError(f"{name}: expected numbers, received {str(values)[:200]}") from None
    expected = (rows, *output["shape"])
    fits = numbers.ndim == len(expected) and all(
        want is None or want == got for want, got in zip(expected, numbers.shape, strict=True)
    )
    if not fits:
        raise WrongAnswerError(f"{name}: expected shape {expected}, received {numbers.shape}")
    if not np.isfinite(numbers).all():
        raise WrongAnswerError(f"{name}: expected finite numbers, received some that are not")
    return numbers


def _check_model(card: Mapping[str, Any], answer: Any) -> None:
    model = _part(answer, "model")
    if not isinstance(model, dict) or model.get("name") != card["name"] or not model.get("version"):
        raise WrongAnswerError(f"model: expected name {card['name']!r} and a version, received {model}")
