"""Arrival times of an open load: a Poisson process with a seed, and a wait that ends exactly when an arrival is due."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import gevent
import numpy as np
from gevent import monkey

__all__ = ["ArrivalSchedule", "DroppedArrivalError", "UnansweredError", "poisson", "wait_until"]

_CHUNK = 1024
# gevent's timers have a resolution of 1 ms and round up: the last part of a wait sleeps in steps of _NAP_S instead.
_TIMER_S = 0.0012
_NAP_S = 0.0001
_sleep = monkey.get_original("time", "sleep")


class DroppedArrivalError(Exception):
    """An arrival that was not sent: the largest number of requests was in flight already, or the run had ended."""


class UnansweredError(Exception):
    """A request without an answer at the end of the time that a run waits for its last answers."""


def poisson(rate: float, seed: Sequence[int]) -> Iterator[float]:
    """Generate arrival times of a Poisson process, in seconds from 0, without end.

    Args:
        rate: Mean number of arrivals per second.
        seed: Integers >= 0; the same integers give the same arrivals.

    Raises:
        ValueError: `rate` is not above 0.
    """
    if not rate > 0:
        raise ValueError(f"expected a rate above 0 arrivals a second, received {rate}")
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(list(seed))))
    now = 0.0
    while True:
        times = now + np.cumsum(generator.exponential(1 / rate, _CHUNK))
        now = float(times[-1])
        yield from times.tolist()


class ArrivalSchedule:
    """The arrivals of one stream, taken in order. Arguments are those of `poisson`."""

    def __init__(self, rate: float, seed: Sequence[int]) -> None:
        self._times = poisson(rate, seed)
        self._next = next(self._times)

    @property
    def due(self) -> float:
        """When the next arrival is due, in seconds from the start."""
        return self._next

    def take(self) -> float:
        """Remove the next arrival and return its time."""
        taken, self._next = self._next, next(self._times)
        return taken

    def take_before(self, end: float) -> list[float]:
        """Remove all arrivals that are due before `end` and return their times."""
        taken = []
        while self._next < end:
            taken.append(self.take())
        return taken


def wait_until(moment: float, *, at_most_s: float = 0.2) -> bool:
    """Wait until a time of `time.perf_counter` while other greenlets run.

    Args:
        moment: The time to wait for, in seconds of that clock.
        at_most_s: Longest wait of one call, in seconds, so that a user that is stopped meanwhile notices it.

    Returns:
        Whether `moment` has been reached.
    """
    left = moment - time.perf_counter()
    if left > _TIMER_S:
        gevent.sleep(min(left - _TIMER_S, at_most_s))
        left = moment - time.perf_counter()
        if left > _TIMER_S:
            return False
    while left > 0:
        gevent.sleep(0)
        _sleep(min(left, _NAP_S))
        left = moment - time.perf_counter()
    return True
