"""Four times the load that the service can bear, for a minute: what it still answers, and what it says to the rest.

The client is one thread that writes prepared bytes and reads heads. Requests go out at their times, whatever
came back: on a connection that is free, or a new one. Capacity is measured first, by clients that wait.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import uvloop

from tests.faults.connection import Answer, Connection, post
from tests.faults.figures import Figure, Options, at_least, at_most, quantile
from tests.faults.health import Health
from tests.serving import start_service

__all__ = ["overload"]

DEADLINE_MS = 2000
ALLOWANCE_MS = 50
CLIENTS = 16
TIMES = 4.0


def overload(options: Options) -> Iterator[Figure]:
    """4 x capacity of `cnn` with 1,000 passes, each request with a deadline of 2 s."""
    pixels = [[[[round(random.Random(i).random(), 2)] for _ in range(28)] for i in range(28)]]
    body = {"inputs": pixels, "n_samples": 1000, "timeout_ms": DEADLINE_MS}
    sent = post("/predict_mc", body)
    seconds = 10.0 if options.short else options.overload_s
    with start_service("cnn") as service:
        asyncio.run(_closed(service.port, sent, 3.0 if options.short else 12.0))  # all graphs are traced, costs known
        capacity = asyncio.run(_closed(service.port, sent, min(20.0, seconds)))
        with Health(service.port) as health:
            seen = uvloop.run(_open(service.port, sent, TIMES * capacity, seconds))
        after = asyncio.run(_closed(service.port, sent, 3.0))
    yield from _figures(seen, capacity, seconds, health.p99_ms)
    yield at_least("after it, of the capacity before", 100 * after / capacity, 80, "%")


def _figures(seen: _Seen, capacity: float, seconds: float, livez_ms: float) -> Iterator[Figure]:
    in_time = [a for a in seen.answers if a.status == 200 and 1e3 * a.took_s <= DEADLINE_MS + ALLOWANCE_MS]
    refused = [a for a in seen.answers if a.status == 503]
    accepted = [a for a in seen.answers if a.status in (200, 504)]
    others = Counter(a.status for a in seen.answers if a.status not in (200, 503, 504))
    offered = len(seen.answers) / seconds
    what = f"{offered:.0f} requests a second at a capacity of {capacity:.0f}, {seconds:.0f} s, deadline 2 s"
    yield at_least(f"{what}: answered in time, of the capacity", 100 * len(in_time) / seconds / capacity, 90, "%")
    yield at_least("of those accepted, in time", 100 * len(in_time) / max(1, len(accepted)), 95, "%")
    yield at_most("p99 of refusals", 1e3 * quantile([a.took_s for a in refused], 0.99), 50, "ms")
    told = all("retry-after: " in a.head for a in refused)
    yield Figure(f"{len(refused)} refusals say when to come again", str(told), "True", told)
    yield Figure("neither answered, nor told", f"{others.total()} {dict(others) or ''}".strip(), "0", not others)
    yield at_most("/livez p99", livez_ms, 100, "ms")
    yield at_most("the client's own delay, p99", 1e3 * quantile(seen.late_s, 0.99), 50, "ms")


@dataclass
class _Seen:
    answers: list[Answer] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    """How much later than it should have a request went out: what the client itself is to blame for."""


async def _closed(port: int, sent: bytes, seconds: float) -> float:
    """Requests a second answered 200 to clients that each wait for their answer."""
    end = time.perf_counter() + seconds

    async def client() -> int:
        connection, done = Connection(port), 0
        while time.perf_counter() < end:
            done += (await connection.ask(sent)).status == 200
        connection.close()
        return done

    began = time.perf_counter()
    done = sum(await asyncio.gather(*[client() for _ in range(CLIENTS)]))
    return done / (time.perf_counter() - began)


async def _open(port: int, sent: bytes, rate: float, seconds: float) -> _Seen:
    """Send at this rate, in a Poisson stream, whatever is answered."""
    seen, free, busy, opening = _Seen(), list[_Caller](), set[_Caller](), set[asyncio.Task[None]]()
    loop = asyncio.get_running_loop()

    def done(caller: _Caller, answer: Answer) -> None:
        busy.discard(caller)
        if answer.status == 0 and caller.asked > 1:  # The service had closed it meanwhile; every client comes again.
            open_one()
            return
        seen.answers.append(answer)
        if answer.status and not caller.closes:
            free.append(caller)

    async def opened() -> None:
        try:
            _, caller = await loop.create_connection(lambda: _Caller(done), "127.0.0.1", port)
        except OSError:
            seen.answers.append(Answer(0, "", b"", 0.0))
        else:
            busy.add(caller)
            caller.ask(sent)

    def open_one() -> None:
        task = loop.create_task(opened())
        opening.add(task)
        task.add_done_callback(opening.discard)

    drawn = random.Random(1)
    began = time.perf_counter()
    due = 0.0
    while due < seconds:
        due += drawn.expovariate(rate)
        ahead = began + due - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        seen.late_s.append(max(0.0, time.perf_counter() - began - due))
        while free and free[-1].lost:
            free.pop()
        if free:
            caller = free.pop()
            busy.add(caller)
            caller.ask(sent)
        else:
            open_one()
    end = time.perf_counter() + 10
    while (busy or opening) and time.perf_counter() < end:
        await asyncio.sleep(0.05)
    seen.answers += [Answer(-1, "", b"", float("inf"))] * (len(busy) + len(opening))
    for caller in [*free, *busy]:
        caller.close()
    return seen


_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class _Caller(asyncio.Protocol):
    """A connection that asks one thing after another. Without streams and tasks it costs its machine a tenth of them,
    which is shared with the service that it measures.

    Args:
        done: Is told of each answer; of status 0 where the connection ended without one.
    """

    def __init__(self, done: Callable[[_Caller, Answer], None]) -> None:
        self._done = done
        self._received = b""
        self._began: float | None = None
        self.asked = 0
        self.closes = self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, sent: bytes) -> None:
        self._began = time.perf_counter()
        self.asked += 1
        self._transport.write(sent)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]) or self._began is None:
            return
        text = head.decode("latin-1").lower()
        answer = Answer(int(head[9:12]), text, body, time.perf_counter() - self._began)
        self._received, self._began, self.closes = b"", None, "connection: close" in text
        self._done(self, answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._began is not None:
            took_s, self._began = time.perf_counter() - self._began, None
            self._done(self, Answer(0, "", b"", took_s))

    def close(self) -> None:
        """Close the connection, without a word."""
        self._began = None
        self._transport.abort()
