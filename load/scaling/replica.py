"""One replica in simulated time: an event loop that reads and writes, and threads that compute what waits, joined.

It joins as `service/inference/waiting_line.py` does, for requests that are all alike: whoever is at the head of the
line is in the next call, with those behind it as far as the call's size allows, and whoever wants more goes to the end.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

__all__ = ["Replica", "ReplicaModel"]

_ALONE_EVERY = 64
"""Of so many calls one is not joined: the service measures anew what it costs alone."""
_CAUTION = 1.33
"""What is predicted to wait is taken so many times, as `service/inference/served_model.py` does."""

Process = Generator[Any, Any, Any]


@dataclass(frozen=True)
class ReplicaModel:
    """What a replica is.

    Args:
        call_s: Seconds of a call, drawn: by a generator, the requests in it and their row-passes together.
        row_passes: Rows times passes of each request.
        loop_s: Seconds that each request takes the event loop, half before it is computed and half afterwards.
        away_s: Seconds of each request in which nothing of the replica is busy with it: the client, changes of thread.
        join: Whether requests share calls.
        most_row_passes: Row-passes that one call may hold.
        most_waiting: Requests that may wait; more are refused.
        timeout_s: Requests that are predicted to take longer are refused.
        threads: Threads that compute, each one call at a time.
    """

    call_s: Callable[[np.random.Generator, int, int], float]
    row_passes: int = 1
    loop_s: float = 0.0
    away_s: float = 0.0
    join: bool = True
    most_row_passes: float = math.inf
    most_waiting: float = math.inf
    timeout_s: float = math.inf
    threads: int = 1


class _Job:
    """A request that waits, or is computed."""

    __slots__ = ("done", "left")

    def __init__(self, row_passes: int, done: simpy.Event) -> None:
        self.left, self.done = row_passes, done


class Replica:
    """A replica under way.

    Args:
        env: SimPy's clock.
        model: What it is.
        generator: Draws what calls take.
    """

    def __init__(self, env: simpy.Environment, model: ReplicaModel, generator: np.random.Generator) -> None:
        self._env, self._model, self._generator = env, model, generator
        self._loop = simpy.Resource(env)
        self._line: deque[_Job] = deque()
        self._idle: list[simpy.Event] = []
        self._admitted = 0
        self._waiting = 0  # row-passes in the line
        self._since_alone = 0
        self._rate_s = 0.0
        self.busy_s = 0.0
        """Seconds of its threads in calls."""
        self.calls = 0
        for _ in range(model.threads):
            env.process(self._compute())

    def ask(self) -> Process:
        """Answer one request; its value is whether it was answered, and not refused."""
        yield from self._in_the_loop()
        if self._admitted > self._model.most_waiting or self._too_late():
            return False
        job = _Job(self._model.row_passes, self._env.event())
        self._admitted += 1
        self._line.append(job)
        self._waiting += job.left
        if self._idle:
            self._idle.pop().succeed()
        yield job.done
        self._admitted -= 1
        yield from self._in_the_loop()
        return True

    def _in_the_loop(self) -> Process:
        if self._model.loop_s:
            with self._loop.request() as turn:
                yield turn
                yield self._env.timeout(self._model.loop_s / 2)

    def _too_late(self) -> bool:
        if not self._admitted:
            return False
        return self._rate_s * self._waiting * _CAUTION > self._model.timeout_s

    def _compute(self) -> Process:
        """One thread: a call after another, as long as something waits."""
        while True:
            while not self._line:
                news = self._env.event()
                self._idle.append(news)
                yield news
            shares = self._next_call()
            row_passes = sum(share for _, share in shares)
            took_s = self._model.call_s(self._generator, len(shares), row_passes)
            self.calls += 1
            self.busy_s += took_s
            self._rate_s += 0.25 * (took_s / row_passes - self._rate_s) if self._rate_s else took_s / row_passes
            yield self._env.timeout(took_s)
            for job, share in shares:
                job.left -= share
                if job.left > 0:
                    self._line.append(job)
                    self._waiting += job.left
                else:
                    job.done.succeed()

    def _next_call(self) -> list[tuple[_Job, int]]:
        """Take out of the line what is computed next: jobs, and the row-passes that each has in the call."""
        model = self._model
        joins = model.join and self._since_alone < _ALONE_EVERY
        alike = len(self._line) if joins else 1
        each = max(1, int(min(model.most_row_passes / alike, model.row_passes)))
        shares: list[tuple[_Job, int]] = []
        held = 0
        while self._line and len(shares) < alike:
            share = min(each, self._line[0].left)
            if shares and held + share > model.most_row_passes:
                break
            held += share
            job = self._line.popleft()
            self._waiting -= job.left
            shares.append((job, share))
        self._since_alone = 0 if len(shares) == 1 else self._since_alone + 1
        return shares
