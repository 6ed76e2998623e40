"""What came of one cell in one repeat: every latency as it was, not in Locust's buckets of two digits."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.loadtest.arrivals import DroppedArrivalError, UnansweredError
from thinned.loadtest.request_bodies import WrongAnswerError
from thinned.loadtest.sweep.process_usage import Usage

__all__ = ["LATE_MS", "Record", "Run"]

# An arrival sent later than this after its moment counts as late: by the client's own fault, not the service's.
LATE_MS = 5.0
_TIMING = re.compile(r"(\w+)\s*;[^,]*?dur=([0-9.eE+-]+)")


@dataclass(frozen=True)
class Run:
    """One cell in one repeat. Latencies in milliseconds, of right answers whose request began within the window."""

    repeat: int
    seconds: float
    latencies_ms: npt.NDArray[np.float64]
    completed: int  # right answers that came within the window
    errors: dict[str, int]
    examples: dict[str, str]  # one text for each kind of error
    timings_ms: dict[str, npt.NDArray[np.float64]]  # what the service says in Server-Timing
    offered: int  # requests begun, or due, within the window
    late: int
    dropped: int
    worst_late_ms: float
    service: Usage | None
    client: Usage | None
    seeds: dict[str, Any]

    @property
    def throughput(self) -> float:
        """Right answers a second."""
        return self.completed / self.seconds


@dataclass
class Record:
    """Listens to Locust's request event; `begin` and `end` bound the window that counts."""

    events: list[tuple[float, float, float, str, str, str]] = field(default_factory=list)
    began: float = float("inf")
    ended: float = float("inf")

    def note(
        self,
        *,
        response_time: float,
        exception: BaseException | None,
        response: Any,
        context: dict[str, Any],
        **_: Any,
    ) -> None:
        """One request, as Locust tells it."""
        start = context.get("start", time.perf_counter() - 1e-3 * response_time)
        kind = "" if exception is None else _kind(exception, response)
        headers = getattr(response, "headers", None)
        timing = headers.get("Server-Timing") or "" if headers and not kind else ""
        said = str(exception) if kind else ""
        self.events.append((start, response_time, context.get("late_ms", 0.0), kind, said, timing))

    def begin(self) -> None:
        """From now on requests count."""
        self.began = time.perf_counter()

    def end(self) -> None:
        """Requests that begin later do not count."""
        self.ended = time.perf_counter()

    def run(
        self, repeat: int, *, service: Usage | None, client: Usage | None, seeds: dict[str, Any], is_open: bool
    ) -> Run:
        """What came of it."""
        counted = [event for event in self.events if self.began <= event[0] < self.ended]
        right = [event for event in counted if not event[3]]
        done = [e for e in self.events if not e[3] and self.began <= e[0] + 1e-3 * e[1] < self.ended]
        lateness = [event[2] for event in counted] if is_open else []
        wrong = [event for event in counted if event[3]]
        return Run(
            repeat=repeat,
            seconds=self.ended - self.began,
            latencies_ms=np.array([event[1] for event in right], dtype=np.float64),
            completed=len(done),
            errors=dict(Counter(event[3] for event in wrong)),
            examples={event[3]: event[4] for event in reversed(wrong)},
            timings_ms=_timings([event[5] for event in right]),
            offered=len(counted),
            late=sum(late > LATE_MS for late in lateness),
            dropped=sum(event[3] == "dropped" for event in counted),
            worst_late_ms=max(lateness, default=0.0),
            service=service,
            client=client,
            seeds=seeds,
        )


def _kind(exception: BaseException, response: Any) -> str:
    """A failure in a word or two: what the results count it under."""
    if isinstance(exception, DroppedArrivalError):
        return "dropped"
    if isinstance(exception, UnansweredError):
        return "unanswered"
    if isinstance(exception, WrongAnswerError):
        return "200 wrong answer"
    status = getattr(response, "status_code", 0)
    return str(status) if status else "no answer"


def _timings(headers: list[str]) -> dict[str, npt.NDArray[np.float64]]:
    found: dict[str, list[float]] = {}
    for header in headers:
        for name, milliseconds in _TIMING.findall(header):
            found.setdefault(name, []).append(float(milliseconds))
    return {name: np.array(values) for name, values in found.items()}
