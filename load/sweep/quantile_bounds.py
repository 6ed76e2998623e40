"""How well some answers tell a percentile: an interval from the answers themselves, whatever their distribution.

Of n latencies the number that are at most the q-quantile is binomial (n, q), so that two of the sorted latencies hold
the quantile between them with a probability that depends on n and q alone. Where no two do, there are too few answers
to tell this percentile. It holds for answers that are independent of each other; those of one run come under the same
conditions, so that the spread between runs is told beside it.

References:
    David & Nagaraja 2003, Order Statistics, section 7.1
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.loadtest.sweep.slo import PERCENTILES

__all__ = ["LEVEL", "answers_needed", "bounds_of", "quantile_bounds"]

LEVEL = 0.95


def answers_needed(name: str, level: float = LEVEL) -> int:
    """The fewest answers that bound a percentile on both sides: 6 for p50, 368 for p99.

    Args:
        name: Of `PERCENTILES`, but for max, which no number of answers bounds.
        level: Of the interval.
    """
    q = PERCENTILES[name] / 100
    return max(math.ceil(math.log((1 - level) / 2) / math.log(share)) for share in (q, 1 - q))


def quantile_bounds(
    latencies_ms: npt.NDArray[np.float64], q: float, level: float = LEVEL
) -> tuple[float, float] | None:
    """The interval that holds the q-quantile with at least this probability; None for too few latencies.

    Args:
        latencies_ms: Latencies, (n,), in any order.
        q: In (0, 1).
        level: Of the interval, with as much beyond it on either side.
    """
    from scipy.special import bdtr

    n, beyond = len(latencies_ms), (1 - level) / 2
    # X(k) is beyond the quantile from below with the probability that fewer than k are at most the quantile.
    low = _first(lambda k: float(bdtr(k, n, q)) > beyond, n)
    high = _first(lambda k: float(bdtr(k, n, q)) >= 1 - beyond, n) + 1
    if low < 1 or high > n:
        return None
    ordered = np.partition(latencies_ms, (low - 1, high - 1))
    return float(ordered[low - 1]), float(ordered[high - 1])


def _first(holds: Callable[[int], bool], n: int) -> int:
    """The smallest of 0 to n for which something holds that holds for all larger ones and for n."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def bounds_of(latencies_ms: npt.NDArray[np.float64]) -> dict[str, dict[str, Any]]:
    """Each percentile but the maximum with its interval, or how many answers it needs where there are too few."""
    found: dict[str, dict[str, Any]] = {}
    for name, percent in PERCENTILES.items():
        if percent == 100:
            continue
        ends = quantile_bounds(latencies_ms, percent / 100)
        if ends is None:
            found[name] = {"needs": answers_needed(name)}
        else:
            found[name] = {"value": float(np.percentile(latencies_ms, percent)), "low": ends[0], "high": ends[1]}
    return found
