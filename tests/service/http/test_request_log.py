"""Every request is counted and logged once, whatever becomes of it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from thinned.service.http.log_format import JsonFormatter, NamedFormatter
from thinned.service.http.request_id import NameFilter
from thinned.service.http.request_log import CLIENT_GONE, RequestLog
from thinned.service.metrics import Metrics
from thinned.service.metrics.families import Cells

PATHS = {"/here", "/livez", "/metrics", "/gone", "/fails", "/v2/models/{name}", "/v2/health/live"}


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/fails":
        raise RuntimeError("no answer")
    if scope["path"] == "/gone":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


METRICS = Metrics("counted:1")


def ask(
    path: str, *, times: int = 1, counted: bool = True, log: bool = True, name: bytes | None = None
) -> list[httpx.Response]:
    async def run() -> list[httpx.Response]:
        app = RequestLog(application, paths=PATHS, metrics=(lambda _: METRICS) if counted else None, log=log)
        answers = []
        if path == "/gone":
            scope = {"type": "http", "scheme": "http", "method": "POST", "path": path, "headers": []}
            await app(scope, None, None)  # type: ignore[arg-type]
        else:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
                headers = {} if name is None else {b"x-request-id": name}
                answers = [await client.post(path, content=b"12", headers=headers) for _ in range(times)]
        await asyncio.sleep(0)
        return answers

    return asyncio.run(run())


def cells(name: str) -> Cells:
    (family,) = [family for family in METRICS.families if family.name == name]
    return family.cells()


def count(path: str, status: int = 200) -> float:
    cell = cells("thinned_request_duration_seconds").get(("counted:1", path, str(status)), [0.0])
    return sum(cell[:-1])


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "bentoml.access")
    return caplog


def test_paths_of_one_route_are_counted_together_and_logged_as_they_came(logged: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b", "a%0Ab%20", "x" * 5000):
        ask(f"/v2/models/{name}")
    assert count("/v2/models/{name}") == 4
    assert not any("models/a" in cell[1] for cell in cells("thinned_request_duration_seconds"))
    lines = [record.getMessage() for record in logged.records]
    assert "path=/v2/models/a%0Ab%20," in lines[2]
    assert all(len(line) < 1000 and "\n" not in line for line in lines)
    ask("/v2/health/live")
    assert len(logged.records) == 4


def test_a_request_is_counted_and_logged_once(logged: pytest.LogCaptureFixture) -> None:
    before = count("/here")
    ask("/here", times=3)
    assert count("/here") == before + 3
    assert len(logged.records) == 3
    assert "method=POST,path=/here,length=2) (status=200,type=,length=2)" in logged.records[0].getMessage()
    assert cells("thinned_requests_in_progress")["counted:1", "/here"] == [0.0]


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
    ask("/here", counted=False, log=False)
    assert count("/here") == before
    assert not logged.records


@pytest.mark.parametrize("name", [b"a", b"A-z_0.9", b"x" * 128])
def test_a_usable_name_is_taken_over(name: bytes) -> None:
    (answer,) = ask("/here", name=name)
    assert answer.headers["x-request-id"].encode() == name


@pytest.mark.parametrize("name", [None, b"", b"x" * 129, b"a b", b"a\xff", b"a)(status=200", b"\x1b[31m"])
def test_another_name_is_made(name: bytes | None) -> None:
    first, second = ask("/here", times=2, name=name)
    assert re.fullmatch("[0-9a-f]{32}", first.headers["x-request-id"])
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_every_answer_forbids_guessing_its_type() -> None:
    assert ask("/here")[0].headers["x-content-type-options"] == "nosniff"


@pytest.fixture
def records() -> Iterator[list[str]]:
    """Lines as a handler of the service would write them, in JSON."""
    lines: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Keeping()
    handler.addFilter(NameFilter())
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("bentoml.access")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def test_a_line_in_json_has_the_name_and_what_was_answered(records: list[str]) -> None:
    ask("/here", name=b"mine.1")
    (line,) = map(json.loads, records)
    assert (line["request_id"], line["path"], line["status"]) == ("mine.1", "/here", 200)
    assert (line["level"], line["logger"]) == ("info", "bentoml.access")
    assert line["duration_ms"] >= 0


def test_an_exception_in_json_is_one_line() -> None:
    try:
        raise ValueError("no\nway")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 1, "a\n%s", ("b",), sys.exc_info())
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert line["message"] == "a\nb"
    assert "ValueError: no" in line["exception"]
    assert "request_id" not in line


def test_text_has_the_name_at_the_end_of_its_first_line() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 1, "a\nb", (), None)
    record.request_name = "n"
    assert NamedFormatter(logging.Formatter()).format(record) == "a (request_id=n)\nb"
    record.request_name = None
    assert NamedFormatter(logging.Formatter()).format(record) == "a\nb"
