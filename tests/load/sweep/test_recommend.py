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


def test_a_count_that_fails_is_not_recommended() -> None:
    advice = results(baseline=False, repeats=2, slo={"p50": 100.0}, errors={"503": 2})["recommendation"]
    assert advice["n_samples"] is None
