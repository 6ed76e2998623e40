"""A connection as a careless or hostile client uses it: bytes out, bytes in, in asyncio and without a library."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import Any, NamedTuple

__all__ = ["Answer", "Connection", "ask", "metrics_of", "post"]


class Answer(NamedTuple):
    """Status (0 where the connection ended without one), head, body, and seconds from the first byte sent."""

    status: int
    head: str
    body: bytes
    took_s: float

    def json(self) -> Any:
        return json.loads(self.body)


def post(path: str, body: bytes | dict[str, Any], *headers: str) -> bytes:
    """A request with a JSON body, as bytes, for a connection that stays open."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", *headers]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


class Connection:
    """One connection to a loopback port, made at its first use and again after it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, sent: bytes) -> None:
        """Send bytes, and wait until they are on their way."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        self._writer.write(sent)
        await self._writer.drain()

    async def ask(self, sent: bytes) -> Answer:
        """Send a request and read its answer."""
        began = time.perf_counter()
        try:
            await self.send(sent)
            return await self.answer(began)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return Answer(0, "", b"", time.perf_counter() - began)

    async def answer(self, began: float) -> Answer:
        """Read an answer."""
        assert self._reader is not None
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].split("\r\n")[0])
        body = await self._reader.readexactly(length)
        if "connection: close" in head:
            self.close()
        return Answer(int(head.split()[1]), head, body, time.perf_counter() - began)

    async def until_closed(self) -> bytes:
        """Read until the service ends the connection."""
        assert self._reader is not None
        with suppress(OSError):
            return await self._reader.read(-1)
        return b""

    def close(self) -> None:
        """Close the connection, without a word."""
        if self._writer is not None:
            with suppress(RuntimeError):
                self._writer.transport.abort()
        self._reader = self._writer = None


async def ask(port: int, sent: bytes) -> Answer:
    """One request on a connection of its own."""
    connection = Connection(port)
    try:
        return await connection.ask(sent)
    finally:  # whoever asks may be cancelled
        connection.close()


async def metrics_of(port: int) -> dict[str, float]:
    """The service's metrics by name, summed over their labels."""
    answer = await ask(port, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
    found: dict[str, float] = {}
    for line in answer.body.decode().splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("{") if "{" in line else line.partition(" ")
            amount = float(value.rpartition("} ")[2] if "{" in line else value)
            found[name] = found.get(name, 0.0) + amount
    return found
