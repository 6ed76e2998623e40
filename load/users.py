"""Locust users of the service: closed ones, which wait for an answer before the next request, and open ones.

A closed user sends less while the service is slow: during a stall no request is sent, so few requests see it. An open
user sends at the times of a schedule, and latency counts from the scheduled time, whenever the request could be sent.
So a stall shows in the latency of every request that was due in it. That a closed load misses them is
known as coordinated omission (Gil Tene, "How NOT to Measure Latency").
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

from thinned.loadtest.arrivals import ArrivalSchedule, DroppedArrivalError, UnansweredError, wait_until
from thinned.loadtest.request_bodies import (
    MAX_SEED,
    InputRows,
    WrongAnswerError,
    check_predict,
    check_predict_mc,
    draw_inputs,
)

__all__ = ["ClosedUser", "OpenUser", "RequestingUser", "fetch_card", "user_class"]

# Distinct requests of a user. They are encoded before the measurement and sent in rotation.
REQUESTS = 64
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


@cache
def fetch_card(host: str) -> dict[str, Any]:
    """Fetch the card of the served model; a second call for the same host returns the first answer."""
    with urllib.request.urlopen(f"{host}/model", timeout=10) as answer:
        card: dict[str, Any] = json.load(answer)
    return card


class RequestingUser(FastHttpUser):
    """Makes requests, sends them and checks the answers. Subclasses decide when a request is sent."""

    abstract = True
    path: ClassVar[str]
    label: ClassVar[str]
    n_samples: ClassVar[int] = 0
    rows: ClassVar[int] = 1
    card: ClassVar[dict[str, Any] | None] = None  # None: fetched from the service at `host`
    data: ClassVar[InputRows | None] = None  # rows to send; None: random ones
    body_seed: ClassVar[int | None] = None

    def on_start(self) -> None:
        """Make this user's requests."""
        options = getattr(self.environment, "parsed_options", None)
        self.request_rows: int = getattr(options, "rows", None) or self.rows
        self.model_card: dict[str, Any] = self.card or fetch_card(self.host.rstrip("/"))
        self.stream = self._stream()
        source = random.Random(None if self.body_seed is None else f"{self.body_seed}, {self.stream}")
        self.requests = [self.make_request(source) for _ in range(REQUESTS)]
        self.bodies = [json.dumps(request).encode() for request in self.requests]
        self.sent = 0

    def _stream(self) -> tuple[int, int]:
        """Number of the worker and of the user in it: no two users of a run draw the same requests or arrivals."""
        ordinal: int = getattr(self.environment, "thinned_users", 0)
        self.environment.thinned_users = ordinal + 1
        return max(0, getattr(self.environment.runner, "worker_index", 0)), ordinal

    def make_request(self, source: random.Random) -> dict[str, Any]:
        """Draw the body of one request."""
        if self.data:
            inputs = self.data.draw(self.request_rows, source)
        else:
            inputs = draw_inputs(self.model_card, self.request_rows, source)
        if self.n_samples:
            return {"inputs": inputs, "n_samples": self.n_samples, "seed": source.randint(0, MAX_SEED)}
        return {"inputs": inputs}

    def check(self, request: dict[str, Any], answer: Any) -> None:
        """Check an answer against its request.

        Raises:
            WrongAnswerError: The answer does not fit.
        """
        if self.n_samples:
            check_predict_mc(self.model_card, request, self.request_rows, answer)
        else:
            check_predict(self.model_card, self.request_rows, answer)

    def send(self, intended: float | None = None) -> None:
        """Send one request and wait for its answer.

        Args:
            intended: When it was due, in seconds of `time.perf_counter`; latency counts from then. None: from now.
        """
        number = self.sent % REQUESTS
        self.sent += 1
        began = time.perf_counter()
        post = self.client.post(
            self.path, data=self.bodies[number], headers=_HEADERS, name=self.label, catch_response=True
        )
        with post as response:
            ended = time.perf_counter()
            start = began if intended is None else intended
            response.request_meta["response_time"] = 1e3 * (ended - start)
            response.request_meta["context"] = {"start": start, "late_ms": 1e3 * (began - start)}
            if response.status_code != 200:
                received = response.text or getattr(response, "error", None) or "no answer"
                response.failure(f"expected status 200, received {response.status_code}: {str(received)[:300]}")
                return
            try:
                self.check(self.requests[number], response.json())
            except (WrongAnswerError, ValueError) as error:
                response.failure(error if isinstance(error, WrongAnswerError) else WrongAnswerError(str(error)))


class ClosedUser(RequestingUser):
    """A user of a closed load: sends the next request when it has the answer to the last one."""

    abstract = True

    @task
    def send_next(self) -> None:
        """Send one request."""
        self.send()


class OpenUser(RequestingUser):
    """A user of an open load: one stream of Poisson arrivals. The rates of several users add up."""

    abstract = True
    rate: ClassVar[float] = 10.0
    arrival_seed: ClassVar[tuple[int, ...]] = (1,)
    max_in_flight: ClassVar[int] = 256
    concurrency = 256
    drain_s: ClassVar[float] = 10.0

    def on_start(self) -> None:
        """Make the requests and the schedule, which starts now."""
        super().on_start()
        options = getattr(self.environment, "parsed_options", None)
        rate = getattr(options, "rate", None) or self.rate
        seed = self.arrival_seed if getattr(options, "arrival_seed", None) is None else (options.arrival_seed,)
        self.schedule = ArrivalSchedule(rate, (*seed, *self.stream))
        self.pool = Pool(self.max_in_flight)
        self.in_flight: dict[Any, float] = {}
        self.origin = time.perf_counter()

    @task
    def arrive(self) -> None:
        """Wait for the next arrival and send it in a greenlet of its own."""
        if not wait_until(self.origin + self.schedule.due):
            return
        intended = self.origin + self.schedule.take()
        if self.pool.full():
            self._report_lost(intended, DroppedArrivalError(f"{self.max_in_flight} requests were in flight already"))
        else:
            greenlet = self.pool.spawn(self._send_at, intended)
            self.in_flight[greenlet] = intended

    def _send_at(self, intended: float) -> None:
        try:
            self.send(intended)
        finally:
            self.in_flight.pop(gevent.getcurrent(), None)

    def stop(self, force: bool = False) -> bool:
        """Record when the run ended: arrivals that are due later are not part of it."""
        self.stopped_at = time.perf_counter()
        stopped: bool = super().stop(force)
        return stopped

    def on_stop(self) -> None:
        """Wait for the requests in flight; report those without an answer, and arrivals that were never sent."""
        unsent = self.schedule.take_before(getattr(self, "stopped_at", time.perf_counter()) - self.origin)
        self.pool.join(timeout=self.drain_s)
        unanswered = dict(self.in_flight)
        self.pool.kill()
        for intended in unanswered.values():
            self._report_lost(intended, UnansweredError(f"no answer within {self.drain_s:g} s of the end of the run"))
        for offset in unsent:
            self._report_lost(self.origin + offset, DroppedArrivalError("the run was over before it could be sent"))

    def _report_lost(self, intended: float, error: Exception) -> None:
        """Report a request without an answer to Locust as a failure."""
        waited_ms = 1e3 * (time.perf_counter() - intended)
        self.environment.events.request.fire(
            request_type="POST",
            name=self.label,
            response_time=waited_ms,
            response_length=0,
            response=None,
            exception=error,
            context={"start": intended, "late_ms": waited_ms},
        )


def user_class(base: type[RequestingUser], n_samples: int, **attributes: Any) -> type[Any]:
    """A Locust user class for one sample count.

    Args:
        base: `ClosedUser` or `OpenUser`.
        n_samples: Passes of each request to `/predict_mc`; 0 for requests to `/predict`.
        attributes: Class attributes that replace those of `base`.
    """
    path = "/predict_mc" if n_samples else "/predict"
    label = f"POST {path} N={n_samples}" if n_samples else f"POST {path}"
    given = {"abstract": False, "path": path, "label": label, "n_samples": n_samples, **attributes}
    return type(f"{base.__name__}{n_samples}", (base,), {"__module__": base.__module__, **given})
