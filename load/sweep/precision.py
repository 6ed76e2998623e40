"""Measure the Monte Carlo error of the mean and of the variance at each sample count, through the API.

The same rows are requested again and again with different seeds; the error is the difference of the answers from a long
reference. Errors are root mean squares over seeds, rows and outputs. The error of the mean is given in units of the
standard deviation between passes (its root mean square): for N independent passes it is 1/sqrt(N), for any model.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.loadtest.request_bodies import MAX_SEED, InputRows, check_predict_mc, post_json

__all__ = ["AnswerSource", "MonteCarloError", "measure_precision", "requests_needed", "service_answers"]

Array = npt.NDArray[np.float64]
AnswerSource = Callable[[int, int], dict[str, Any]]
"""Called with `n_samples` and `seed`; gives the `/predict_mc` answer for fixed rows."""
_RESAMPLES = 400
_REFERENCE_REQUESTS = 16


@dataclass(frozen=True)
class MonteCarloError:
    """Errors at one sample count; a triple is a value with the bounds of its 95 % bootstrap interval over seeds.

    Args:
        n_samples: The sample count N.
        mean_error: Error of the mean, in units of the standard deviation between passes.
        reported_error: Root mean square of the `standard_error` of the answers, in the same units.
        variance_error: Error of the variance, in units of the variance.
    """

    n_samples: int
    mean_error: tuple[float, float, float]
    reported_error: float
    variance_error: tuple[float, float, float]

    def as_json(self) -> dict[str, Any]:
        """The errors as the results document holds them."""
        return {
            "n_samples": self.n_samples,
            "mean_error": _named(self.mean_error),
            "independent_error": 1 / math.sqrt(self.n_samples),
            "reported_error": self.reported_error,
            "variance_error": _named(self.variance_error),
        }


def service_answers(url: str, card: Mapping[str, Any], data: InputRows, rows: int) -> AnswerSource:
    """Answers of the service at `url` for the first `rows` rows, each checked against its request.

    Args:
        url: Address of the service.
        card: The model's card.
        data: The rows.
        rows: How many of them, from the first on; they repeat if there are fewer.
    """
    inputs = data.first(rows)

    def answer(n_samples: int, seed: int) -> dict[str, Any]:
        body = {"inputs": inputs, "n_samples": n_samples, "seed": seed}
        received: dict[str, Any] = json.loads(post_json(f"{url}/predict_mc", body, timeout_s=60))
        check_predict_mc(card, body, rows, received)
        return received

    return answer


def measure_precision(
    answer: AnswerSource,
    samples: Sequence[int],
    *,
    seeds: int,
    seed: int,
    reference_samples: int,
    tick: Callable[[], None] = lambda: None,
) -> tuple[list[MonteCarloError], int]:
    """Measure the error at every sample count.

    Args:
        answer: Gives answers, as `service_answers` does.
        samples: Sample counts, each 2 or more.
        seeds: Number of seeds at each sample count.
        seed: Seed that the seeds are drawn from.
        reference_samples: Passes in each of the requests that make up the reference.
        tick: Called after every request.

    Returns:
        The errors, one for each sample count, and the number of passes in the reference.
    """
    source = random.Random(seed)

    def answers(n_samples: int, count: int) -> list[dict[str, Any]]:
        received = []
        for _ in range(count):
            received.append(answer(n_samples, source.randint(0, MAX_SEED)))
            tick()
        return received

    reference = answers(reference_samples, _REFERENCE_REQUESTS)
    mean = [values.mean(axis=0) for values in _by_output(reference, "mean")]
    variance = [values.mean(axis=0) for values in _by_output(reference, "variance")]
    errors = [_errors(n, answers(n, seeds), mean, variance) for n in samples]
    return errors, reference_samples * _REFERENCE_REQUESTS


def requests_needed(samples: Sequence[int], seeds: int) -> int:
    """How many requests `measure_precision` sends."""
    return _REFERENCE_REQUESTS + seeds * len(samples)


def _errors(n_samples: int, answers: list[dict[str, Any]], mean: list[Array], variance: list[Array]) -> MonteCarloError:
    """Errors of the answers at one sample count against the reference's mean and variance of each output."""
    passes_variance = [v.mean() for v in variance]
    of_mean = _mean_squares(_by_output(answers, "mean"), mean, passes_variance)
    zeros = [np.zeros_like(m) for m in mean]
    reported = _mean_squares(_by_output(answers, "standard_error"), zeros, passes_variance)
    of_variance = _mean_squares(_by_output(answers, "variance"), variance, [(v**2).mean() for v in variance])
    return MonteCarloError(n_samples, _with_interval(of_mean), math.sqrt(reported.mean()), _with_interval(of_variance))


def _mean_squares(values: list[Array], expected: list[Array], scales: Sequence[float]) -> Array:
    """Mean squared differences, one for each seed, (K,); those of each output are divided by its scale."""
    parts = [
        ((v - e) ** 2).mean(axis=1) / scale for v, e, scale in zip(values, expected, scales, strict=True) if scale > 0
    ]
    squares: Array = np.mean(parts, axis=0)
    return squares


def _with_interval(squares: Array) -> tuple[float, float, float]:
    """Root of the mean of squares (K,), and the bounds of its 95 % bootstrap interval."""
    picks = np.random.default_rng(0).integers(len(squares), size=(_RESAMPLES, len(squares)))
    low, high = np.quantile(np.sqrt(squares[picks].mean(axis=1)), [0.025, 0.975])
    return math.sqrt(squares.mean()), float(low), float(high)


def _by_output(answers: list[dict[str, Any]], field: str) -> list[Array]:
    """A field of K answers as one array for each output, (K, all numbers of one answer).

    Of a mean with a fitted temperature, the mean of the passes: that is what the standard errors are of.
    """
    if field == "mean":
        answers = [{**answer, "mean": _plain_mean(answer)} for answer in answers]
    parts = [answer[field] if isinstance(answer[field], dict) else {"": answer[field]} for answer in answers]
    return [np.array([np.ravel(np.asarray(part[key], dtype=np.float64)) for part in parts]) for key in parts[0]]


def _plain_mean(answer: dict[str, Any]) -> Any:
    mean, plain = answer["mean"], answer.get("plain_mean")
    if plain is None:
        return mean
    return {**mean, **plain} if isinstance(mean, dict) else plain


def _named(triple: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("value", "low", "high"), triple, strict=True))
