"""Stand-ins for replicas, whose answers a test decides: nginx asks them as it asks the service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["StandIn", "standing_in"]

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}"


class StandIn:
    """One replica. `says` is what it answers to each request; empty ends the connection without an answer."""

    def __init__(self) -> None:
        self.says = ANSWER
        self.pieces: list[bytes] = []
        """What follows `says`, piece by piece, each when `goes_on` is set."""
        self.goes_on = threading.Event()
        self.asked: list[bytes] = []
        """The requests, as they came."""
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int((head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or b"0").strip())
                self.asked.append(head + await reader.readexactly(length))
                if not self.says:
                    break
                writer.write(self.says)
                await writer.drain()
                for piece in self.pieces:
                    while not self.goes_on.is_set():
                        await asyncio.sleep(0.01)
                    self.goes_on.clear()
                    writer.write(piece)
                    await writer.drain()
        writer.close()


@contextmanager
def standing_in(count: int) -> Iterator[list[StandIn]]:
    """So many of them, on loopback ports, until the block ends."""
    found = [StandIn() for _ in range(count)]
    begun, ends = threading.Event(), threading.Event()

    async def serve() -> None:
        servers = [await asyncio.start_server(one.serve, "127.0.0.1", 0) for one in found]
        for one, server in zip(found, servers, strict=True):
            one.port = server.sockets[0].getsockname()[1]
        begun.set()
        while not ends.is_set():
            await asyncio.sleep(0.01)
        for server in servers:
            server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    begun.wait(10)
    try:
        yield found
    finally:
        ends.set()
        thread.join(10)
