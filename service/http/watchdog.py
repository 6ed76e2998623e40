"""Ends a worker whose event loop or compute thread stands still, so that it is started again."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

__all__ = ["Watchdog"]

log = logging.getLogger("bentoml.thinned")

EVERY_S = 1.0
STATUS = 70
"""Of a process that ended because of an error in itself (EX_SOFTWARE)."""


class Watchdog:
    """A thread that looks whether the others turn.

    Args:
        limit_s: Seconds that they may stand still.
        compute_stuck_s: Tells for how many the compute thread has.
        end: Ends the process.
    """

    def __init__(
        self, limit_s: float, compute_stuck_s: Callable[[], float], end: Callable[[int], object] = os._exit
    ) -> None:
        self._limit_s = limit_s
        self._compute_stuck_s = compute_stuck_s
        self._end = end
        self._beat: float | None = None
        self._closed = threading.Event()

    def beat(self) -> None:
        """The event loop turns."""
        self._beat = time.monotonic()

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name="thinned-watchdog", daemon=True).start()

    def close(self) -> None:
        """Look no longer."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(min(EVERY_S, self._limit_s / 2)):
            loop_s = 0.0 if self._beat is None else time.monotonic() - self._beat
            for what, stuck_s in (("event loop", loop_s), ("compute thread", self._compute_stuck_s())):
                if stuck_s > self._limit_s:
                    log.critical("the %s stands still (%.0f s): the worker ends, to be started again", what, stuck_s)
                    self._end(STATUS)
                    return
