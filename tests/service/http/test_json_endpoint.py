"""What a request meets on its way: its deadline, its place in the queue, a client that goes; and what is counted."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.service.conftest import Served
from thinned.models.errors import MalformedBodyError
from thinned.service.http.routes import create_app
from thinned.service.inference.model_manager import ModelManager
from thinned.service.schema.request_body import parse

ROWS = [[0.5, -1, 2], [1, 0, 0.25]]
HEAVY = {"inputs": [[0.5, -1, 2]] * 64, "n_samples": 1000}
Serve = Callable[..., Served]


def test_many_at_once_are_answered_as_each_alone(classes: Served) -> None:
    bodies = [{"inputs": ROWS, "n_samples": 20 + i, "seed": i} for i in range(16)]
    waiting = [classes.begin("POST", "/predict_mc", json=body) for body in bodies]
    for future, body in zip(waiting, bodies, strict=True):
        together, alone = future.result(60).json(), classes.ask("POST", "/predict_mc", json=body).json()
        assert together["seed"] == body["seed"]
        for name in ("mean", "variance", "standard_error", "mutual_information"):
            np.testing.assert_allclose(together[name], alone[name], rtol=1e-4, atol=1e-7)


def test_an_adaptive_answer_is_the_fixed_one(classes: Served) -> None:
    body = {"inputs": ROWS, "n_samples": 1000, "seed": 5, "tolerance": 0.01, "sampling": "independent"}
    answer = classes.ask("POST", "/predict_mc", json=body).json()
    classes.fits(answer, "PredictMcAnswer")
    assert 128 <= answer["n_samples"] < 1000
    assert answer["converged"] == [True, True]
    assert (answer["sampling"], answer["standard_error_from"]) == ("independent", "passes")
    assert np.max(answer["standard_error"]) < 0.01
    fixed = {"inputs": ROWS, "n_samples": answer["n_samples"], "seed": 5, "sampling": "independent"}
    again = classes.ask("POST", "/predict_mc", json=fixed).json()
    assert "converged" not in again
    assert "stopped_by" not in again
    for name in ("mean", "variance", "standard_error", "mutual_information"):
        np.testing.assert_allclose(answer[name], again[name], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("asked", "stopped_by", "least", "most"),
    [
        ({"tolerance": 0.01}, "tolerance", 128, 999),
        ({"tolerance": 1e-9}, "limit", 1000, 1000),
        ({"budget_ms": 60_000}, "limit", 1000, 1000),
        # One block, which is of 32 passes or, where the machine is slow, of fewer.
        ({"budget_ms": 1e-6}, "budget_ms", 2, 32),
        ({"budget_ms": 1e-6, "tolerance": 0.01}, "budget_ms", 2, 32),
        ({"tolerance": 1e-9, "n_samples": 200}, "n_samples", 200, 200),
        ({"budget_ms": 1e-6, "n_samples": 20}, "n_samples", 20, 20),
    ],
)
def test_an_adaptive_answer_says_what_stopped_it(
    classes: Served, asked: dict[str, Any], stopped_by: str, least: int, most: int
) -> None:
    answer = classes.ask("POST", "/predict_mc", json={"inputs": ROWS, "seed": 5, **asked}).json()
    classes.fits(answer, "PredictMcAnswer")
    assert answer["stopped_by"] == stopped_by
    assert least <= answer["n_samples"] <= most


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(name, value) for name in ("tolerance", "budget_ms", "timeout_ms")
          for value in (0, -1, "1", True, [], 10**400)],
        ("timeout_ms", 300_001),
        ("sampling", "sobol"),
        ("sampling", None),
        ("sampling", ["stratified"]),
    ],
)  # fmt: skip
def test_what_the_new_fields_refuse(classes: Served, field: str, value: object) -> None:
    response = classes.ask("POST", "/predict_mc", json={"inputs": ROWS, field: value})
    assert response.status_code == 422
    assert [error["loc"] for error in response.json()["errors"]] == [[field]]


def test_a_request_that_was_too_late_leaves_nothing_to_the_garbage_collector(classes: Served) -> None:
    late = {**HEAVY, "timeout_ms": 5}
    classes.ask("POST", "/predict_mc", json=late)
    gc.collect()
    gc.disable()
    try:
        assert classes.ask("POST", "/predict_mc", json=late).status_code == 504
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [type(one).__name__ for one in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert "SampleRequest" not in left


def test_a_deadline_is_answered_504(classes: Served) -> None:
    response = classes.ask("POST", "/predict_mc", json={**HEAVY, "timeout_ms": 5})
    assert (response.status_code, response.json()["title"]) == (504, "The answer was not there in time")
    assert "within 5 ms" in response.json()["detail"]
    assert classes.manager.served.admitted == 0
    assert classes.ask("POST", "/predict", json={"inputs": ROWS, "timeout_ms": 60_000}).status_code == 200


def held_up(manager: ModelManager, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Has the engine wait in its next call: set when it has begun, and to let it go on."""
    began, go = threading.Event(), threading.Event()
    model = manager.engine.model
    real = model.draw

    def slow(*arguments: Any, **named: Any) -> Any:
        began.set()
        assert go.wait(30)
        return real(*arguments, **named)

    monkeypatch.setattr(model, "draw", slow)
    return began, go


def test_a_full_queue_refuses_at_once(serve: Serve, models: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    busy = serve(models["classes"], max_waiting=2)
    began, go = held_up(busy.manager, monkeypatch)
    waiting = [busy.begin("POST", "/predict_mc", json=HEAVY)]
    assert began.wait(30)
    waiting += [busy.begin("POST", "/predict_mc", json={"inputs": ROWS}) for _ in range(2)]
    while busy.manager.served.admitted < 3:
        time.sleep(0.01)
    asked = time.monotonic()
    refused = busy.ask("POST", "/predict", json={"inputs": ROWS})
    assert time.monotonic() - asked < 1
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    go.set()
    assert [future.result(60).status_code for future in waiting] == [200] * 3


def test_a_client_that_goes_frees_its_place(
    serve: Serve, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = serve(models["classes"])
    began, go = held_up(busy.manager, monkeypatch)
    sent: list[Any] = []

    async def leave() -> None:
        body = json.dumps(HEAVY).encode()
        messages = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]

        async def receive() -> Any:
            if len(messages) == 1:
                while not began.is_set():
                    await asyncio.sleep(0.01)
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/predict_mc", "headers": []}
        await create_app(busy.manager)(scope, receive, send)

    busy.run(leave()).result(30)
    assert sent == []
    assert busy.manager.served.admitted == 0
    calls = busy.manager.served._scheduler.calls  # type: ignore[union-attr]
    go.set()
    assert busy.ask("POST", "/predict", json={"inputs": ROWS}).status_code == 200
    # The call under way ended; of the seven more that the request would have needed, none was made.
    assert busy.manager.served._scheduler.calls <= calls + 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": [[1, 2, 3]], "inputs": [[1, 2, 3]]}',
        b'{"inputs": {"x": [[1, 2, 3]], "x": [[1, 2, 3]]}}',
    ],
)
def test_a_member_twice_is_refused(classes: Served, body: bytes) -> None:
    response = classes.ask("POST", "/predict", content=body)
    assert response.status_code == 400
    assert "is there twice" in response.json()["detail"]


# Promises of time and memory


def test_the_504_is_there_in_time_whatever_is_computed(
    serve: Serve, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = serve(models["classes"])
    began, go = held_up(busy.manager, monkeypatch)
    first = busy.begin("POST", "/predict_mc", json=HEAVY)
    assert began.wait(30)
    for path in ("/predict", "/predict_mc"):
        asked = time.monotonic()
        late = busy.ask("POST", path, json={"inputs": ROWS, "timeout_ms": 200})
        assert late.status_code == 504
        assert time.monotonic() - asked < 1.0
    go.set()
    assert first.result(60).status_code == 200


class Client:
    """Sends a body piece by piece, and may leave."""

    def __init__(self, manager: ModelManager, path: str = "/predict_mc") -> None:
        self.manager, self.path = manager, path
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: list[Any] = []

    async def ask(self) -> list[Any]:
        async def send(message: Any) -> None:
            self.sent.append(message)

        scope = {"type": "http", "method": "POST", "path": self.path, "headers": []}
        await create_app(self.manager)(scope, self.messages.get, send)
        return self.sent

    def piece(self, body: bytes, *, more: bool = False) -> None:
        self.messages.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})


def test_all_of_a_burst_that_leave_take_no_further_call(
    serve: Serve, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = serve(models["classes"])
    began, go = held_up(busy.manager, monkeypatch)
    first = busy.begin("POST", "/predict_mc", json=HEAVY)
    assert began.wait(30)

    async def burst() -> list[list[Any]]:
        clients = [Client(busy.manager) for _ in range(17)]
        asking = [asyncio.create_task(client.ask()) for client in clients]
        for client in clients:
            client.piece(json.dumps({**HEAVY, "seed": 3}).encode())
        while busy.manager.served.admitted < 18:
            await asyncio.sleep(0.01)
        for client in clients:
            client.leave()
        return await asyncio.wait_for(asyncio.gather(*asking), 10)

    assert busy.run(burst()).result(30) == [[]] * 17
    assert busy.manager.served.admitted == 1
    calls = busy.manager.served._scheduler.calls
    go.set()
    assert first.result(60).status_code == 200
    # Those that left are in no call: what was made after is the rest of the first alone, and it had one seed.
    assert busy.manager.served._scheduler.calls - calls <= -(-HEAVY["n_samples"] // 32)
    assert busy.manager.memory.total == 0


def test_bodies_that_are_slow_or_fill_the_memory_are_refused(serve: Serve, models: dict[str, str]) -> None:
    small = serve(models["classes"], body_timeout_s=0.3, memory_mib=2, max_body_bytes=16 << 20)

    async def slow_and_large() -> tuple[Any, ...]:
        slow, large, whole = (Client(small.manager) for _ in range(3))
        asking = [asyncio.create_task(client.ask()) for client in (slow, large, whole)]
        slow.piece(b"{", more=True)
        large.piece(b" " * (800 << 10), more=True)
        await asyncio.sleep(0.05)
        whole.piece(b" " * (800 << 10), more=True)
        return tuple(client[0]["status"] for client in await asyncio.gather(*asking))

    assert small.run(slow_and_large()).result(30) == (408, 408, 503)
    assert small.manager.memory.total == 0
    beyond = small.ask("POST", "/predict", content=b"[" * (1 << 20))
    assert (beyond.status_code, beyond.json()["title"]) == (413, "The request needs too much memory")
    assert small.ask("POST", "/predict", json={"inputs": ROWS}).status_code == 200


def test_what_cannot_be_answered_in_time_is_told_at_once(
    serve: Serve, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = serve(models["classes"])
    assert busy.ask("POST", "/predict_mc", json=HEAVY).status_code == 200
    began, go = held_up(busy.manager, monkeypatch)
    first = busy.begin("POST", "/predict_mc", json=HEAVY)
    assert began.wait(30)
    monkeypatch.setattr(busy.manager.served._scheduler, "waiting_s", lambda _=0.0: 7.3)
    asked = time.monotonic()
    refused = busy.ask("POST", "/predict_mc", json={**HEAVY, "timeout_ms": 5000})
    assert time.monotonic() - asked < 0.5
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "8")
    assert "7.3 s" in refused.json()["detail"]
    go.set()
    assert first.result(60).status_code == 200


def test_thousands_of_members_take_linear_time() -> None:
    body = json.dumps({f"member {i}": i for i in range(200_000)}).encode()
    began = time.monotonic()
    with pytest.raises(MalformedBodyError, match="member 7"):
        parse(body[:-1] + b', "member 7": 1}')
    assert time.monotonic() - began < 5
