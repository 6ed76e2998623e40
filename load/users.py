"""Locust users that ask the service: closed ones, who wait for an answer before they ask again, and open ones.

A closed user slows down with the service: while it stalls, no one asks, and few requests see the stall. Open users
ask when their schedule says so, and their latency counts from that moment, whenever the request could be sent. So a
stall is seen by all who would have come in it (Tene calls the other "coordinated omission").
"""

from __future__ import annotations

import json
import random
import time
import urllib.request
from functools import cache
from typing import Any, ClassVar

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, task

from thinned.loadtest.arrivals import DroppedArrivalError, Schedule, UnansweredError, wait_until
from thinned.loadtest.request_bodies import (
    MAX_SEED,
    Rows,
    WrongAnswerError,
    check_predict,
    check_predict_mc,
    draw_inputs,
)

__all__ = ["ArrivalUser", "Asker", "ServiceUser", "fetch_card", "kind"]

# Requests are made before the clock runs, and asked in turn.
REQUESTS = 64
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


@cache
def fetch_card(host: str) -> dict[str, Any]:
    """The served model's card, asked once."""
    with urllib.request.urlopen(f"{host}/model", timeout=10) as answer:
        card: dict[str, Any] = json.load(answer)
    return card


class Asker(FastHttpUser):
    """Makes requests, sends them, and holds the answers to them. Subclasses say when."""

    abstract = True
    path: ClassVar[str]
    label: ClassVar[str]
    n_samples: ClassVar[int] = 0
    rows: ClassVar[int] = 1
    card: ClassVar[dict[str, Any] | None] = None  # where the service at `host` does not tell its own
    data: ClassVar[Rows | None] = None  # rows to ask with; random ones if there are none
    body_seed: ClassVar[int | None] = None

    def on_start(self) -> None:
        """Makes this user's requests, all different."""
        options = getattr(self.environment, "parsed_options", None)
        self.asked_rows: int = getattr(options, "rows", None) or self.rows
        self.known: dict[str, Any] = self.card or fetch_card(self.host.rstrip("/"))
        self.stream = self._stream()
        source = random.Random(None if self.body_seed is None else f"{self.body_seed}, {self.stream}")
        self.requests = [self.draw(source) for _ in range(REQUESTS)]
        self.bodies = [json.dumps(request).encode() for request in self.requests]
        self.turn = 0

    def _stream(self) -> tuple[int, int]:
        """Which worker this is, and which of its users: no two of a run draw the same requests or arrivals."""
        ordinal: int = getattr(self.environment, "thinned_users", 0)
        self.environment.thinned_users = ordinal + 1
        return max(0, getattr(self.environment.runner, "worker_index", 0)), ordinal

    def draw(self, source: random.Random) -> dict[str, Any]:
        """The body of one request."""
        rows = (
            self.data.draw(self.asked_rows, source) if self.data else draw_inputs(self.known, self.asked_rows, source)
        )
        if self.n_samples:
            return {"inputs": rows, "n_samples": self.n_samples, "seed": source.randint(0, MAX_SEED)}
        return {"inputs": rows}

    def check(self, request: dict[str, Any], answer: Any) -> None:
        """Raises `WrongAnswerError` unless the answer is one to this request."""
        if self.n_samples:
            check_predict_mc(self.known, request, self.asked_rows, answer)
        else:
            check_predict(self.known, self.asked_rows, answer)

    def send(self, intended: float | None = None) -> None:
        """One request and its answer; its latency counts from the intended moment, where there is one."""
        turn = self.turn % REQUESTS
        self.turn += 1
        began = time.perf_counter()
        post = self.client.post(
            self.path, data=self.bodies[turn], headers=_HEADERS, name=self.label, catch_response=True
        )
        with post as response:
            ended = time.perf_counter()
            start = began if intended is None else intended
            response.request_meta["response_time"] = 1e3 * (ended - start)
            response.request_meta["context"] = {"start": start, "late_ms": 1e3 * (began - start)}
            if response.status_code != 200:
                said = response.text or getattr(response, "error", None) or "no answer"
                response.failure(f"expected status 200, received {response.status_code}: {str(said)[:300]}")
                return
            try:
                self.check(self.requests[turn], response.json())
            except (WrongAnswerError, ValueError) as error:
                response.failure(error if isinstance(error, WrongAnswerError) else WrongAnswerError(str(error)))


class ServiceUser(Asker):
    """A closed user: asks as soon as the last answer has come."""

    abstract = True

    @task
    def ask(self) -> None:
        """One request and its answer."""
        self.send()


class ArrivalUser(Asker):
    """One stream of Poisson arrivals. Several users, also on several machines, add up to a faster one."""

    abstract = True
    rate: ClassVar[float] = 10.0
    arrival_seed: ClassVar[tuple[int, ...]] = (1,)
    max_in_flight: ClassVar[int] = 256
    concurrency = 256
    drain_s: ClassVar[float] = 10.0

    def on_start(self) -> None:
        """Makes the requests and the schedule; its clock begins now."""
        super().on_start()
        options = getattr(self.environment, "parsed_options", None)
        rate = getattr(options, "rate", None) or self.rate
        seed = self.arrival_seed if getattr(options, "arrival_seed", None) is None else (options.arrival_seed,)
        self.schedule = Schedule(rate, (*seed, *self.stream))
        self.pool = Pool(self.max_in_flight)
        self.under_way: dict[Any, float] = {}
        self.origin = time.perf_counter()

    @task
    def arrive(self) -> None:
        """Waits for the next arrival and sends it off."""
        if not wait_until(self.origin + self.schedule.due):
            return
        intended = self.origin + self.schedule.take()
        if self.pool.full():
            self._lose(intended, DroppedArrivalError(f"{self.max_in_flight} requests were under way already"))
        else:
            greenlet = self.pool.spawn(self._send_at, intended)
            self.under_way[greenlet] = intended

    def _send_at(self, intended: float) -> None:
        try:
            self.send(intended)
        finally:
            self.under_way.pop(gevent.getcurrent(), None)

    def stop(self, force: bool = False) -> bool:
        """Notes when it was told to: what is due later is not part of the run."""
        self.told_to_stop = time.perf_counter()
        stopped: bool = super().stop(force)
        return stopped

    def on_stop(self) -> None:
        """Waits for what is under way; tells what was never answered, and what was due and never sent."""
        late = self.schedule.take_before(getattr(self, "told_to_stop", time.perf_counter()) - self.origin)
        self.pool.join(timeout=self.drain_s)
        lost = dict(self.under_way)
        self.pool.kill()
        for intended in lost.values():
            self._lose(intended, UnansweredError(f"no answer within {self.drain_s:g} s of the end of the run"))
        for offset in late:
            self._lose(self.origin + offset, DroppedArrivalError("the run was over before it could be sent"))

    def _lose(self, intended: float, error: Exception) -> None:
        lasted_ms = 1e3 * (time.perf_counter() - intended)
        self.environment.events.request.fire(
            request_type="POST",
            name=self.label,
            response_time=lasted_ms,
            response_length=0,
            response=None,
            exception=error,
            context={"start": intended, "late_ms": lasted_ms},
        )


def kind(base: type[Asker], n_samples: int, **attributes: Any) -> type[Any]:
    """A user class of a sample count: 0 asks for the answer alone. The attributes are laid over those of `base`."""
    path = "/predict_mc" if n_samples else "/predict"
    label = f"POST {path} N={n_samples}" if n_samples else f"POST {path}"
    given = {"abstract": False, "path": path, "label": label, "n_samples": n_samples, **attributes}
    return type(f"{base.__name__}{n_samples}", (base,), {"__module__": base.__module__, **given})
