"""What a sample count buys: the Monte Carlo error of the mean and of the variance, measured through the API.

The same rows are asked again and again with other seeds; how far the answers lie from a long reference is their error.
Errors are root mean squares over seeds, rows and outputs, and the error of the mean is told in units of the spread of
passes (its root mean square): for N independent passes it is 1/sqrt(N), for any model.
"""

from __future__ import annotations

import json
import math
import random
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.loadtest.request_bodies import MAX_SEED, Rows, check_predict_mc

__all__ = ["Ask", "Precision", "asker", "measure_precision"]

Array = npt.NDArray[np.float64]
Ask = Callable[[int, int], dict[str, Any]]  # (n_samples, seed) -> the answer for the rows
_RESAMPLES = 400
_REFERENCE_REQUESTS = 16


@dataclass(frozen=True)
class Precision:
    """Of one sample count. Each error with the bounds of its 95 % bootstrap interval over seeds."""

    n_samples: int
    mean_error: tuple[float, float, float]
    reported_error: float  # the `standard_error` of the answers, in the same units
    variance_error: tuple[float, float, float]  # in units of the variance

    def as_json(self) -> dict[str, Any]:
        """As the results hold it."""
        return {
            "n_samples": self.n_samples,
            "mean_error": _named(self.mean_error),
            "independent_error": 1 / math.sqrt(self.n_samples),
            "reported_error": self.reported_error,
            "variance_error": _named(self.variance_error),
        }


def asker(url: str, card: Mapping[str, Any], data: Rows, rows: int) -> Ask:
    """Asks the service at `url` for the first `rows` rows, and checks each answer."""
    inputs = data.pick([i % len(data) for i in range(rows)])

    def ask(n_samples: int, seed: int) -> dict[str, Any]:
        body = {"inputs": inputs, "n_samples": n_samples, "seed": seed}
        request = urllib.request.Request(
            f"{url}/predict_mc", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
        check_predict_mc(card, body, rows, answer)
        return answer

    return ask


def measure_precision(
    ask: Ask,
    samples: Sequence[int],
    *,
    seeds: int,
    seed: int,
    reference_samples: int,
    tick: Callable[[], None] = lambda: None,
) -> tuple[list[Precision], int]:
    """Measures every sample count.

    Args:
        ask: See `asker`.
        samples: Sample counts, each 2 or more.
        seeds: How often each is asked.
        seed: Of the seeds.
        reference_samples: Passes in each of the requests that make up the reference.
        tick: Called after every request.

    Returns:
        The errors by sample count, and the number of passes in the reference.
    """
    source = random.Random(seed)

    def answers(n: int, count: int) -> list[dict[str, Any]]:
        found = []
        for _ in range(count):
            found.append(ask(n, source.randint(0, MAX_SEED)))
            tick()
        return found

    reference = answers(reference_samples, _REFERENCE_REQUESTS)
    means, variances = _flat(reference, "mean"), _flat(reference, "variance")
    mean, variance = [m.mean(axis=0) for m in means], [v.mean(axis=0) for v in variances]
    found = [_compare(n, answers(n, seeds), mean, variance) for n in samples]
    return found, reference_samples * _REFERENCE_REQUESTS


def requests_needed(samples: Sequence[int], seeds: int) -> int:
    """How many requests `measure_precision` sends."""
    return _REFERENCE_REQUESTS + seeds * len(samples)


def _compare(n: int, answers: list[dict[str, Any]], mean: list[Array], variance: list[Array]) -> Precision:
    """The errors of answers at one sample count, (K, outputs x rows) made one number a seed and then one in all."""
    of_mean = _squares(_flat(answers, "mean"), mean, [v.mean() for v in variance])
    zeros = [np.zeros_like(m) for m in mean]
    reported = _squares(_flat(answers, "standard_error"), zeros, [v.mean() for v in variance])
    of_variance = _squares(_flat(answers, "variance"), variance, [(v**2).mean() for v in variance])
    return Precision(n, _bounded(of_mean), math.sqrt(reported.mean()), _bounded(of_variance))


def _squares(found: list[Array], expected: list[Array], scales: Sequence[float]) -> Array:
    """Mean square differences, one for each seed; each output in units of its own."""
    parts = [
        ((f - e) ** 2).mean(axis=1) / scale for f, e, scale in zip(found, expected, scales, strict=True) if scale > 0
    ]
    squares: Array = np.mean(parts, axis=0)
    return squares


def _bounded(squares: Array) -> tuple[float, float, float]:
    picks = np.random.default_rng(0).integers(len(squares), size=(_RESAMPLES, len(squares)))
    low, high = np.quantile(np.sqrt(squares[picks].mean(axis=1)), [0.025, 0.975])
    return math.sqrt(squares.mean()), float(low), float(high)


def _flat(answers: list[dict[str, Any]], name: str) -> list[Array]:
    """By output, (K, all numbers of one answer)."""
    parts = [answer[name] if isinstance(answer[name], dict) else {"": answer[name]} for answer in answers]
    return [np.array([np.ravel(np.asarray(part[key], dtype=np.float64)) for part in parts]) for key in parts[0]]


def _named(bounded: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("value", "low", "high"), bounded, strict=True))
