"""One span a request, in the trace that the client is in."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.service.conftest import Served
from tests.service.http.test_request_log import records
from thinned.models.errors import SettingsError
from thinned.service.app import UncertaintyService, http
from thinned.service.http.tracing import Traces, annotate, make_traces

ROWS = [[0.1, 0.2, 0.3]]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
__all__ = ["records"]


@pytest.fixture
def spans(classes: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces = Traces(provider, lambda _: "classes:1")
    monkeypatch.setattr(http.state, "models", classes.models, raising=False)
    monkeypatch.setattr(http.state, "traces", traces, raising=False)
    yield exporter.get_finished_spans
    traces.close()


def ask(served: Served, method: str, path: str, **request: Any) -> Any:
    return served.ask_of(UncertaintyService.to_asgi(), method, path, **request)


def test_a_request_is_one_span_of_the_clients_trace(classes: Served, spans: Any) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=b", "x-request-id": "mine"}
    body = {"inputs": ROWS * 2, "n_samples": 64}
    assert ask(classes, "POST", "/predict_mc", json=body, headers=headers).status_code == 200
    (span,) = spans()
    assert (span.name, span.kind) == ("POST /predict_mc", SpanKind.SERVER)
    assert format(span.context.trace_id, "032x") == TRACE
    assert format(span.parent.span_id, "016x") == PARENT
    assert span.context.trace_state.get("a") == "b"
    attributes = dict(span.attributes)
    assert attributes.pop("thinned.queue_ms") >= 0
    assert attributes.pop("thinned.compute_ms") > 0
    assert attributes == {
        "http.request.method": "POST",
        "http.route": "/predict_mc",
        "http.response.status_code": 200,
        "thinned.model": "classes:1",
        "thinned.request_id": "mine",
        "thinned.rows": 2,
        "thinned.n_samples": 64,
        "thinned.drawn": 64,
    }


@pytest.mark.parametrize("header", [None, "nonsense", f"00-{'0' * 32}-{PARENT}-01", "\xff"])
def test_without_a_usable_parent_a_trace_begins(classes: Served, spans: Any, header: str | None) -> None:
    headers = {} if header is None else {"traceparent": header.encode("latin-1")}
    assert ask(classes, "POST", "/predict", json={"inputs": 1}, headers=headers).status_code == 422
    (span,) = spans()
    assert span.parent is None
    assert span.attributes["http.response.status_code"] == 422
    assert span.status.status_code == StatusCode.UNSET


def test_health_and_paths_that_are_not_there_make_no_span(classes: Served, spans: Any) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/nowhere"):
        ask(classes, "GET", path)
    assert spans() == ()


def test_a_line_in_json_names_the_trace(
    classes: Served,
    spans: Any,
    records: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "bentoml.access")
    ask(classes, "POST", "/predict", json={"inputs": ROWS}, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    (line,) = [json.loads(record) for record in records]
    assert line["trace_id"] == TRACE


def test_nothing_is_made_or_imported_where_none_are_asked_for() -> None:
    assert make_traces("off", str) is None
    annotate(rows=1)


def test_an_exporter_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match="opentelemetry-exporter-otlp-proto-http"):
        make_traces("otlp", str)


def test_the_console_writes_a_line_a_span(capsys: pytest.CaptureFixture[str]) -> None:
    traces = make_traces("console", lambda _: "m:1")
    assert traces is not None
    with traces._tracer.start_as_current_span("x"):
        pass
    traces.close()
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["name"] == "x"
    assert json.loads(line)["resource"]["attributes"]["service.name"] == "thinned"
