"""Service level objectives, limits on percentiles of latency, and a search for the largest rate that meets them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "PERCENTILES",
    "LargestRate",
    "RateTrial",
    "find_largest_rate",
    "parse_slo",
    "percentile",
    "slo_in_words",
]

# Name in the results, and the percentile.
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
_MAX_TRIALS = 8
_ACCURACY = 1.1


def percentile(latencies_ms: npt.NDArray[np.float64], name: str) -> float:
    """A percentile of latencies by its name in `PERCENTILES`; NaN without latencies."""
    return float(np.percentile(latencies_ms, PERCENTILES[name])) if len(latencies_ms) else float("nan")


def parse_slo(text: str) -> dict[str, float]:
    """Read `p99=50` or `p50=10,p99=50`, in milliseconds.

    Raises:
        ValueError: A percentile is unknown, or a limit is not a number above 0.
    """
    limits: dict[str, float] = {}
    for part in text.split(","):
        name, _, limit = part.strip().partition("=")
        if name not in PERCENTILES or not re.fullmatch(r"[0-9]+(\.[0-9]+)?", limit) or not float(limit):
            raise ValueError(f"expected limits in ms such as p99=50, of {', '.join(PERCENTILES)}; received {text!r}")
        limits[name] = float(limit)
    return limits


def slo_in_words(slo: Mapping[str, float], *, joined_by: str = ", ") -> str:
    """The limits as a report states them: "p50 ≤ 10 ms, p99 ≤ 50 ms"."""
    return joined_by.join(f"{name} ≤ {limit:g} ms" for name, limit in slo.items())


@dataclass(frozen=True)
class RateTrial:
    """One arrival rate that was tried.

    Args:
        rate: Arrivals per second.
        latency_ms: The limited percentiles, in milliseconds.
        failed: Number of failed requests.
        met: Whether all limits were met without a failure.
    """

    rate: float
    latency_ms: Mapping[str, float]
    failed: int
    met: bool


@dataclass(frozen=True)
class LargestRate:
    """The largest rate that met the limits, 0 if none did, and the smallest that missed them, None if none did."""

    rate: float
    missed_at: float | None
    trials: Sequence[RateTrial]


def find_largest_rate(
    attempt: Callable[[float], RateTrial], first: float, *, trials: int = _MAX_TRIALS, least: float = 0.0
) -> LargestRate:
    """Bisect for the largest rate that meets the limits, on a logarithmic scale.

    Args:
        attempt: Measures the service at a rate, in arrivals per second.
        first: Rate to begin with, near what the service is expected to manage.
        trials: Largest number of rates to try. The search ends earlier when the bounds are within 10 % of each other.
        least: Lowest rate to try: at a lower one too few requests would arrive for a percentile.
    """
    low, high = 0.0, float("inf")
    tried: list[RateTrial] = []
    rate = first
    while len(tried) < trials and not (low and high / low <= _ACCURACY) and (rate >= least or not tried):
        trial = attempt(rate)
        tried.append(trial)
        if trial.met:
            low = rate
        else:
            high = rate
        if high == float("inf"):
            rate = 1.5 * low
        elif low == 0:
            rate = high / 2
        else:
            rate = (low * high) ** 0.5
    return LargestRate(low, None if high == float("inf") else high, tried)
