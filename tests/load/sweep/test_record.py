from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from thinned.loadtest.arrivals import DroppedArrivalError, UnansweredError
from thinned.loadtest.request_bodies import WrongAnswerError
from thinned.loadtest.sweep.record import Record


def told(start: float, took_ms: float, **more: Any) -> dict[str, Any]:
    context = {"start": start, "late_ms": more.pop("late_ms", 0.0)}
    given = {"exception": None, "response": SimpleNamespace(status_code=200, headers={}), **more}
    return {"response_time": took_ms, "context": context, "request_type": "POST", **given}


def run_of(*events: dict[str, Any], is_open: bool = False) -> Any:
    record = Record(began=10.0, ended=12.0)
    for event in events:
        record.note(**event)
    return record.run(0, service=None, client=None, seeds={}, is_open=is_open)


def test_what_began_in_the_window_counts_and_what_ended_in_it_is_throughput() -> None:
    run = run_of(told(9.9, 200), told(10.0, 50), told(11.9, 200), told(12.0, 10), told(5.0, 1))
    assert run.latencies_ms.tolist() == [50, 200]
    assert run.completed == 2
    assert run.throughput == 1.0


@pytest.mark.parametrize(
    ("exception", "response", "kind"),
    [
        (DroppedArrivalError("full"), None, "dropped"),
        (UnansweredError("late"), None, "unanswered"),
        (WrongAnswerError("shape"), SimpleNamespace(status_code=200, headers={}), "200 wrong answer"),
        (Exception("busy"), SimpleNamespace(status_code=503, headers={}), "503"),
        (Exception("refused"), SimpleNamespace(status_code=0, headers=None), "no answer"),
    ],
)
def test_failures_are_counted_by_kind(exception: Exception, response: Any, kind: str) -> None:
    run = run_of(told(11, 5), told(11, 5, exception=exception, response=response))
    assert run.errors == {kind: 1}
    assert run.examples == {kind: str(exception)}
    assert len(run.latencies_ms) == 1
    assert run.dropped == (kind == "dropped")


def test_lateness_is_told_of_open_load_only() -> None:
    events = [told(10.5, 20, late_ms=6.0), told(10.6, 20, late_ms=0.1)]
    assert (run_of(*events, is_open=True).late, run_of(*events, is_open=True).worst_late_ms) == (1, 6.0)
    assert run_of(*events).late == 0


def test_server_timing_is_read() -> None:
    headers = {"Server-Timing": 'queue;dur=0.25, compute;desc="graph";dur=1.5e1, cache'}
    response = SimpleNamespace(status_code=200, headers=headers)
    run = run_of(told(10.5, 20, response=response), told(10.6, 20, response=response))
    assert {name: values.tolist() for name, values in run.timings_ms.items()} == {
        "queue": [0.25, 0.25],
        "compute": [15.0, 15.0],
    }
