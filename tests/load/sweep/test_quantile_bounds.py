"""The interval of a percentile holds it as often as it says, whatever the distribution; too few answers get none."""

from __future__ import annotations

import numpy as np
import pytest

from thinned.loadtest.sweep.quantile_bounds import LEVEL, answers_needed, bounds_of, quantile_bounds

TRIALS = 2000


@pytest.mark.parametrize(("name", "n"), [("p50", 6), ("p90", 36), ("p95", 72), ("p99", 368), ("p99.9", 3688)])
def test_no_fewer_answers_tell_a_percentile(name: str, n: int) -> None:
    assert answers_needed(name) == n
    q = float(name[1:]) / 100
    latencies = np.random.default_rng(0).exponential(size=n)
    assert quantile_bounds(latencies[:-1], q) is None
    low, high = quantile_bounds(latencies, q) or (0, 0)
    assert low < np.percentile(latencies, 100 * q) <= high
    assert high == latencies.max() or name == "p50"


@pytest.mark.parametrize(("n", "q"), [(6, 0.5), (50, 0.5), (51, 0.9), (400, 0.99), (1000, 0.95), (1000, 0.99)])
@pytest.mark.parametrize("law", ["lognormal", "two modes", "rounded to 1 ms"])
def test_the_interval_holds_the_quantile_as_often_as_it_says(n: int, q: float, law: str) -> None:
    """Simulated; exact coverage is that of a binomial, so that more than a few per cent above is not to be had."""
    draw = np.random.default_rng(1)

    def latencies(count: int) -> np.ndarray:
        x = draw.lognormal(1, 0.5, count)
        if law == "two modes":
            return np.where(draw.random(count) < 0.03, 200 + x, x)
        return np.ceil(x) if law == "rounded to 1 ms" else x

    truth = float(np.quantile(latencies(2_000_000), q, method="inverted_cdf"))
    held = 0
    for _ in range(TRIALS):
        low, high = quantile_bounds(latencies(n), q) or (np.nan, np.nan)
        held += low <= truth <= high
    error = 3 * (LEVEL * (1 - LEVEL) / TRIALS) ** 0.5
    assert held / TRIALS > LEVEL - error
    if law != "rounded to 1 ms" and n >= 400:
        assert held / TRIALS < LEVEL + 0.03 + error


def test_either_end_misses_no_more_than_half_of_what_both_may() -> None:
    draw = np.random.default_rng(2)
    ends = np.array([quantile_bounds(draw.random(200), 0.9) for _ in range(TRIALS)])
    error = 3 * (0.025 * 0.975 / TRIALS) ** 0.5
    assert (ends[:, 0] > 0.9).mean() < 0.025 + error
    assert (ends[:, 1] < 0.9).mean() < 0.025 + error


def test_more_answers_bound_it_closer() -> None:
    draw = np.random.default_rng(3)
    widths = [np.subtract(*(quantile_bounds(draw.random(n), 0.99) or (0, 0))[::-1]) for n in (400, 4_000, 400_000)]
    assert widths[0] > widths[1] > widths[2] > 0


@pytest.mark.parametrize("n", [0, 1, 50])
def test_few_answers_get_no_p99(n: int) -> None:
    found = bounds_of(np.arange(n, dtype=float))
    assert found["p99"] == {"needs": 368}
    assert found["p99.9"] == {"needs": 3688}
    assert list(found) == ["p50", "p90", "p95", "p99", "p99.9"]
    assert ("value" in found["p50"]) == (n >= 6)
