"""When requests of an open load are due: a Poisson process from a seed, and waiting for the moment itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import gevent
import numpy as np
from gevent import monkey

__all__ = ["DroppedArrivalError", "Schedule", "UnansweredError", "poisson", "wait_until"]

_CHUNK = 1024
# gevent's timers count in milliseconds and round up; a request must not be late by the clock of its own client.
_TIMER_S = 0.0012
_NAP_S = 0.0001
_sleep = monkey.get_original("time", "sleep")


class DroppedArrivalError(Exception):
    """An arrival that could not be sent: as many requests were under way as may be, or the run was over."""


class UnansweredError(Exception):
    """A request that had no answer yet when the run had waited long enough."""


def poisson(rate: float, seed: Sequence[int]) -> Iterator[float]:
    """Times of arrival, in seconds from 0, without end.

    Args:
        rate: Arrivals a second, on average.
        seed: Integers >= 0. Same integers, same arrivals.

    Raises:
        ValueError: The rate is not above 0.
    """
    if not rate > 0:
        raise ValueError(f"expected a rate above 0 arrivals a second, received {rate}")
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(list(seed))))
    now = 0.0
    while True:
        times = now + np.cumsum(generator.exponential(1 / rate, _CHUNK))
        now = float(times[-1])
        yield from times.tolist()


class Schedule:
    """Arrivals that are taken one by one."""

    def __init__(self, rate: float, seed: Sequence[int]) -> None:
        self._times = poisson(rate, seed)
        self._next = next(self._times)

    @property
    def due(self) -> float:
        """When the next one is due, in seconds from the start."""
        return self._next

    def take(self) -> float:
        """The next one, which is then gone."""
        taken, self._next = self._next, next(self._times)
        return taken

    def take_before(self, end: float) -> list[float]:
        """All that are due before `end`."""
        taken = []
        while self._next < end:
            taken.append(self.take())
        return taken


def wait_until(moment: float, *, at_most_s: float = 0.2) -> bool:
    """Wait for a moment of `time.perf_counter` while other greenlets run.

    Args:
        moment: Seconds, by that clock.
        at_most_s: When to give up waiting, so that a user who is told to stop can do so.

    Returns:
        Whether the moment has come.
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
