"""Means over rows that come in requests: their intervals hold the truth as often as they say, also within requests."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from thinned.models.uncertainty.paired_means import LEAST_REQUESTS, Estimate, PairedMean

RNG = np.random.default_rng


def of(requests: list[np.ndarray]) -> PairedMean:
    made = PairedMean()
    for values in requests:
        made.add(values)
    return made


def held(draw: Callable[[np.random.Generator], Estimate], truth: float, times: int = 600) -> float:
    estimates = [draw(RNG(seed)) for seed in range(times)]
    return float(np.mean([e.low <= truth <= e.high for e in estimates]))  # type: ignore[operator]


def test_the_mean_is_that_over_rows_and_its_error_that_of_a_ratio() -> None:
    rng = RNG(1)
    requests = [rng.normal(3, 1, rng.integers(1, 6)) for _ in range(40)]
    made, rows = of(requests), np.concatenate(requests)
    assert (made.requests, made.rows) == (40, len(rows))
    assert made.value == pytest.approx(rows.mean())
    off = np.array([part.sum() - rows.mean() * len(part) for part in requests])
    estimate = made.mean()
    assert estimate.high is not None
    wide = 2.0226909 * math.sqrt((off**2).sum() * 40 / 39) / len(rows)  # Student's t with 39 degrees of freedom
    assert estimate.high - estimate.value == pytest.approx(wide, rel=1e-6)


def test_a_large_mean_with_a_small_spread_keeps_its_interval() -> None:
    values = RNG(2).normal(0, 1e-3, 200)
    small, large = of([values[i : i + 1] for i in range(200)]), of([1e6 + values[i : i + 1] for i in range(200)])
    a, b = small.mean(), large.mean()
    assert a.high is not None
    assert b.high is not None
    assert b.high - b.value == pytest.approx(a.high - a.value, rel=1e-3)


def test_intervals_hold_the_truth_though_rows_of_a_request_are_alike() -> None:
    def mean(rng: np.random.Generator) -> Estimate:
        return of([rng.normal(rng.normal(), 0.1, rng.integers(1, 9)) for _ in range(30)]).mean()

    def share(rng: np.random.Generator) -> Estimate:
        return of([np.full(rng.integers(1, 9), float(rng.random() < 0.9)) for _ in range(60)]).share()

    assert 0.92 <= held(mean, 0.0) <= 0.98
    assert 0.92 <= held(share, 0.9) <= 0.99


def test_a_share_at_its_ends_counts_requests() -> None:
    estimate = of([np.ones(100) for _ in range(20)]).share()
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low is not None
    assert 0.8 < estimate.low < 0.9  # Wilson's, of 20 and not of 2,000.
    assert of([np.zeros(1) for _ in range(20)]).share().low == 0.0


def test_of_few_requests_there_is_no_interval() -> None:
    few = of([np.ones(1000) for _ in range(LEAST_REQUESTS - 1)])
    assert few.mean() == few.share() == Estimate(1.0, None, None)
    assert math.isnan(PairedMean().value)
