from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from thinned.loadtest.arrivals import DroppedArrivalError, UnansweredError
from thinned.loadtest.request_bodies import WrongAnswerError
from thinned.loadtest.sweep.record import RequestRecorder


def request(start: float, took_ms: float, **more: Any) -> dict[str, Any]:
    context = {"start": start, "late_ms": more.pop("late_ms", 0.0)}
    given = {"exception": None, "response": SimpleNamespace(status_code=200, headers={}), **more}
    return {"response_time": took_ms, "context": context, "request_type": "POST", **given}


def measured(*events: dict[str, Any], is_open: bool = False) -> Any:
    recorder = RequestRecorder(began=10.0, ended=12.0)
    for event in events:
        recorder.record(**event)
    return recorder.measurement(0, service=None, client=None, seeds={}, is_open=is_open)


def test_what_began_in_the_window_counts_and_what_ended_in_it_is_throughput() -> None:
    found = measured(request(9.9, 200), request(10.0, 50), request(11.9, 200), request(12.0, 10), request(5.0, 1))
    assert found.latencies_ms.tolist() == [50, 200]
    assert found.completed == 2
    assert found.throughput == 1.0


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
    found = measured(request(11, 5), request(11, 5, exception=exception, response=response))
    assert found.errors == {kind: 1}
    assert found.examples == {kind: str(exception)}
    assert len(found.latencies_ms) == 1
    assert found.dropped == (kind == "dropped")


def test_lateness_is_reported_for_open_load_only() -> None:
    events = [request(10.5, 20, late_ms=6.0), request(10.6, 20, late_ms=0.1)]
    assert (measured(*events, is_open=True).late, measured(*events, is_open=True).worst_late_ms) == (1, 6.0)
    assert measured(*events).late == 0


def test_server_timing_is_read() -> None:
    headers = {"Server-Timing": 'queue;dur=0.25, compute;desc="graph";dur=1.5e1, cache'}
    response = SimpleNamespace(status_code=200, headers=headers)
    found = measured(request(10.5, 20, response=response), request(10.6, 20, response=response))
    assert {name: values.tolist() for name, values in found.timings_ms.items()} == {
        "queue": [0.25, 0.25],
        "compute": [15.0, 15.0],
    }
