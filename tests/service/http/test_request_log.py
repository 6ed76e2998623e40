"""Every request is counted and logged once, whatever becomes of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from thinned.service.http.request_log import CLIENT_GONE, RequestLog, ServiceLabels

LABELS = ServiceLabels("counted", "1", "counted")
PATHS = {"/here", "/livez", "/metrics", "/gone", "/fails"}


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/fails":
        raise RuntimeError("no answer")
    if scope["path"] == "/gone":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def ask(path: str, *, times: int = 1, labels: ServiceLabels | None = LABELS, log: bool = True) -> None:
    async def run() -> None:
        app = RequestLog(application, paths=PATHS, labels=labels, log=log)
        if path == "/gone":
            scope = {"type": "http", "scheme": "http", "method": "POST", "path": path, "headers": []}
            await app(scope, None, None)  # type: ignore[arg-type]
        else:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
                for _ in range(times):
                    await client.post(path, content=b"12")
        await asyncio.sleep(0)

    asyncio.run(run())


def count(path: str, status: int = 200) -> float:
    labels = {**LABELS._asdict(), "endpoint": path, "http_response_code": str(status)}
    found = REGISTRY.get_sample_value("bentoml_service_request_total", labels) or 0.0
    assert found == (REGISTRY.get_sample_value("bentoml_service_request_duration_seconds_count", labels) or 0.0)
    return found


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "bentoml.access")
    return caplog


def test_a_request_is_counted_and_logged_once(logged: pytest.LogCaptureFixture) -> None:
    before = count("/here")
    ask("/here", times=3)
    assert count("/here") == before + 3
    assert len(logged.records) == 3
    assert "method=POST,path=/here,length=2) (status=200,type=,length=2)" in logged.records[0].getMessage()
    running = REGISTRY.get_sample_value(
        "bentoml_service_request_in_progress", {**LABELS._asdict(), "endpoint": "/here"}
    )
    assert running == 0


def test_probes_are_counted_and_not_logged_and_metrics_are_neither(logged: pytest.LogCaptureFixture) -> None:
    before = count("/livez")
    ask("/livez")
    ask("/metrics")
    assert count("/livez") == before + 1
    assert count("/metrics") == 0
    assert not logged.records


def test_a_path_that_is_not_there_leaves_no_row(logged: pytest.LogCaptureFixture) -> None:
    ask("/unheard-of")
    assert count("/unheard-of") == 0
    assert not logged.records


def test_a_client_that_went_and_an_answer_that_failed_are_counted(logged: pytest.LogCaptureFixture) -> None:
    ask("/gone")
    with pytest.raises(RuntimeError):
        ask("/fails")
    assert count("/gone", CLIENT_GONE) == 1


def test_an_operator_may_switch_both_off(logged: pytest.LogCaptureFixture) -> None:
    before = count("/here")
    ask("/here", labels=None, log=False)
    assert count("/here") == before
    assert not logged.records
