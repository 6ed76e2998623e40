"""Requests with bytes changed, cut out, doubled and put in, on the wire: anything but a crash, a 5xx or silence."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

from tests.faults.connection import ask, post
from tests.faults.figures import Figure, Options
from tests.faults.models import small_rows
from tests.serving import Service, start_service

__all__ = ["fuzz", "fuzz_of"]

AT_ONCE = 16
PIECES = (
    b"\r\n",
    b"\n",
    b"\0",
    b"\xff",
    b"[",
    b"{",
    b'"',
    b"NaN",
    b"1e999",
    b"\\ud800",
    b"content-length: 5\r\n",
    b"-1",
)
WITHIN_S = 20.0


def fuzz(options: Options) -> Iterator[Figure]:
    """Raw requests with bytes changed at random."""
    with start_service("small", {"THINNED_HEADER_TIMEOUT_S": "2", "THINNED_BODY_TIMEOUT_S": "2"}) as service:
        yield from fuzz_of(service, 300 if options.short else 20_000)


def fuzz_of(service: Service, count: int) -> Iterator[Figure]:
    """The same of a service that runs; the seed is the same every time."""
    drawn = random.Random(1)
    right = _right()
    sent = [_changed(drawn, drawn.choice(right)) for _ in range(count)]
    statuses: Counter[int] = Counter()
    strange: list[bytes] = []

    async def worker() -> None:
        while sent:
            request = sent.pop()
            status = await _status(service.port, request)
            statuses[status] += 1
            # 503 and 504 are told to what is right and cannot be served now; 502 to rows that no answer is finite for.
            if status == -1 or status in (500, 501) or status > 504:
                strange.append(request)

    async def main() -> int:
        await asyncio.gather(*[worker() for _ in range(AT_ONCE)])
        return (await ask(service.port, right[0])).status

    after = asyncio.run(main())
    told = ", ".join(f"{statuses[status]} x {status or 'closed'}" for status in sorted(statuses))
    yield Figure(
        f"{count} changed requests, without an end within {WITHIN_S:g} s or 5xx", str(strange[:3]), "[]", not strange
    )
    yield Figure(f"the next request ({told})", str(after), "200", after == 200)
    traceback = "Traceback" in service.log()
    yield Figure("a traceback in the log", str(traceback), "False", not traceback)


def _right() -> list[bytes]:
    rows = small_rows(2)
    body = json.dumps({"inputs": rows}).encode()
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    chunked = b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + chunks
    everything = {
        "inputs": rows,
        "n_samples": 8,
        "seed": 1,
        "quantiles": [0.1, 0.9],
        "return_samples": True,
        "sampling": "independent",
        "tolerance": 0.1,
        "budget_ms": 5.0,
        "timeout_ms": 1000,
        "separate": True,
    }
    return [
        post("/predict", body),
        post("/predict_mc", everything),
        post("/predict", gzip.compress(body, mtime=0), "content-encoding: gzip"),
        chunked,
        b"GET /model HTTP/1.1\r\nhost: x\r\nx-request-id: a\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    ]


def _changed(drawn: random.Random, request: bytes) -> bytes:
    data = bytearray(request)
    for _ in range(drawn.randint(1, 4)):
        at, length = drawn.randrange(len(data) + 1), drawn.randint(1, 20)
        kind = drawn.randrange(5)
        if kind == 0 and at < len(data):
            data[at] = drawn.randrange(256)
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length]
        elif kind == 3:
            data[at:at] = drawn.choice(PIECES)
        else:
            data[at:at] = bytes(drawn.randrange(256) for _ in range(length))
    return bytes(data)


async def _status(port: int, request: bytes) -> int:
    """Of the first answer; 0 where the connection was ended without one, -1 where it was not ended in time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(WITHIN_S):
            writer.write(request)
            with suppress(OSError):
                line = await reader.readline()
                return int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0
            return 0
    except TimeoutError:
        return -1
    finally:
        writer.transport.abort()
