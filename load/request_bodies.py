"""Make request bodies that fit a model's card, post them, and check that an answer fits its request."""

from __future__ import annotations

import json
import random
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["InputRows", "WrongAnswerError", "check_predict", "check_predict_mc", "draw_inputs", "post_json"]

# Length of an axis whose length the card leaves open.
OPEN_LENGTH = 8
MAX_SEED = 2**53 - 1


class WrongAnswerError(Exception):
    """An answer of status 200 whose body does not fit the request."""


@dataclass(frozen=True)
class InputRows:
    """Rows to send, as nested lists by input name, and where they come from, in words."""

    by_input: Mapping[str, list[Any]]
    origin: str

    def __len__(self) -> int:
        return len(next(iter(self.by_input.values())))

    def draw(self, rows: int, source: random.Random) -> Any:
        """Pick `rows` rows at random, with replacement, in the form of `pick`."""
        return self.pick([source.randrange(len(self)) for _ in range(rows)])

    def first(self, rows: int) -> Any:
        """The first `rows` rows in the form of `pick`; they repeat if there are fewer."""
        return self.pick([i % len(self) for i in range(rows)])

    def pick(self, which: list[int]) -> Any:
        """The rows at these indices as `inputs` of a request: a list for one input, else a dict of lists by name."""
        picked = {name: [values[i] for i in which] for name, values in self.by_input.items()}
        return next(iter(picked.values())) if len(picked) == 1 else picked


def draw_inputs(card: Mapping[str, Any], rows: int, source: random.Random) -> Any:
    """Draw random `inputs` of a request: a list for a model of one input, else a dict of lists by name.

    They are of the lengths and from the ranges on which the model was checked at import. Where the card says none,
    floats are uniform in [0, 1), integers 0 or 1, and texts "a" or "b".

    Args:
        card: The model's card, as `/model` answers it.
        rows: Number of rows.
        source: Random numbers.
    """
    recipes = {recipe["name"]: recipe for recipe in card.get("examples", ())}
    drawn = {spec["name"]: _draw(spec, recipes.get(spec["name"], {}), rows, source) for spec in card["inputs"]}
    return next(iter(drawn.values())) if len(drawn) == 1 else drawn


def _draw(spec: Mapping[str, Any], recipe: Mapping[str, Any], rows: int, source: random.Random) -> Any:
    lengths = [rows, *recipe.get("shape", (OPEN_LENGTH if length is None else length for length in spec["shape"]))]
    words = recipe.get("words") or "ab"
    low, high = recipe.get("low"), recipe.get("high")
    whole = "int" in spec["dtype"] or recipe.get("values") == "integers"
    if low is None or high is None:
        low, high = 0, 1

    def number() -> Any:
        if spec["dtype"] == "string":
            return source.choice(words)
        if spec["dtype"] == "bool":
            return source.random() < 0.5
        return source.randint(int(low), int(high)) if whole else round(source.uniform(low, high), 4)

    def fill(axis: int) -> Any:
        return number() if axis == len(lengths) else [fill(axis + 1) for _ in range(lengths[axis])]

    return fill(0)


def post_json(url: str, body: Mapping[str, Any], *, timeout_s: float) -> bytes:
    """POST a body as JSON and return the body of the answer.

    Args:
        url: Address of the endpoint.
        body: The request.
        timeout_s: Longest wait for the service, in seconds.

    Raises:
        OSError: The service was not reached, or answered a status other than 2xx (`urllib.error.HTTPError`).
    """
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout_s) as response:
        content: bytes = response.read()
    return content


def check_predict(card: Mapping[str, Any], rows: int, answer: Any) -> None:
    """Check a `/predict` answer.

    Args:
        card: The model's card, as `/model` answers it.
        rows: Rows in the request.
        answer: The decoded body.

    Raises:
        WrongAnswerError: A field is missing, has the wrong shape, or holds a number that is not finite.
    """
    for output, values in _by_output(card, _field(answer, "outputs"), "outputs"):
        _numbers(output, rows, values, "outputs")
    _check_model(card, answer)


def check_predict_mc(card: Mapping[str, Any], request: Mapping[str, Any], rows: int, answer: Any) -> None:
    """Check a `/predict_mc` answer, which must repeat the request's `n_samples` and `seed`.

    Args:
        card: The model's card, as `/model` answers it.
        request: The decoded body of the request.
        rows: Rows in the request.
        answer: The decoded body of the answer.

    Raises:
        WrongAnswerError: As for `check_predict`; or a variance is negative, or all variances are 0.
    """
    for name in ("n_samples", "seed"):
        if _field(answer, name) != request[name]:
            raise WrongAnswerError(f"{name}: expected {request[name]}, received {answer[name]}")
    for name in ("mean", "variance", "standard_error"):
        total = 0.0
        for output, values in _by_output(card, _field(answer, name), name):
            numbers = _numbers(output, rows, values, name)
            total += float(np.abs(numbers).sum())
            if name != "mean" and (numbers < 0).any():
                raise WrongAnswerError(f"{name}: expected none below 0, received {numbers.min()}")
        if name == "variance" and total == 0:
            raise WrongAnswerError("variance: expected some above 0, received 0 everywhere")
    _check_model(card, answer)


def _field(answer: Any, name: str) -> Any:
    if not isinstance(answer, dict) or name not in answer:
        raise WrongAnswerError(f"expected an object with {name!r}, received {str(answer)[:200]}")
    return answer[name]


def _by_output(card: Mapping[str, Any], field: Any, name: str) -> list[tuple[Mapping[str, Any], Any]]:
    outputs = card["outputs"]
    if len(outputs) == 1:
        return [(outputs[0], field)]
    if not isinstance(field, dict) or set(field) != {output["name"] for output in outputs}:
        raise WrongAnswerError(f"{name}: expected one entry for each output, received {str(field)[:200]}")
    return [(output, field[output["name"]]) for output in outputs]


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
    model = _field(answer, "model")
    if not isinstance(model, dict) or model.get("name") != card["name"] or not model.get("version"):
        raise WrongAnswerError(f"model: expected name {card['name']!r} and a version, received {model}")
