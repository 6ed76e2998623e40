"""Measures rivals in rounds: each is started beside ours, asked in turns with it by the same client, and stopped.

A machine's speed can double or halve within minutes. Taken in turns of half a second, both have the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

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
from thinned.loadtest.benchmarks.rivals.figures import Cells, Figures
from thinned.loadtest.benchmarks.rivals.running import memory_of, running
from thinned.loadtest.service_process import Service, ServiceDidNotStartError
from thinned.models.storage.stored_model import StoredModel

__all__ = ["FULL", "QUICK", "Plan", "measure_in_rounds"]


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
_TURNS = 4
_WARM_UP_CALLS = 10
_CHECKED_ROWS = 8
_CHECKS = 3


def measure_in_rounds(
    contenders: Sequence[tuple[Contender, Path]],
    rows: NDArray[np.float32],
    stored: StoredModel,
    *,
    plan: Plan,
    tick: Callable[[str], None],
    figures: dict[str, Figures],
) -> None:
    """Measure all contenders; every second round goes through the rivals backwards.

    Args:
        contenders: Each with the Python of its environment. The first is ours, by which the others are checked, and
            which runs beside each of them.
        rows: Images, (B, 8, 8, 1), one in each request.
        stored: The network `digits`, which ours serves, and whose file rivals load.
        plan: How much is asked.
        tick: Called with the name of each step when it begins.
        figures: Filled by name of contender, so that those of an interrupted run are there.
    """
    (first, own_python), *rivals = contenders
    ours = figures.setdefault(first.name, Figures())
    reference: Reference | None = None
    for number in range(plan.rounds):
        which = f"round {number + 1} of {plan.rounds}"
        tick(f"{first.title}, {which}")
        began, answers = time.monotonic(), _answers(ours)
        try:
            with running(first, own_python, stored) as service:
                ours.starts_s.append(time.monotonic() - began)
                own = _Visit(first, service, rows, plan)
                if reference is None:
                    reference = own.told()
                    ours.distance = worst_distance(reference, reference)
                for rival, python in rivals if number % 2 == 0 else rivals[::-1]:
                    known = figures.setdefault(rival.name, Figures())
                    if known.fault or (number and rival.way == "loop"):
                        continue
                    tick(f"{rival.title}, {which}")
                    _measure_rival(rival, python, rows, stored, plan, known, reference, own, ours)
                if _answers(ours) == answers:
                    own.measure(ours)  # Beside none.
                ours.memory.append(memory_of(service.pid))
        except _FAULTS as error:
            ours.fault = _one_line(error)
            return


def _measure_rival(
    rival: Contender,
    python: Path,
    rows: NDArray[np.float32],
    stored: StoredModel,
    plan: Plan,
    known: Figures,
    reference: Reference,
    own: _Visit,
    ours: Figures,
) -> None:
    """Start a rival beside ours, check and measure it; what goes wrong is its fault, but for what ours breaks."""
    began = time.monotonic()
    try:
        with running(rival, python, stored) as service:
            known.starts_s.append(time.monotonic() - began)
            visit = _Visit(rival, service, rows, plan)
            if known.distance is None:
                known.distance = worst_distance(visit.told(), reference)
            visit.measure(known, (own, ours))
            known.memory.append(memory_of(service.pid))
    except _FAULTS as error:
        if isinstance(error, _BrokeError) and error.visit is own:
            raise
        known.fault = _one_line(error)


def _answers(figures: Figures) -> int:
    return sum(len(times.took_s) for cells in (figures.alone, figures.loaded) for times in cells.values())


def _one_line(error: Exception) -> str:
    """The first words of an error, and the last ones where it ends with a log."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0][:200] if len(lines) == 1 else f"{lines[0][:120]} ... {lines[-1][:160]}"


class _BrokeError(WrongRivalError):
    """A contender broke an answer, in its turn or while it was warmed up."""

    def __init__(self, visit: _Visit, error: Exception) -> None:
        super().__init__(str(error))
        self.visit = visit


_FAULTS = (ServiceDidNotStartError, WrongRivalError, BrokenAnswerError, OSError)


class _Visit:
    """One start of a contender: its requests, and what is asked of it."""

    def __init__(self, contender: Contender, service: Service, rows: NDArray[np.float32], plan: Plan) -> None:
        self._contender, self._service, self._rows, self._plan = contender, service, rows, plan
        self._loops = contender.way == "loop"
        self._encoded: dict[int, list[bytes]] = {}

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

    def measure(self, figures: Figures, beside: tuple[_Visit, Figures] | None = None) -> None:
        """Add what one client and many clients get; one beside it is asked in turns, for figures of its own."""
        plan, (other, ours) = self._plan, beside or (None, Figures())
        for n in () if self._contender.for_many else plan.samples:
            if not self._loops:
                self._take_turns(n, 1, plan.seconds, figures.alone, other, figures.ours_alone, ours.alone)
                continue
            # It may answer once in the time that is meant for it.
            times, ended = figures.alone.setdefault(n, LoadTimes()), time.monotonic() + plan.seconds
            while len(times.took_s) + times.failed < _AT_LEAST or time.monotonic() < ended:
                _add(times, self._ask(n, 1, max(0.0, ended - time.monotonic())))
        # The smallest will do for those that loop: with more, they take a minute.
        for n in plan.load_samples[: 1 if self._loops else None]:
            if self._loops:
                _share(self._ask(n, plan.clients, 60, at_most=plan.clients), n, figures.loaded)
                continue
            self._take_turns(
                n, plan.clients, plan.load_seconds, figures.loaded, other, figures.ours_loaded, ours.loaded
            )

    def _take_turns(
        self, n: int, clients: int, seconds: float, cells: Cells, other: _Visit | None, *others: Cells
    ) -> None:
        """Ask this one and another for so many seconds each, in turns; both are warm before.

        What this one gets is added to `cells`, and what the other gets to all of `others`.
        """
        times, theirs = LoadTimes(), LoadTimes()
        for visit in filter(None, (self, other)):
            visit._ask(n, clients, seconds / 5, at_most=_WARM_UP_CALLS * clients)
        for _ in range(_TURNS):
            _add(times, self._ask(n, clients, seconds / _TURNS))
            if other is not None:
                _add(theirs, other._ask(n, clients, seconds / _TURNS))
        _share(times, n, cells)
        if other is not None:
            _share(theirs, n, *others)

    def _ask(self, n: int, clients: int, seconds: float, *, at_most: int = 1_000_000) -> LoadTimes:
        if n not in self._encoded:
            self._encoded[n] = self._requests(n, self._rows)
        try:
            return run_clients(self._service.port, self._encoded[n], clients=clients, seconds=seconds, at_most=at_most)
        except (BrokenAnswerError, OSError) as error:
            raise _BrokeError(self, error) from error

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


def _share(times: LoadTimes, n: int, *cells: Cells) -> None:
    """Add times to those for so many passes, in all places that keep them."""
    for one in cells:
        _add(one.setdefault(n, LoadTimes()), times)
