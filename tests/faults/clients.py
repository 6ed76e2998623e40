"""Clients that ask one after the other until a block ends, in a thread of their own, and keep what they are told."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.faults.connection import Connection, post

__all__ = ["Clients", "Told"]

PAUSE_S = 0.02


class Told(NamedTuple):
    """The answer to one request; status 0 where the connection ended without one."""

    number: int
    """Of the request among those that are asked."""
    request: dict[str, Any]
    seeded: bool
    status: int
    body: bytes
    took_s: float

    def json(self) -> Any:
        return json.loads(self.body)


class Clients:
    """Each draws one of the requests, with its seed or without, asks it, and pauses.

    Args:
        port: On loopback.
        requests: For `/predict_mc`, each with a seed.
        count: How many clients.
    """

    def __init__(self, port: int, requests: Sequence[dict[str, Any]], count: int) -> None:
        self.told: list[Told] = []
        self._port, self._requests, self._count = port, requests, count
        self._ends = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ends.set()
        self._thread.join(120)

    async def _all(self) -> None:
        await asyncio.gather(*[self._one(number) for number in range(self._count)])

    async def _one(self, number: int) -> None:
        drawn, connection = random.Random(number), Connection(self._port)
        while not self._ends.is_set():
            chosen, seeded = drawn.randrange(len(self._requests)), drawn.random() < 0.7
            request = {k: v for k, v in self._requests[chosen].items() if seeded or k != "seed"}
            answer = await connection.ask(post("/predict_mc", request))
            self.told.append(Told(chosen, request, seeded, answer.status, answer.body, answer.took_s))
            await asyncio.sleep(PAUSE_S)
        connection.close()
