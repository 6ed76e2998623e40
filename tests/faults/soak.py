"""Mixed traffic for half an hour: memory stays level, and answers stay as fast as they were."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator

import psutil

from tests.faults.connection import Connection, post
from tests.faults.figures import Figure, Options, at_most, quantile
from tests.faults.health import resident_mib
from tests.faults.models import small_rows
from tests.serving import start_service

__all__ = ["soak"]

CLIENTS = 4
PAUSE_S = 0.01


def soak(options: Options) -> Iterator[Figure]:
    """Right and wrong requests of all kinds, some abandoned, by a few clients that pause between them."""
    minutes = 0.2 if options.short else options.soak_minutes
    with start_service("small") as service:
        asyncio.run(_mixed(service.port, 20.0 if minutes > 1 else 5.0))  # graphs are traced, arenas are made
        worker = psutil.Process(service.pid)
        handles = sum(process.num_fds() for process in [worker, *worker.children(recursive=True)])
        memory = [resident_mib(service.pid)]
        answers = asyncio.run(_mixed(service.port, 60 * minutes, lambda: memory.append(resident_mib(service.pid))))
        left = sum(process.num_fds() for process in [worker, *worker.children(recursive=True)])
        traceback = "Traceback" in service.log()
    part = 60 * min(5.0, minutes / 3)
    end = 60 * minutes
    first = [took_s for at, took_s, status in answers if at < part and status == 200]
    last = [took_s for at, took_s, status in answers if at >= end - part and status == 200]
    p99 = [1e3 * quantile(times, 0.99) for times in (first, last)]
    # Beginning and end as medians: what stands in an arena between two calls comes and goes.
    edge = max(1, len(memory) // 6)
    begin, finish = (quantile(values, 0.5) for values in (memory[:edge], memory[-edge:]))
    unexpected = sorted({status for _, _, status in answers} - {200, 400, 413, 415, 422, 503, 504})
    what = f"{len(answers)} mixed requests in {minutes:g} min"
    yield at_most(f"{what}: growth of memory, {begin:.0f} to {finish:.0f} MiB", 100 * (finish / begin - 1), 2, "%")
    grown = 100 * (p99[1] / p99[0] - 1)
    yield at_most(
        f"p99 of the last {part / 60:.1f} min over the first, {p99[0]:.1f} to {p99[1]:.1f} ms", grown, 20, "%"
    )
    yield at_most("growth of open files", left - handles, CLIENTS, "")
    yield Figure("statuses that should not be", str(unexpected), "[]", not unexpected)
    yield Figure("a traceback in the log", str(traceback), "False", not traceback)


def _requests() -> list[bytes]:
    rows = [small_rows(n) for n in (1, 2, 16)]
    right = [post("/predict", {"inputs": x}) for x in rows]
    right += [post("/predict_mc", {"inputs": x, "n_samples": n, "seed": n}) for x in rows for n in (10, 32, 100)]
    right += [post("/predict_mc", {"inputs": x, "n_samples": 500, "tolerance": 0.02}) for x in rows]
    right += [post("/predict_mc", {"inputs": rows[0], "quantiles": [0.1, 0.9], "sampling": "independent"})]
    wrong = [post("/predict", body) for body in (b"", b"[]", b'{"inputs": [[1, 2]]}', b'{"inputs": 1, "inputs": 1}')]
    wrong += [post("/predict", b"{}", "content-encoding: br"), post("/predict", b"{}", "content-encoding: gzip")]
    wrong += [post("/predict_mc", {"inputs": [[1, 2, 1e39]]}), post("/predict_mc", {"inputs": rows[0], "n_samples": 0})]
    return right * 3 + wrong


async def _mixed(port: int, seconds: float, look: object = None) -> list[tuple[float, float, int]]:
    """Of each answer: seconds since the beginning, seconds that it took, status."""
    requests, found, began = _requests(), list[tuple[float, float, int]](), time.perf_counter()

    async def client(number: int) -> None:
        drawn, connection = random.Random(number), Connection(port)
        while (at := time.perf_counter() - began) < seconds:
            request = drawn.choice(requests)
            if drawn.random() < 0.01:
                await connection.send(request)
                connection.close()  # It does not wait for its answer.
            else:
                answer = await connection.ask(request)
                found.append((at, answer.took_s, answer.status))
            await asyncio.sleep(PAUSE_S)
        connection.close()

    async def watch() -> None:
        while time.perf_counter() - began < seconds:
            if callable(look):
                look()
            await asyncio.sleep(1.0)

    await asyncio.gather(watch(), *[client(number) for number in range(CLIENTS)])
    return found
