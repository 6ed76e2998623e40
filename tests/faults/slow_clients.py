"""Clients that send slowly, hold what they have sent, or never end a header."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import suppress

from tests.faults.connection import Connection, ask, post
from tests.faults.figures import Figure, Options, at_most
from tests.faults.health import Health, resident_mib
from tests.faults.models import small_rows
from tests.serving import Service, start_service

__all__ = ["holding_bodies", "long_header", "long_header_of", "slow_clients", "slow_clients_of"]

HEADER_TIMEOUT_S = 2.0
LIVEZ_MS = 100.0


def slow_clients(options: Options) -> Iterator[Figure]:
    """Slow headers, slow bodies, silence: each is ended in time, and honest requests are answered meanwhile."""
    count = 20 if options.short else 100
    variables = {"THINNED_HEADER_TIMEOUT_S": str(HEADER_TIMEOUT_S), "THINNED_BODY_TIMEOUT_S": "10"}
    with start_service("small", variables) as service:
        yield from slow_clients_of(service, count, header_timeout_s=HEADER_TIMEOUT_S, body_timeout_s=10.0)


def slow_clients_of(
    service: Service, count: int, *, header_timeout_s: float, body_timeout_s: float
) -> Iterator[Figure]:
    """The same of a service that runs, by `count` clients of each kind."""

    async def attack(start: bytes, drip: bytes) -> float:
        connection, began = Connection(service.port), time.perf_counter()
        with suppress(OSError):
            await connection.send(start)
            ended = asyncio.create_task(connection.until_closed())
            while not ended.done():
                await asyncio.sleep(0.1)
                if drip:
                    await connection.send(drip)
        connection.close()
        return time.perf_counter() - began

    async def main() -> tuple[dict[str, float], list[float]]:
        honest: list[float] = []
        body = post("/predict", {"inputs": small_rows(1)})

        async def ask_honestly() -> None:
            while True:
                answer = await ask(service.port, body)
                honest.append(answer.took_s if answer.status == 200 else float("inf"))
                await asyncio.sleep(0.05)

        asking = asyncio.create_task(ask_honestly())
        worst = {}
        for name, start, drip in ATTACKS:
            worst[name] = max(await asyncio.gather(*[attack(start, drip) for _ in range(count)]))
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        return worst, honest

    with Health(service.port) as health:
        worst, honest = asyncio.run(main())
    for name, seconds in worst.items():
        limit = min(body_timeout_s, 5.5) if "body" in name else header_timeout_s
        yield at_most(f"{count} clients, {name}: seconds until the last was ended", seconds, limit + 2, "s")
    yield at_most("the slowest of all honest requests meanwhile", 1e3 * max(honest), 1000, "ms")
    yield at_most("/livez p99 meanwhile", health.p99_ms, LIVEZ_MS, "ms")


HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
ATTACKS = (
    ("silent", b"", b""),
    ("a header a byte at a time", b"GET /livez HTTP/1.1\r\nx: ", b"a"),
    ("a body a byte at a time", HEAD + b"content-length: 100000\r\n\r\n", b" "),
    ("a body in chunks of one byte", HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
)


def long_header(options: Options) -> Iterator[Figure]:
    """One header of 100 MB."""
    with start_service("small") as service:
        yield from long_header_of(service, 10 if options.short else 100)


def long_header_of(service: Service, megabytes: int) -> Iterator[Figure]:
    """The same of a service that runs."""

    async def main() -> float:
        connection, began = Connection(service.port), time.perf_counter()
        with suppress(OSError):
            await connection.send(b"GET /livez HTTP/1.1\r\nx: ")
            for _ in range(megabytes):
                await connection.send(b"a" * 1_000_000)
        connection.close()
        return time.perf_counter() - began

    with Health(service.port) as health:
        ended_s = asyncio.run(main())
        time.sleep(0.5)
    yield at_most(f"a header of {megabytes} MB: seconds until it was refused", ended_s, 1.0, "s")
    yield at_most("/livez, slowest, meanwhile", health.worst_ms, 250.0, "ms")


def holding_bodies(options: Options) -> Iterator[Figure]:
    """150 connections that send all of a body of 16 MB but its last byte."""
    count = 30 if options.short else 150
    budget_mib = 512
    with start_service("small", {"THINNED_MEMORY_MIB": str(budget_mib)}) as service:
        before = resident_mib(service.pid)
        most = before

        async def hold() -> None:
            connection = Connection(service.port)
            with suppress(OSError, asyncio.IncompleteReadError):
                await connection.send(HEAD + b"content-length: 16000000\r\n\r\n")
                for _ in range(15):
                    await connection.send(b" " * 1_000_000)
                await asyncio.sleep(5)
            connection.close()

        async def main() -> list[int]:
            nonlocal most
            holding = asyncio.gather(*[hold() for _ in range(count)])
            answers: list[int] = []
            body = post("/predict", json.dumps({"inputs": small_rows(1)}).encode())
            while not holding.done():
                most = max(most, resident_mib(service.pid))
                answers.append((await ask(service.port, body)).status)
                await asyncio.sleep(0.1)
            return answers

        with Health(service.port) as health:
            answers = asyncio.run(main())
        status = asyncio.run(ask(service.port, post("/predict", {"inputs": small_rows(1)}))).status
    yield at_most(f"{count} connections that hold 15 MB each: growth of memory", most - before, budget_mib, "MiB")
    told = sum(status in (200, 503) for status in answers) / len(answers)
    yield Figure("small requests answered 200, or told 503, meanwhile", f"{told:.0%}", "100%", told == 1)
    yield at_most("/livez p99 meanwhile", health.p99_ms, LIVEZ_MS, "ms")
    yield Figure("the next request, when they have gone", str(status), "200", status == 200)
