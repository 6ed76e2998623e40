"""Goodput: right answers within the objective, a second, and as a share of all requests that were due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thinned.loadtest.sweep.intervals import estimate
from thinned.loadtest.sweep.record import Measurement

__all__ = ["good_answers", "goodput", "objective_ms"]


def objective_ms(slo: Mapping[str, float]) -> float | None:
    """The time within which an answer is good: the largest of the limits; None without limits."""
    return max(slo.values(), default=None)


def good_answers(one: Measurement, limit_ms: float) -> int:
    """Right answers, to requests that began in the window, that took no longer than this."""
    return int(np.count_nonzero(one.latencies_ms <= limit_ms))


def goodput(repeats: Sequence[Measurement], slo: Mapping[str, float]) -> dict[str, Any] | None:
    """Goodput of the repeats of a cell; None without limits.

    Args:
        repeats: Measurements, at least one. Failed, wrong and dropped requests are due, and not good.
        slo: Limits on percentiles, in ms.
    """
    limit = objective_ms(slo)
    if limit is None:
        return None
    good = [good_answers(one, limit) for one in repeats]
    rates = estimate([count / one.seconds for count, one in zip(good, repeats, strict=True)])
    offered = sum(one.offered for one in repeats)
    return {
        "limit_ms": limit,
        "good": sum(good),
        "due": offered,
        "share": sum(good) / offered if offered else None,
        "per_second": None if rates is None else rates.as_json(),
    }
