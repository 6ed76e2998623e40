from __future__ import annotations

from typing import Any

import pytest

from tests.load.sample_results import results


@pytest.mark.parametrize(
    ("given", "chosen", "said"),
    [
        ({}, 100, "at most 0.1 of the spread"),
        ({"tolerance": 0.15}, 30, "the smallest N measured"),
        ({"tolerance": 0.001}, None, "measure larger ones"),
        ({"slo": {"p50": 5.0}}, 10, "the largest N measured with p50 ≤ 5 ms"),
        ({"slo": {"p50": 0.1}}, None, "none of the N measured has p50 ≤ 0.1 ms"),
        ({"slo": {"p50": 100.0}, "tolerance": 0.15}, 30, "and p50 ≤ 100 ms"),
        ({"slo": {"p50": 5.0}, "tolerance": 0.15}, None, "N = 30 has an error"),
    ],
)
def test_the_fewest_passes_that_do(given: dict[str, Any], chosen: int | None, said: str) -> None:
    advice = results(baseline=False, repeats=2, **given)["recommendation"]
    assert advice["n_samples"] == chosen
    assert said in advice["reason"]


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        (
            {"slo": {"p50": 2.1}},
            ("N = 10 under 50 arrivals/s, has p50 = 2.19 ms", "the plain answer has them; measure fewer passes"),
        ),
        ({"slo": {"p50": 0.1}}, ("the nearest, N = 10", "allow more time, or take a faster machine")),
        ({"slo": {"p99.9": 0.1}}, (" ms by 800 answers, of 3688 that it needs,",)),
        ({"slo": {"p50": 2.3}}, ("N = 10 has them, under 4 clients not", "share the load between workers")),
        (
            {"slo": {"p50": 5.0}, "tolerance": 0.15},
            ("under 1 client", "or settle for N = 10, which has them, and 0.19"),
        ),
        ({"slo": {"p50": 9.0}, "errors": {"503": 2}}, ("requests for N = 10 failed", "send less at a time")),
        ({"tolerance": 0.01}, ("measure larger ones (--samples 3600 has it by what N = 100 has)",)),
    ],
)
def test_where_none_will_do_it_says_what_to_change(given: dict[str, Any], advice: tuple[str, ...]) -> None:
    found = results(baseline=False, repeats=2, **given)["recommendation"]
    assert found["n_samples"] is None
    for words in advice:
        assert words in found["reason"]


def test_a_count_that_fails_is_not_recommended() -> None:
    advice = results(baseline=False, repeats=2, slo={"p50": 100.0}, errors={"503": 2})["recommendation"]
    assert advice["n_samples"] is None
