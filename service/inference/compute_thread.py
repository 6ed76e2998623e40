"""The one thread of a worker that computes, for all models: a call at a time, each model its share of the time.

Of the models whose requests wait, the one that has had the least time has the next call. What it had while others did
not ask for any does not count against it, and what it did not use is not kept for it: so a model waits for at most one
call of each other between two of its own, where calls take alike (start-time fair queueing).

What runs in the background has a call when nothing else waits, and has waited for a moment. While no call is made at
all, lines may do what spares later calls some time, in pieces so short that a call can wait for one.

References:
    Goyal, Vin & Cheng 1996, Start-time Fair Queueing, SIGCOMM.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np

from thinned.service.inference.threads import give_way

__all__ = ["ComputeThread", "Line"]

T = TypeVar("T")
_BEAT_S = 0.5
"""The thread turns at least so often, so that it can be seen to live."""
SPARE_S = 0.002
"""No call has been made for so long before spare work: the answer to the last one is on its way by then, and clients
that ask without a pause are not held up by what would spare them time."""
QUIET_S = 0.02
"""Nothing else has been computed for so long before a call in the background: requests often come in a row."""


class Line(Protocol):
    """The requests of one model, as the thread sees them. Called with `wake` held, but for `work` and `end`."""

    background: bool

    def waits(self) -> bool:
        """Whether it wants a call."""

    def expected_s(self) -> float:
        """How long its call under way should take; 0 where that is not known."""

    def left_s(self) -> float:
        """How long what waits will take, as far as it is known."""

    def work(self) -> None:
        """Make one call, and have those told that it ends."""

    def end(self) -> None:
        """Let go of what waits: there will be no further call."""

    def has_spare_work(self) -> bool:
        """Whether there is something to be done while nothing waits."""

    def do_spare_work(self) -> None:
        """Do a piece of it, for a millisecond or so. `wake` is not held; calls may be made meanwhile."""


class ComputeThread:
    """One thread for the lines of all models. It starts with the first of them.

    Attributes:
        wake: Held to change or read what waits in any line.
        beat: When the thread last turned, on the clock of `time.monotonic`.
    """

    def __init__(self) -> None:
        self.wake = threading.Condition()
        self.beat = time.monotonic()
        self._lines: list[Line] = []
        self._leaving: list[Line] = []
        self._had_s: dict[Line, float] = {}
        self._level_s = 0.0
        self._busy_with: Line | None = None
        self._began = self._rested = time.monotonic()
        self._thread: threading.Thread | None = None

    def add(self, line: Line) -> None:
        """Compute for this line too."""
        with self.wake:
            self._lines.append(line)
            self._had_s[line] = self._level_s
            if self._thread is None:
                self.beat = time.monotonic()  # It is late from now on, not since the model was loaded.
                self._thread = threading.Thread(target=self._run, name="thinned-compute", daemon=True)
                self._thread.start()

    def remove(self, line: Line) -> None:
        """Compute for it no longer, once its call under way has ended; it is told by `end`."""
        with self.wake:
            if line in self._lines:
                self._lines.remove(line)
                self._leaving.append(line)
                self.wake.notify()

    def notify(self) -> None:
        """Something waits."""
        with self.wake:
            if self._busy_with is None:
                self.wake.notify()

    def at_once(self, line: Line, ready: Callable[[], bool], work: Callable[[], list[T]]) -> list[T]:
        """Have a call made in the thread that asks, where the owner rests and nothing else waits; else by the owner.

        Args:
            line: Whose call it is.
            ready: Whether the call is one to be made so; called with `wake` held.
            work: Makes it.

        Returns:
            What it gave; nothing where the owner is to make it.
        """
        with self.wake:
            others = any(other.waits() for other in self._lines if other is not line and not other.background)
            here = self._busy_with is None and line in self._lines and not others and ready()
            if not here:
                if self._busy_with is None:
                    self.wake.notify()
                return []
            self._begin(line)
        try:
            return work()
        finally:
            self._rest(line)

    def waiting_s(self, line: Line) -> float:
        """How long until all that waits in this line is computed: the call under way, its own, and shares of others."""
        with self.wake:
            busy, began = self._busy_with, self._began
            expected = 0.0 if busy is None else busy.expected_s()
            running = max(0.0, expected - (time.monotonic() - began))
            own = line.left_s()
            others = [other for other in self._lines if other is not line and not other.background]
            return running + own + sum(min(own, other.left_s()) for other in others)

    def stuck_s(self) -> float:
        """For how many seconds the thread has not turned, beyond three times what its call should have taken.

        May be called from any thread; infinite where it has ended.
        """
        if self._thread is None:
            return 0.0
        if not self._thread.is_alive():
            return math.inf
        busy, since = self._busy_with, self.beat
        expected = 0.0 if busy is None else busy.expected_s()
        return max(0.0, time.monotonic() - (since if busy is None else max(since, self._began)) - 3 * expected)

    # In the thread

    def _run(self) -> None:
        # Answers that are not finite are refused when they are written; NumPy need not warn of them in the log.
        np.seterr(over="ignore", invalid="ignore")
        give_way()
        while True:
            with self.wake:
                line, spare = self._next(), None
                if line is None and not self._leaving:
                    spare = self._spare()
                    if spare is None:
                        self.wake.wait(self._pause_s())
                        line = self._next()
                self.beat = time.monotonic()
                leaving = [gone for gone in self._leaving if gone is not self._busy_with]
                for gone in leaving:
                    self._leaving.remove(gone)
                    self._had_s.pop(gone, None)
                if not (leaving or self._leaving or self._lines):
                    self._thread = None  # The next line starts another.
                    return
                if line is not None:
                    self._begin(line)
            for gone in leaving:
                gone.end()
            if line is not None:
                line.work()
                self._rest(line)
            elif spare is not None:
                spare.do_spare_work()

    def _spare(self) -> Line | None:
        """A line with work that can be done while nothing waits, and no call is made."""
        if self._busy_with is not None or time.monotonic() - self._rested < SPARE_S:
            return None
        return next((line for line in self._lines if line.has_spare_work()), None)

    def _next(self) -> Line | None:
        """The line that has the next call; None where none is due."""
        if self._busy_with is not None:
            return None
        due = [line for line in self._lines if line.waits()]
        asked = [line for line in due if not line.background]
        if not asked and time.monotonic() - self._rested < QUIET_S:
            return None
        return min(asked or due, key=lambda line: max(self._level_s, self._had_s[line]), default=None)

    def _pause_s(self) -> float:
        """How long to wait for something to do: less where something in the background waits, or could be done."""
        if self._busy_with is None:
            if any(line.has_spare_work() for line in self._lines):
                return SPARE_S
            if any(line.waits() for line in self._lines):
                return QUIET_S
        return _BEAT_S

    # Around a call

    def _begin(self, line: Line) -> None:
        self._busy_with, self._began = line, time.monotonic()
        if not line.background:
            self._level_s = max(self._level_s, self._had_s[line])

    def _rest(self, line: Line) -> None:
        with self.wake:
            now = time.monotonic()
            self._had_s[line] = max(self._level_s, self._had_s[line]) + now - self._began
            if not line.background:
                self._rested = now
            self._busy_with = None
            if self._leaving or any(other.waits() or other.has_spare_work() for other in self._lines):
                self.wake.notify()
