"""Service level objectives: limits on percentiles of latency, and the largest rate that still keeps them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["PERCENTILES", "Ceiling", "Trial", "find_ceiling", "parse_slo", "percentile"]

# Name in the results, and the percentile.
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
_MOST_TRIALS = 8
_CLOSE_ENOUGH = 1.1


def percentile(latencies_ms: npt.NDArray[np.float64], name: str) -> float:
    """A percentile of exact latencies, by its name; NaN where there are none."""
    return float(np.percentile(latencies_ms, PERCENTILES[name])) if len(latencies_ms) else float("nan")


def parse_slo(text: str) -> dict[str, float]:
    """Read `p99=50` or `p50=10,p99=50`, in milliseconds.

    Raises:
        ValueError: It is not that.
    """
    limits: dict[str, float] = {}
    for part in text.split(","):
        name, _, limit = part.strip().partition("=")
        if name not in PERCENTILES or not re.fullmatch(r"[0-9]+(\.[0-9]+)?", limit) or not float(limit):
            raise ValueError(f"expected limits in ms such as p99=50, of {', '.join(PERCENTILES)}; received {text!r}")
        limits[name] = float(limit)
    return limits


@dataclass(frozen=True)
class Trial:
    """One rate that was tried: its percentiles in milliseconds, and whether it was kept without a failure."""

    rate: float
    latency_ms: Mapping[str, float]
    failed: int
    met: bool


@dataclass(frozen=True)
class Ceiling:
    """The largest rate that met the objectives, 0 if none did, and the smallest that did not, if one was found."""

    rate: float
    missed_at: float | None
    trials: Sequence[Trial]


def find_ceiling(
    attempt: Callable[[float], Trial], first: float, *, trials: int = _MOST_TRIALS, least: float = 0.0
) -> Ceiling:
    """Bisects for the largest rate that meets the objectives, on a scale of ratios.

    Args:
        attempt: Loads the service with a rate, in arrivals a second.
        first: Rate to begin with; the service should be able to do about that.
        trials: Most rates to try. It ends sooner when the bounds are within 10 % of each other.
        least: No lower rate is tried: too few would arrive to tell anything.
    """
    low, high = 0.0, float("inf")
    tried: list[Trial] = []
    rate = first
    while len(tried) < trials and not (low and high / low <= _CLOSE_ENOUGH) and (rate >= least or not tried):
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
    return Ceiling(low, None if high == float("inf") else high, tried)
