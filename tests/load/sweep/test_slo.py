from __future__ import annotations

import numpy as np
import pytest

from thinned.loadtest.sweep.slo import RateTrial, find_largest_rate, parse_slo, percentile


def test_limits_are_read() -> None:
    assert parse_slo("p99=50") == {"p99": 50.0}
    assert parse_slo("p50=4.5, p99.9=200") == {"p50": 4.5, "p99.9": 200.0}


@pytest.mark.parametrize("text", ["", "p99", "p98=5", "p99=", "p99=-1", "p99=0", "p99=nan", "50"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected limits in ms"):
        parse_slo(text)


def test_percentiles_are_exact() -> None:
    latencies = np.arange(1001.0)
    assert percentile(latencies, "p99.9") == pytest.approx(999.0)
    assert percentile(latencies, "max") == 1000.0
    assert np.isnan(percentile(np.array([]), "p50"))


@pytest.mark.parametrize("true", [3.0, 41.0, 100.0, 390.0])
def test_the_largest_rate_is_found_within_a_tenth(true: float) -> None:
    found = find_largest_rate(lambda rate: RateTrial(rate, {}, 0, rate <= true), 100.0, trials=12)
    assert found.rate <= true < (found.missed_at or 0)
    assert true / found.rate <= 1.1


def test_rates_that_tell_nothing_are_not_tried() -> None:
    found = find_largest_rate(lambda rate: RateTrial(rate, {}, 0, False), 100.0, least=20.0)
    assert [trial.rate for trial in found.trials] == [100.0, 50.0, 25.0]


def test_nothing_meets_it_and_everything_does() -> None:
    none = find_largest_rate(lambda rate: RateTrial(rate, {}, 0, False), 100.0)
    assert none.rate == 0
    assert len(none.trials) == 8
    everything = find_largest_rate(lambda rate: RateTrial(rate, {}, 0, True), 100.0)
    assert everything.missed_at is None
    assert everything.rate > 1000
