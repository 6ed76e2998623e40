"""`/predict_mc/stream`: its last event is the plain answer; those before it are answers of fewer passes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.service.conftest import Served
from tests.service.http.test_json_endpoint import held_up
from tests.service.http.test_raw_bodies import NPY, npy
from thinned.service.http import streams
from thinned.service.http.routes import create_app

Serve = Callable[..., Served]
PATH = "/predict_mc/stream"
ROWS = [[0.5, -1, 2], [1, 0, 0.25]]
HEAVY = {"inputs": [[0.5, -1, 2]] * 64, "n_samples": 1000, "seed": 3}


@pytest.fixture(scope="module")
def slow(serve: Serve, models: dict[str, str]) -> Served:
    """Computes 2 rows and 32 passes a call."""
    return serve(models["classes"], block_row_passes=64, body_timeout_s=0.3)


def events_of(text: str) -> list[tuple[str, Any]]:
    """Names and data of the events; of a comment the name is empty."""
    found: list[tuple[str, Any]] = []
    for event in text.split("\n\n")[:-1]:
        if event.startswith(":"):
            found.append(("", event))
            continue
        name, data = event.split("\n")
        assert name.startswith("event: ")
        assert data.startswith("data: ")
        found.append((name[7:], data[6:]))
    return found


def stream(served: Served, **fields: Any) -> list[tuple[str, Any]]:
    response = served.ask("POST", PATH, json=fields, headers={"accept": "application/json"})  # as of `curl --json`
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream"
    return events_of(response.text)


def stream_like_plain(served: Served, **fields: Any) -> list[tuple[str, Any]]:
    """The events, of which the last is byte for byte what /predict_mc answers.

    Passes may be cut into other calls, by what calls have taken, which rounds otherwise: then both are asked again.
    """
    for _ in range(5):
        found = stream(served, **fields)
        if found[-1] == ("answer", plain := served.ask("POST", "/predict_mc", json=fields).text):
            return found
    raise AssertionError(f"{found[-1]} is not {plain}")


@pytest.mark.parametrize(
    "asked",
    [
        {"n_samples": 100},
        {"n_samples": 320, "sampling": "independent"},
        {"n_samples": 7},
        {"n_samples": 100, "quantiles": [0.1, 0.9], "return_samples": True, "separate": True},
        {"tolerance": 0.01},
        {"tolerance": 1e-9, "n_samples": 200},
        {"n_samples": 100, "estimator": "passes"},
    ],
)
def test_the_last_event_is_the_plain_answer(classes: Served, asked: dict[str, Any]) -> None:
    fields = {"inputs": ROWS, "seed": 5, **asked}
    *before, (_, data) = stream_like_plain(classes, **fields)
    counts = [json.loads(data)["n_samples"] for name, data in before if name]
    assert counts == [n for n in range(32, json.loads(data)["n_samples"] + 1, 32) if n < asked.get("n_samples", 10**6)]
    for name, data in before:
        assert name == "progress"
        classes.fits(json.loads(data), "PredictMcAnswer")


def test_an_event_is_the_answer_of_as_many_passes(classes: Served, several: Served) -> None:
    inputs = {"x": ROWS, "tokens": [[1, 2], [3, 4]]}
    for served, fields in ((classes, {"inputs": ROWS, "seed": 5}), (several, {"inputs": inputs, "seed": 5})):
        for _, data in stream(served, **fields, n_samples=200):
            found = json.loads(data)
            same = served.ask("POST", "/predict_mc", json={**fields, "n_samples": found["n_samples"]}).json()
            assert set(found) == set(same)
            for field in ("mean", "variance", "standard_error", "mutual_information"):
                one, two = (x if isinstance(x, dict) else {"": x} for x in (found[field], same[field]))
                for name in two:
                    np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-7)


def test_passes_that_are_asked_for_come_with_their_blocks(slow: Served, several: Served) -> None:
    inputs = {"x": ROWS, "tokens": [[1, 2], [3, 4]]}
    for served, asked, names in ((slow, (ROWS * 3)[:5], [None]), (several, inputs, ["kind", "amount"])):
        fields = {"inputs": asked, "seed": 5, "n_samples": 100, "return_samples": True}
        *before, last = [json.loads(data) for _, data in stream(served, **fields)]
        assert [found["n_samples"] for found in before] == [32, 64, 96]
        for name in names:
            of = [found["samples"] if name is None else found["samples"][name] for found in (*before, last)]
            assert [len(passes) for passes in of] == [32, 32, 32, 100]
            np.testing.assert_array_equal(np.concatenate(of[:-1]), of[-1][:96])


def test_many_rows_come_on_together(slow: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"inputs": (ROWS * 3)[:5], "seed": 5, "n_samples": 100}
    for most in (64, 12):  # of the second not even a block fits a call
        monkeypatch.setattr(slow.manager.engine, "_row_passes", most)
        *before, _ = stream_like_plain(slow, **fields)
        assert [json.loads(data)["n_samples"] for _, data in before] == [32, 64, 96]


def test_without_a_seed_all_events_name_one(classes: Served) -> None:
    found = stream(classes, inputs=ROWS, n_samples=100)
    assert len({json.loads(data)["seed"] for _, data in found}) == 1
    stream_like_plain(classes, inputs=ROWS, n_samples=100, seed=json.loads(found[-1][1])["seed"])


def test_other_bodies_are_taken(classes: Served) -> None:
    path = f"{PATH}?n_samples=64&seed=5"
    response = classes.ask("POST", path, content=npy(np.array(ROWS)), headers={"content-type": NPY})
    plain = classes.ask("POST", "/predict_mc", json={"inputs": ROWS, "n_samples": 64, "seed": 5}).json()
    name, data = events_of(response.text)[-1]
    assert name == "answer"
    np.testing.assert_allclose(json.loads(data)["mean"], plain["mean"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"json": {"inputs": ROWS, "n_samples": 1}}, 422),
        ({"json": {"inputs": ROWS, "coverage": 0.9}}, 409),
        ({"content": b"{"}, 400),
        ({"content": b"x", "headers": {"content-type": "text/csv"}}, 415),
        ({"json": {**HEAVY, "timeout_ms": 5}}, 504),
    ],
)
def test_what_is_refused_at_once_is_no_stream(classes: Served, request_: dict[str, Any], status: int) -> None:
    response = classes.ask("POST", PATH, **request_)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert classes.manager.served.admitted == 0


def test_a_model_without_sites_or_with_wild_answers_is_refused(serve: Serve, models: dict[str, str]) -> None:
    assert serve(models["fixed"]).ask("POST", PATH, json={"inputs": ROWS}).status_code == 422
    wild = serve(models["wild"])
    assert wild.ask("POST", PATH, json={"inputs": [[1000, 0, 0]], "n_samples": 100}).status_code == 502


class Listener:
    """Listens to a stream through the application itself, and may leave."""

    def __init__(self, served: Served, fields: dict[str, Any]) -> None:
        self.served, self.fields = served, fields
        self.sent: list[Any] = []
        self.left, self.heard = asyncio.Event(), asyncio.Event()

    async def listen(self) -> None:
        body = [{"type": "http.request", "body": json.dumps(self.fields).encode(), "more_body": False}]

        async def receive() -> Any:
            if body:
                return body.pop()
            await self.left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            self.sent.append(message)
            self.heard.set()

        scope = {"type": "http", "method": "POST", "path": PATH, "headers": []}
        await create_app(self.served.manager)(scope, receive, send)

    @property
    def events(self) -> list[tuple[str, Any]]:
        return events_of(b"".join(message.get("body", b"") for message in self.sent).decode())


def passes_drawn(served: Served) -> float:
    lines = served.ask("GET", "/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("thinned_passes_drawn_total{"))


def test_the_passes_stop_when_the_client_leaves(slow: Served) -> None:
    async def leave() -> Listener:
        listener = Listener(slow, HEAVY)
        listening = asyncio.create_task(listener.listen())
        await asyncio.wait_for(listener.heard.wait(), 30)
        listener.left.set()
        await asyncio.wait_for(listening, 30)
        return listener

    before = passes_drawn(slow)
    found = slow.run(leave()).result(60).events
    assert {name for name, _ in found} == {"progress"}
    assert (slow.manager.served.admitted, slow.manager.memory.total) == (0, 0)
    slow.ask("POST", "/predict", json={"inputs": ROWS})  # behind the call that was under way
    drawn = passes_drawn(slow) - before
    assert 32 <= drawn < HEAVY["n_samples"] / 2
    slow.ask("POST", "/predict", json={"inputs": ROWS})
    assert passes_drawn(slow) - before == drawn
    whole = {"inputs": ROWS, "n_samples": 320, "seed": 1}
    for path in (PATH, "/predict_mc"):
        before = passes_drawn(slow)
        slow.ask("POST", path, json=whole)
        assert passes_drawn(slow) - before == 320


def test_what_fails_midway_is_an_event(slow: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    model = slow.manager.engine.model
    real, calls = model.draw, []

    def failing(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) > 100:  # 32 of them draw a block for all rows
            raise RuntimeError("the disk is on fire")
        return real(*arguments, **named)

    monkeypatch.setattr(model, "draw", failing)
    *before, (name, data) = stream(slow, **HEAVY)
    assert [name for name, _ in before] == ["progress"] * 3
    assert name == "error"
    problem = json.loads(data)
    assert (problem["status"], problem["title"]) == (500, "Internal error")
    assert "fire" not in data
    assert (slow.manager.served.admitted, slow.manager.memory.total) == (0, 0)


def test_a_comment_is_sent_while_it_waits_and_a_late_answer_is_an_error(
    serve: Serve, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(models["classes"])
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.05)
    began, go = held_up(served.manager, monkeypatch)
    threading.Timer(1.0, go.set).start()
    found = stream(served, **{**HEAVY, "timeout_ms": 300})
    assert began.is_set()
    assert found[0] == ("", ": waiting")
    name, data = found[-1]
    assert (name, json.loads(data)["status"]) == ("error", 504)
    assert "within 300 ms" in data


def test_a_client_that_takes_nothing_is_given_up(slow: Served) -> None:
    async def listen() -> int:
        sent: list[Any] = []
        body = [{"type": "http.request", "body": json.dumps(HEAVY).encode(), "more_body": False}]

        async def receive() -> Any:
            if not body:
                await asyncio.sleep(60)
            return body.pop()

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) > 2:
                await asyncio.sleep(60)

        scope = {"type": "http", "method": "POST", "path": PATH, "headers": []}
        await asyncio.wait_for(create_app(slow.manager)(scope, receive, send), 30)
        return len(sent)

    assert slow.run(listen()).result(60) == 3
    assert (slow.manager.served.admitted, slow.manager.memory.total) == (0, 0)
