"""Record every request of a measurement: exact latencies, where Locust's own statistics round to two digits."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from thinned.loadtest.arrivals import DroppedArrivalError, UnansweredError
from thinned.loadtest.request_bodies import WrongAnswerError
from thinned.loadtest.sweep.process_usage import ResourceUsage

__all__ = ["LATE_MS", "Measurement", "RequestRecorder"]

# An arrival that is sent later than this after it was due counts as late; the delay is the client's, not the service's.
LATE_MS = 5.0
_TIMING = re.compile(r"(\w+)\s*;[^,]*?dur=([0-9.eE+-]+)")


@dataclass(frozen=True)
class Measurement:
    """One cell in one repeat.

    Args:
        repeat: Number of the repeat.
        seconds: Length of the window that counts.
        latencies_ms: Latencies of correct answers to requests that began within the window.
        completed: Correct answers that arrived within the window.
        errors: Number of failures by kind.
        examples: One message for each kind of failure.
        timings_ms: Durations that the service states in its Server-Timing header, by name.
        offered: Requests that began, or were due, within the window.
        late: Arrivals sent more than `LATE_MS` after they were due; open load only.
        dropped: Arrivals that were never sent.
        worst_late_ms: The longest delay of an arrival.
        service: What the service's processes used, where they run on this machine.
        client: What this process used.
        seeds: Seeds of arrivals and request bodies.
    """

    repeat: int
    seconds: float
    latencies_ms: npt.NDArray[np.float64]
    completed: int
    errors: dict[str, int]
    examples: dict[str, str]
    timings_ms: dict[str, npt.NDArray[np.float64]]
    offered: int
    late: int
    dropped: int
    worst_late_ms: float
    service: ResourceUsage | None
    client: ResourceUsage | None
    seeds: dict[str, Any]

    @property
    def throughput(self) -> float:
        """Correct answers per second."""
        return self.completed / self.seconds


class _Event(NamedTuple):
    """One request: `kind` is the kind of its failure, empty for a correct answer."""

    start: float
    latency_ms: float
    late_ms: float
    kind: str
    message: str
    timing: str


@dataclass
class RequestRecorder:
    """Listens to Locust's request event. Requests between `begin` and `end` count."""

    events: list[_Event] = field(default_factory=list)
    began: float = float("inf")
    ended: float = float("inf")

    def record(
        self,
        *,
        response_time: float,
        exception: BaseException | None,
        response: Any,
        context: dict[str, Any],
        **_: Any,
    ) -> None:
        """Record one request; the arguments are those of Locust's request event."""
        start = context.get("start", time.perf_counter() - 1e-3 * response_time)
        kind = "" if exception is None else _failure_kind(exception, response)
        headers = getattr(response, "headers", None)
        timing = headers.get("Server-Timing") or "" if headers and not kind else ""
        message = str(exception) if kind else ""
        self.events.append(_Event(start, response_time, context.get("late_ms", 0.0), kind, message, timing))

    def begin(self) -> None:
        """Start the window: requests that begin from now on count."""
        self.began = time.perf_counter()

    def end(self) -> None:
        """End the window: requests that begin later do not count."""
        self.ended = time.perf_counter()

    def measurement(
        self,
        repeat: int,
        *,
        service: ResourceUsage | None,
        client: ResourceUsage | None,
        seeds: dict[str, Any],
        is_open: bool,
    ) -> Measurement:
        """The requests of the window as a measurement.

        Args:
            repeat: Number of the repeat.
            service: What the service used.
            client: What this process used.
            seeds: Seeds of arrivals and request bodies.
            is_open: Whether the load was open, so that an arrival can be late.
        """
        counted = [event for event in self.events if self.began <= event.start < self.ended]
        right = [event for event in counted if not event.kind]
        wrong = [event for event in counted if event.kind]
        arrived = [
            event
            for event in self.events
            if not event.kind and self.began <= event.start + 1e-3 * event.latency_ms < self.ended
        ]
        lateness = [event.late_ms for event in counted] if is_open else []
        return Measurement(
            repeat=repeat,
            seconds=self.ended - self.began,
            latencies_ms=np.array([event.latency_ms for event in right], dtype=np.float64),
            completed=len(arrived),
            errors=dict(Counter(event.kind for event in wrong)),
            examples={event.kind: event.message for event in reversed(wrong)},
            timings_ms=_timings([event.timing for event in right]),
            offered=len(counted),
            late=sum(late > LATE_MS for late in lateness),
            dropped=sum(event.kind == "dropped" for event in counted),
            worst_late_ms=max(lateness, default=0.0),
            service=service,
            client=client,
            seeds=seeds,
        )


def _failure_kind(exception: BaseException, response: Any) -> str:
    """The kind under which the results count a failure."""
    if isinstance(exception, DroppedArrivalError):
        return "dropped"
    if isinstance(exception, UnansweredError):
        return "unanswered"
    if isinstance(exception, WrongAnswerError):
        return "200 wrong answer"
    status = getattr(response, "status_code", 0)
    return str(status) if status else "no answer"


def _timings(headers: list[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Durations in milliseconds by name, from Server-Timing headers."""
    found: dict[str, list[float]] = {}
    for header in headers:
        for name, milliseconds in _TIMING.findall(header):
            found.setdefault(name, []).append(float(milliseconds))
    return {name: np.array(values) for name, values in found.items()}
