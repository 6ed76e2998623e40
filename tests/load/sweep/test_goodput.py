"""Goodput counted from lists by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.load.sample_results import measurement
from thinned.loadtest.report.tables import spread_between_runs
from thinned.loadtest.sweep.goodput import goodput, objective_ms
from thinned.loadtest.sweep.plan import Cell
from thinned.loadtest.sweep.summary import summarise_cell

CELL = Cell("service", 10, 1, rate=5.0)


def run(latencies: list[float], *, seconds: float, failed: int) -> object:
    errors = {"503": failed} if failed else {}
    made = measurement(CELL, 0, errors=errors)
    return replace(made, latencies_ms=np.array(latencies), seconds=seconds, offered=len(latencies) + failed)


def test_good_answers_are_right_and_in_time() -> None:
    # First run: 10, 50 and 49.9 ms are within 50 ms, 50.1 and 900 ms are not, and one request failed; 2 s.
    # Second run: one of two answers is; 4 s.
    repeats = [run([10, 50, 50.1, 49.9, 900], seconds=2, failed=1), run([60, 20], seconds=4, failed=0)]
    found = goodput(repeats, {"p50": 5.0, "p99": 50.0})  # type: ignore[arg-type]
    assert found is not None
    assert (found["limit_ms"], found["good"], found["due"]) == (50.0, 4, 8)
    assert found["share"] == 0.5
    assert found["per_second"]["each"] == [1.5, 0.25]
    assert found["per_second"]["value"] == 0.875


def test_nothing_good_nothing_due_and_no_objective() -> None:
    slow = goodput([run([60.0], seconds=1, failed=2)], {"p99": 50.0})  # type: ignore[list-item]
    assert slow is not None
    assert (slow["good"], slow["due"], slow["share"], slow["per_second"]["value"]) == (0, 3, 0.0, 0.0)
    idle = goodput([run([], seconds=1, failed=0)], {"p99": 50.0})  # type: ignore[list-item]
    assert idle is not None
    assert idle["share"] is None
    assert goodput([run([1.0], seconds=1, failed=0)], {}) is None  # type: ignore[list-item]
    assert objective_ms({}) is None


def test_a_cell_tells_the_spread_between_its_runs_and_no_percentile_of_too_few() -> None:
    repeats = [run([value] * 9, seconds=1, failed=0) for value in (10.0, 14.0, 12.0)]
    cell = summarise_cell(CELL, repeats, {"p99": 50.0})  # type: ignore[arg-type]
    assert spread_between_runs(cell["latency_ms"]["p50"]) == "17 %"  # a deviation of 2 ms about 12 ms
    assert cell["bounds_ms"]["p50"] == {"value": 12.0, "low": 10.0, "high": 14.0}
    assert cell["bounds_ms"]["p99"] == {"needs": 368}
    one = summarise_cell(CELL, repeats[:1], {})  # type: ignore[arg-type]
    assert spread_between_runs(one["latency_ms"]["p50"]) == "–"
