"""Many at once: bodies that are slow to read, and requests whose clients have gone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

from tests.faults.connection import Connection, ask, metrics_of, post
from tests.faults.figures import Figure, Options, at_most
from tests.faults.health import Health
from tests.faults.models import small_rows
from tests.serving import Service, start_service

__all__ = ["LARGE_WORK", "abandoned", "abandoned_of", "flood", "flood_of"]

KEYS = 5_800
ABANDONED = 17
PASSES = 50_000


def flood(options: Options) -> Iterator[Figure]:
    """20 bodies of 57 kB, each of 5,800 members and one twice, again and again; then bodies of 16 MB of JSON."""
    with start_service("small") as service:
        yield from flood_of(service, rounds=3 if options.short else 20)
        yield from _large_json(service, 4 if options.short else 16)


def flood_of(service: Service, *, rounds: int) -> Iterator[Figure]:
    """The flood, of a service that runs."""
    members = ",".join(f'"{i:05}":1' for i in range(KEYS))
    bodies = [b'{%b,"%05d":1}' % (members.encode(), i) for i in range(20)]

    async def main() -> list[int]:
        statuses: list[int] = []
        for _ in range(rounds):
            answers = await asyncio.gather(*[ask(service.port, post("/predict", body)) for body in bodies])
            statuses += [answer.status for answer in answers]
        return statuses

    with Health(service.port) as health:
        statuses = asyncio.run(main())
    refused = statuses.count(400)
    size = len(bodies[0]) / 1000
    what = f"{len(statuses)} bodies of {size:.0f} kB with {KEYS} members and one twice"
    yield Figure(f"{what}: answered 400", str(refused), str(len(statuses)), refused == len(statuses))
    yield at_most("/livez, slowest, meanwhile", health.worst_ms, 250.0, "ms")
    yield at_most("/livez p99 meanwhile", health.p99_ms, 100.0, "ms")


def _large_json(service: Service, count: int) -> Iterator[Figure]:
    """Large JSON that fits nothing: honest requests of up to 1 MB pass it, and what its sender left is not read."""
    junk = post("/predict", b'{"inputs":[' + b",".join([b'{"a":[1,2]}'] * 1_300_000) + b"]}")
    honest = post("/predict", json.dumps({"inputs": small_rows(1000), "x" * 100_000: 1}).encode())

    async def leave() -> None:
        connection = Connection(service.port)
        await connection.send(junk)
        await asyncio.sleep(0.1)
        connection.close()

    async def main() -> tuple[float, float]:
        staying = [asyncio.create_task(ask(service.port, junk)) for _ in range(2)]
        await asyncio.gather(*[leave() for _ in range(count)])
        slowest = 0.0
        while not all(task.done() for task in staying):
            slowest = max(slowest, (await ask(service.port, honest)).took_s)
        began = time.perf_counter()
        await ask(service.port, post("/predict", b'{"inputs":[' + b"1," * 1_000_000 + b"1]}"))
        return slowest, time.perf_counter() - began

    with Health(service.port) as health:
        slowest_s, after_s = asyncio.run(main())
    what = f"{count} bodies of 15 MB of JSON whose senders left, beside 2 whose stayed"
    yield at_most(f"{what}: the slowest honest request of 120 kB", 1e3 * slowest_s, 2000, "ms")
    yield at_most("a large request after that", 1e3 * after_s, 5000, "ms")
    yield at_most("/livez p99 meanwhile", health.p99_ms, 100.0, "ms")


def abandoned(_: Options) -> Iterator[Figure]:
    """17 requests at once whose clients leave."""
    with start_service("small", LARGE_WORK) as service:
        yield from abandoned_of(service)


LARGE_WORK = {"THINNED_MAX_SAMPLES": str(PASSES), "THINNED_MAX_ROW_PASSES": str(64 * PASSES)}


def abandoned_of(service: Service) -> Iterator[Figure]:
    """The same of a service that runs with `LARGE_WORK`."""
    rows = 64

    async def main() -> tuple[dict[str, float], dict[str, float], float]:
        large = {"inputs": small_rows(rows), "n_samples": PASSES, "timeout_ms": 300_000}
        bodies = [post("/predict_mc", {**large, "seed": i}) for i in range(ABANDONED)]
        connections = [Connection(service.port) for _ in bodies]
        await ask(service.port, post("/predict", {"inputs": small_rows(1)}))  # Its graph is traced.
        before = await metrics_of(service.port)
        for connection, body in zip(connections, bodies, strict=True):
            await connection.send(body)
        async with asyncio.timeout(30):
            while (await metrics_of(service.port))["thinned_requests_in_progress"] < ABANDONED:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        for connection in connections:
            connection.close()
        began = time.perf_counter()
        async with asyncio.timeout(300):
            while (await metrics_of(service.port))["thinned_requests_in_progress"] > 0:
                await asyncio.sleep(0.02)
        freed_s = time.perf_counter() - began
        await asyncio.sleep(1.0)  # The call that was under way ends, and is counted.
        return before, await metrics_of(service.port), freed_s

    before, after, freed_s = asyncio.run(main())
    answer = asyncio.run(ask(service.port, post("/predict", {"inputs": small_rows(1)})))
    name = "thinned_call_row_passes_sum"
    share = (after.get(name, 0.0) - before.get(name, 0.0)) / (ABANDONED * rows * PASSES)
    gone = after["thinned_refusals_total"] - before["thinned_refusals_total"]
    yield Figure(f"{ABANDONED} requests at once whose clients leave: counted as gone", f"{gone:.0f}", "17", gone == 17)
    yield at_most("their row-passes that were computed", 100 * share, 5, "%")
    yield at_most("all their places free again after", 1e3 * freed_s, 500, "ms")
    yield Figure("the next request", str(answer.status), "200", answer.status == 200)
    yield at_most("it takes", 1e3 * answer.took_s, 500, "ms")
