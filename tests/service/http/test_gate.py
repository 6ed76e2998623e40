"""What is refused before the application is asked: by the same rules, in the same words, and counted."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.service.conftest import Served
from tests.service.http.test_json_endpoint import HEAVY, ROWS, held_up
from thinned.service.http.bounded_protocol import BEGAN
from thinned.service.http.gate import OverloadGate

Serve = Callable[..., Served]


def scope_of(path: str = "/predict", method: str = "POST", *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "headers": list(headers), BEGAN: time.monotonic()}


def answer_of(app: Any, scope: dict[str, Any]) -> tuple[int, dict[bytes, bytes], dict[str, Any]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, None, send))
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


def body(**fields: Any) -> bytes:
    return json.dumps({"inputs": ROWS, **fields}).encode()


def test_all_is_let_in_while_nothing_waits(classes: Served) -> None:
    gate = OverloadGate(lambda: classes.models)
    assert gate(scope_of(), body(timeout_ms=1)) is None


def test_a_full_queue_is_told_to_predictions_alone(
    serve: Serve, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = serve(models["classes"], max_waiting=2)
    gate = OverloadGate(lambda: busy.models)
    began, go = held_up(busy.manager, monkeypatch)
    waiting = [busy.begin("POST", "/predict_mc", json=HEAVY) for _ in range(3)]
    assert began.wait(30)
    while busy.manager.served.admitted < 3:
        time.sleep(0.01)
    for come in (body(), None):  # whole, and still on its way
        refusing = gate(scope_of("/predict", "POST", (b"x-request-id", b"mine")), come)
        assert refusing is not None
        status, headers, told = answer_of(refusing, scope_of("/predict", "POST", (b"x-request-id", b"mine")))
        assert (status, headers[b"retry-after"], headers[b"x-request-id"]) == (503, b"1", b"mine")
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert told["request_id"] == "mine"
        assert told["detail"] == busy.ask("POST", "/predict", json={"inputs": ROWS}).json()["detail"]
    assert gate(scope_of(method="GET"), b"") is None
    metrics = busy.ask("GET", "/metrics").text
    assert 'route="/predict",status="503"' in metrics
    go.set()
    assert [future.result(60).status_code for future in waiting] == [200] * 3


def test_what_cannot_be_there_in_time_is_refused_by_its_own_time(
    serve: Serve, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = serve(models["classes"])
    gate = OverloadGate(lambda: busy.models)
    began, go = held_up(busy.manager, monkeypatch)
    waiting = [busy.begin("POST", "/predict_mc", json=HEAVY)]
    assert began.wait(30)
    scheduler = busy.manager.served._scheduler
    assert scheduler is not None
    monkeypatch.setattr(scheduler, "waiting_s", lambda _=0.0: 3.0)
    refusing = gate(scope_of(), body(timeout_ms=2000))
    assert refusing is not None
    status, headers, told = answer_of(refusing, scope_of())
    assert (status, headers[b"retry-after"]) == (503, b"3")
    assert "timeout_ms" in told["detail"]
    assert gate(scope_of(), body(timeout_ms=10_000)) is None
    # What only parsing, unpacking or waiting can tell is let in.
    assert gate(scope_of(), body(timeout_ms="soon")) is None
    packed = scope_of("/predict", "POST", (b"content-encoding", b"gzip"))
    assert gate(packed, gzip.compress(body(timeout_ms=2000))) is None
    assert gate(scope_of(), None) is None
    go.set()
    assert waiting[0].result(60).status_code == 200


def test_what_came_with_too_many_others_is_told_so(classes: Served) -> None:
    gate = OverloadGate(lambda: classes.models)
    status, headers, told = answer_of(gate.busy, scope_of("/predict_mc"))
    assert (status, headers[b"retry-after"]) == (503, b"1")
    assert "at once" in told["detail"]
