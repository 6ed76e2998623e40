"""Measure one cell with Locust's runner: warm up, count requests for a while, wait for the last answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gevent
import gevent.event
import psutil
from locust.env import Environment

from thinned.loadtest.request_bodies import InputRows
from thinned.loadtest.sweep.plan import Cell
from thinned.loadtest.sweep.process_usage import ProcessMonitor
from thinned.loadtest.sweep.record import Measurement, RequestRecorder
from thinned.loadtest.users import ClosedUser, OpenUser, user_class

__all__ = ["MeasuredService", "MeasurementSettings", "measure_cell"]

_SPAWN_RATE = 100


@dataclass(frozen=True)
class MeasuredService:
    """A service under load: its address, its model's card, the rows to send, and its processes on this machine."""

    url: str
    card: dict[str, Any]
    data: InputRows
    processes: list[psutil.Process] = field(default_factory=list)


@dataclass(frozen=True)
class MeasurementSettings:
    """How a cell is measured.

    Args:
        seconds: Length of the window that counts.
        warm_up_s: Seconds under load before it.
        seed: Of arrivals and request bodies.
        drain_s: How long to wait for the last answers.
        max_in_flight: Open load: arrivals beyond so many requests in flight are dropped.
    """

    seconds: float
    warm_up_s: float
    seed: int
    drain_s: float = 10.0
    max_in_flight: int = 256

    @property
    def per_cell_s(self) -> float:
        """Seconds that one cell takes, without the wait for the last answers."""
        return self.seconds + self.warm_up_s


def measure_cell(
    cell: Cell,
    service: MeasuredService,
    settings: MeasurementSettings,
    *,
    repeat: int,
    number: int,
    listeners: tuple[Callable[..., None], ...] = (),
) -> Measurement:
    """Put one service under the load of one cell.

    Args:
        cell: The request and the load.
        service: The service.
        settings: For how long.
        repeat: Number of the repeat.
        number: Number of the cell; repeat and number determine the seeds of arrivals and bodies.
        listeners: Further listeners of Locust's request event.

    Returns:
        What was measured.
    """
    seeds = {"arrivals": [settings.seed, repeat, number, 0, 0], "bodies": settings.seed + 1000 * repeat + number}
    environment = Environment(user_classes=[_user(cell, service, settings, seeds)], host=service.url)
    environment.stop_timeout = settings.drain_s + 5
    recorder = RequestRecorder()
    for listener in (recorder.record, *listeners):
        environment.events.request.add_listener(listener)
    monitors = ProcessMonitor(service.processes), ProcessMonitor([psutil.Process()])
    with _running(environment, cell.clients or 1, begin_within_s=settings.drain_s):
        gevent.sleep(settings.warm_up_s)
        recorder.begin()
        for monitor in monitors:
            monitor.start()
        try:
            gevent.sleep(settings.seconds)
        finally:
            recorder.end()
            of_service, of_client = (monitor.stop() for monitor in monitors)
    return recorder.measurement(repeat, service=of_service, client=of_client, seeds=seeds, is_open=cell.mode == "open")


def _user(cell: Cell, service: MeasuredService, settings: MeasurementSettings, seeds: dict[str, Any]) -> type[Any]:
    """The Locust user class of a cell."""
    given = {"rows": cell.rows, "card": service.card, "data": service.data, "body_seed": seeds["bodies"]}
    if cell.rate is None:
        return user_class(ClosedUser, cell.n_samples, **given)
    of_open = {
        "rate": cell.rate,
        "arrival_seed": tuple(seeds["arrivals"][:3]),
        "drain_s": settings.drain_s,
        "max_in_flight": settings.max_in_flight,
        "concurrency": settings.max_in_flight,
    }
    return user_class(OpenUser, cell.n_samples, **given, **of_open)


@contextmanager
def _running(environment: Environment, users: int, *, begin_within_s: float) -> Iterator[None]:
    """Run Locust's users from the first answer to the end of the block; then let them finish their requests."""
    runner = environment.create_local_runner()
    first = gevent.event.Event()
    environment.events.request.add_listener(lambda **_: first.set())
    try:
        runner.start(users, spawn_rate=_SPAWN_RATE)
        first.wait(begin_within_s)
        yield
    finally:
        runner.quit()
        # Users that are stopping may still report requests without an answer.
        end = time.monotonic() + 1
        while runner.user_count and time.monotonic() < end:
            gevent.sleep(0.01)
