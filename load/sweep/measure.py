"""One cell measured with Locust's runner: warmed up, counted for a while, and waited out."""

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

from thinned.loadtest.request_bodies import Rows
from thinned.loadtest.sweep.plan import Cell
from thinned.loadtest.sweep.process_usage import Watch
from thinned.loadtest.sweep.record import Record, Run
from thinned.loadtest.users import ArrivalUser, ServiceUser, kind

__all__ = ["Place", "Rhythm", "measure"]

_SPAWN_RATE = 100


@dataclass(frozen=True)
class Place:
    """A service to ask: where it is, the card of its model, rows to ask with, and its processes if they are here."""

    url: str
    card: dict[str, Any]
    data: Rows
    processes: list[psutil.Process] = field(default_factory=list)


@dataclass(frozen=True)
class Rhythm:
    """How long a cell is warmed up and counted, how long answers are waited for, and the seed of it all."""

    seconds: float
    warm_up_s: float
    seed: int
    drain_s: float = 10.0
    max_in_flight: int = 256

    @property
    def per_cell_s(self) -> float:
        """What one cell takes, the waiting at its end left out."""
        return self.seconds + self.warm_up_s


def measure(
    cell: Cell,
    place: Place,
    rhythm: Rhythm,
    *,
    repeat: int,
    number: int,
    listeners: tuple[Callable[..., None], ...] = (),
) -> Run:
    """Loads one service with one cell.

    Args:
        cell: What is asked, and how much of it.
        place: The service.
        rhythm: For how long.
        repeat: Which repeat this is.
        number: Which cell it is; with the repeat it makes the seeds of arrivals and bodies.
        listeners: Of Locust's request event, beside the record.

    Returns:
        What came of it.
    """
    seeds = {"arrivals": [rhythm.seed, repeat, number, 0, 0], "bodies": rhythm.seed + 1000 * repeat + number}
    environment = Environment(user_classes=[_user(cell, place, rhythm, seeds)], host=place.url)
    environment.stop_timeout = rhythm.drain_s + 5
    record = Record()
    for listener in (record.note, *listeners):
        environment.events.request.add_listener(listener)
    service, client = Watch(place.processes), Watch([psutil.Process()])
    with _running(environment, cell.clients or 1, begin_within_s=rhythm.drain_s):
        gevent.sleep(rhythm.warm_up_s)
        record.begin()
        service.start()
        client.start()
        try:
            gevent.sleep(rhythm.seconds)
        finally:
            record.end()
            used = service.stop(), client.stop()
    return record.run(repeat, service=used[0], client=used[1], seeds=seeds, is_open=cell.mode == "open")


def _user(cell: Cell, place: Place, rhythm: Rhythm, seeds: dict[str, Any]) -> type[Any]:
    given = {"rows": cell.rows, "card": place.card, "data": place.data, "body_seed": seeds["bodies"]}
    if cell.rate is None:
        return kind(ServiceUser, cell.n_samples, **given)
    opened = {
        "rate": cell.rate,
        "arrival_seed": tuple(seeds["arrivals"][:3]),
        "drain_s": rhythm.drain_s,
        "max_in_flight": rhythm.max_in_flight,
        "concurrency": rhythm.max_in_flight,
    }
    return kind(ArrivalUser, cell.n_samples, **given, **opened)


@contextmanager
def _running(environment: Environment, users: int, *, begin_within_s: float) -> Iterator[None]:
    """Locust's runner with its users at work; at the end they finish what they are at."""
    runner = environment.create_local_runner()
    first = gevent.event.Event()
    environment.events.request.add_listener(lambda **_: first.set())
    try:
        runner.start(users, spawn_rate=_SPAWN_RATE)
        first.wait(begin_within_s)
        yield
    finally:
        runner.quit()
        # The last users may still tell what they never got an answer to.
        end = time.monotonic() + 1
        while runner.user_count and time.monotonic() < end:
            gevent.sleep(0.01)
