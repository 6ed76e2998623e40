"""Measures contenders in rounds: each is started, asked by the same client, and stopped before the next."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinned.loadtest.benchmarks.http_client import (
    BrokenAnswerError,
    HttpClient,
    LoadTimes,
    encode_request,
    run_clients,
)
from thinned.loadtest.benchmarks.rivals.checking import Reference, WrongRivalError, pooled, worst_distance
from thinned.loadtest.benchmarks.rivals.contenders import Contender, Moments
from thinned.loadtest.benchmarks.rivals.running import Memory, memory_of, running
from thinned.loadtest.service_process import Service, ServiceDidNotStartError
from thinned.models.storage.stored_model import StoredModel

__all__ = ["FULL", "QUICK", "Figures", "Plan", "measure_in_rounds"]


@dataclass(frozen=True)
class Plan:
    """How much is asked.

    Attributes:
        samples: Numbers of passes for one client.
        load_samples: Numbers of passes for many clients.
        clients: How many these are.
        rounds: Times that each contender is started; those that loop, once.
        seconds: Of one client for a number of passes, in a round.
        load_seconds: The same of many clients.
        check_passes: Of an answer that is checked.
    """

    samples: tuple[int, ...] = (30, 100, 300)
    load_samples: tuple[int, ...] = (30, 100)
    clients: int = 16
    rounds: int = 2
    seconds: float = 2.0
    load_seconds: float = 2.5
    check_passes: int = 300


FULL = Plan()
QUICK = Plan(rounds=1, seconds=0.3, load_seconds=0.5)
_LOOP_CHECK_PASSES = 60
_AT_LEAST = 1
_WARM_UP_CALLS = 10
_CHECKED_ROWS = 8
_CHECKS = 3


@dataclass
class Figures:
    """What was measured of one contender.

    Attributes:
        alone: By number of passes, of one client.
        loaded: By number of passes, of many clients.
        memory: At the end of each round.
        starts_s: Seconds until it was ready, of each round.
        distance: Of its answers from Thinned's, in standard errors; None before they were checked.
        fault: Why it is not measured, or no further; in one line.
    """

    alone: dict[int, LoadTimes] = field(default_factory=dict)
    loaded: dict[int, LoadTimes] = field(default_factory=dict)
    memory: list[Memory] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    distance: float | None = None
    fault: str | None = None

    def as_json(self) -> dict[str, Any]:
        """All figures, by name."""
        return {
            "one_client": {n: _numbers(times) for n, times in self.alone.items()},
            "many_clients": {n: _numbers(times) for n, times in self.loaded.items()},
            "memory_mib": [vars(memory) for memory in self.memory],
            "starts_s": self.starts_s,
            "standard_errors_from_thinned": self.distance,
            "fault": self.fault,
        }


def _numbers(times: LoadTimes) -> dict[str, float]:
    if not times.took_s:
        return {"answers": 0, "failed": times.failed}
    return {
        "answers": len(times.took_s),
        "failed": times.failed,
        "per_second": times.per_second,
        "p50_ms": times.quantile_ms(0.5),
        "p99_ms": times.quantile_ms(0.99),
    }


def measure_in_rounds(
    contenders: Sequence[tuple[Contender, Path]],
    rows: NDArray[np.float32],
    stored: StoredModel,
    *,
    plan: Plan,
    tick: Callable[[str], None],
    figures: dict[str, Figures],
) -> None:
    """Measure all contenders; every second round goes through them backwards.

    Args:
        contenders: Each with the Python of its environment. The first is ours, by which the others are checked.
        rows: Images, (B, 8, 8, 1), one in each request.
        stored: The network `digits`, which ours serves, and whose file rivals load.
        plan: How much is asked.
        tick: Called with the name of each step when it begins.
        figures: Filled by name of contender, so that those of an interrupted run are there.
    """
    reference: Reference | None = None
    for number in range(plan.rounds):
        for contender, python in contenders if number % 2 == 0 else contenders[::-1]:
            known = figures.setdefault(contender.name, Figures())
            if known.fault or (number and contender.way == "loop"):
                continue
            tick(f"{contender.title}, round {number + 1} of {plan.rounds}")
            began = time.monotonic()
            try:
                with running(contender, python, stored) as service:
                    known.starts_s.append(time.monotonic() - began)
                    visit = _Visit(contender, service, rows, plan)
                    if known.distance is None:
                        told = visit.told()
                        reference = reference or told
                        known.distance = worst_distance(told, reference)
                    visit.measure(known)
            except (ServiceDidNotStartError, WrongRivalError, BrokenAnswerError, OSError) as error:
                known.fault = _one_line(error)
                if reference is None:
                    return


def _one_line(error: Exception) -> str:
    """The first words of an error, and the last ones where it ends with a log."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0][:200] if len(lines) == 1 else f"{lines[0][:120]} ... {lines[-1][:160]}"


class _Visit:
    """One start of a contender: its requests, and what is asked of it."""

    def __init__(self, contender: Contender, service: Service, rows: NDArray[np.float32], plan: Plan) -> None:
        self._contender, self._service, self._rows, self._plan = contender, service, rows, plan
        self._loops = contender.way == "loop"

    def told(self) -> Reference:
        """Answers to some rows that are asked for at once, so that those who join requests do.

        Each is two images laid over each other: of a clear one the passes hardly differ, and would tell little.
        """
        passes = _LOOP_CHECK_PASSES if self._loops else self._plan.check_passes
        if self._contender.rival == "thinned":
            passes = 1000
        requests = self._requests(passes, (self._rows + np.roll(self._rows, 1, axis=0))[:_CHECKED_ROWS] / 2)
        answers = [self._all_at_once(requests) for _ in range(1 if self._loops else _CHECKS)]
        return pooled(answers, passes)

    def measure(self, figures: Figures) -> None:
        """Add what one client and many clients get, and the memory at the end."""
        plan, port = self._plan, self._service.port
        for n in () if self._contender.for_many else plan.samples:
            requests = self._requests(n, self._rows)
            if not self._loops:
                run_clients(port, requests, clients=1, seconds=60, at_most=_WARM_UP_CALLS)
            times = figures.alone.setdefault(n, LoadTimes())
            # One that loops may answer once in the time that is meant for it.
            ended = time.monotonic() + plan.seconds
            while len(times.took_s) + times.failed < _AT_LEAST or time.monotonic() < ended:
                _add(times, run_clients(port, requests, clients=1, seconds=max(0.0, ended - time.monotonic())))
        # The smallest will do for those that loop: with more, they take a minute.
        for n in plan.load_samples[: 1 if self._loops else None]:
            requests = self._requests(n, self._rows)
            if self._loops:
                asked = run_clients(port, requests, clients=plan.clients, seconds=60, at_most=plan.clients)
            else:
                run_clients(port, requests, clients=plan.clients, seconds=plan.load_seconds / 5)
                asked = run_clients(port, requests, clients=plan.clients, seconds=plan.load_seconds)
            _add(figures.loaded.setdefault(n, LoadTimes()), asked)
        figures.memory.append(memory_of(self._service.pid))

    def _requests(self, n_samples: int, rows: NDArray[np.float32]) -> list[bytes]:
        bodies = [self._contender.request_body(rows[i : i + 1], n_samples) for i in range(len(rows))]
        return [encode_request(self._contender.asked.path, body) for body in bodies]

    def _all_at_once(self, requests: Sequence[bytes]) -> Moments:
        """Mean and variance of the rows of requests that are all sent before the first answer is read."""
        with ExitStack() as stack:
            clients = [stack.enter_context(HttpClient(self._service.port)) for _ in requests]
            for client, request in zip(clients, requests, strict=True):
                client.socket.sendall(request)
            answers = [self._read(*client.wait()) for client in clients]
        mean, variance = (np.concatenate(parts) for parts in zip(*answers, strict=True))
        return mean, variance

    def _read(self, status: int, body: bytes) -> Moments:
        if status != 200:
            raise WrongRivalError(f"expected an answer of status 200, received {status}: {body[:200]!r}")
        try:
            return self._contender.asked.moments(json.loads(body))
        except (ValueError, KeyError, TypeError) as error:
            raise WrongRivalError(f"expected mean and variance, received {body[:200]!r} ({error!r})") from error


def _add(times: LoadTimes, more: LoadTimes) -> None:
    times.took_s += more.took_s
    times.failed += more.failed
    times.lasted_s += more.lasted_s
