"""uvicorn's server with a say in when a worker takes connections, and with an end that loses none.

A worker that is loading beside one that is ready leaves connections to that one. At SIGTERM or SIGINT a worker says
that it is not ready, still takes connections for `THINNED_DRAIN_S` and has their clients come with a new one each time;
then it takes those that stand in line, closes its socket, and answers all that it has taken.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from thinned.service.http.worker import Worker

__all__ = ["WorkerServer", "serve_with_it"]

LINGER_S = 1.0
"""A connection that was taken has so long to send its request, once no more are taken."""
_CLOSE = (b"connection", b"close")


class WorkerServer(uvicorn.Server):
    """A server whose application's state may hold a `worker`; without one it is uvicorn's own."""

    _worker: Worker | None = None
    _sockets: tuple[socket.socket, ...] = ()
    _asked_to_leave: float | None = None
    _closed = False

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until the end of the process."""
        super().run(sockets)
        if self._worker is not None:
            # Where a thread is inside TensorFlow when Python ends, TensorFlow aborts.
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin; whether connections are taken is decided in each tick."""
        if sockets is None:
            await super().startup(sockets)
            return
        await super().startup([])  # The service is made here, and takes no connection yet.
        find = getattr(getattr(self.config.app, "state", None), "worker", None)
        self._worker = find() if find is not None else None
        self._sockets = tuple(sockets)
        if self._worker is not None and self.config.timeout_graceful_shutdown is None:
            self.config.timeout_graceful_shutdown = self._worker.longest_request_s
        if self._worker is None:
            await self._open()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: take connections or leave them to others; end where it is time to."""
        if self._worker is not None:
            self._worker.beat()
            await self._follow(self._worker)
        ends = await super().on_tick(counter)
        if self._asked_to_leave is not None and _CLOSE not in self.server_state.default_headers:
            self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        return ends

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave. Further signals change nothing: a terminal and a supervisor each send one to every process.

        Whoever wants it to end at once sends a second one to the process that started the workers.
        """
        if self._worker is None:
            super().handle_exit(sig, frame)
        elif self._asked_to_leave is None:
            self._asked_to_leave = time.monotonic()

    async def _follow(self, worker: Worker) -> None:
        if self._asked_to_leave is None:
            if worker.accepts() != bool(self.servers):
                await (self._close() if self.servers else self._open())
            return
        worker.leave()
        if not self._closed:
            if not self.servers:  # It was loading, and left connections to one that was ready.
                self._closed = self.should_exit = True
            elif time.monotonic() - self._asked_to_leave >= worker.drain_s:
                await self._close_for_good()
                self._asked_to_leave = time.monotonic()
        else:
            waited_s = time.monotonic() - self._asked_to_leave
            self.should_exit = not self.server_state.connections or waited_s >= min(LINGER_S, worker.drain_s)

    async def _open(self) -> None:
        loop, config = asyncio.get_running_loop(), self.config
        for own in self._sockets:
            server = await loop.create_server(self._protocol, sock=own.dup(), ssl=config.ssl, backlog=config.backlog)
            self.servers.append(server)

    async def _close(self) -> None:
        for server in self.servers:
            server.close()
        self.servers = []

    async def _close_for_good(self) -> None:
        """Take what stands in line and close the socket: whoever comes now is refused, and knows to come again."""
        self._closed = True
        await self._take_those_in_line()
        await self._close()
        await asyncio.sleep(0)  # uvloop closes in the next round.
        await self._take_those_in_line()
        for own in self._sockets:
            own.close()

    async def _take_those_in_line(self) -> None:
        loop = asyncio.get_running_loop()
        for own in self._sockets:
            own.setblocking(False)
            with suppress(BlockingIOError, ConnectionError):
                while True:
                    connection, _ = own.accept()
                    connection.setblocking(False)
                    await loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)

    def _protocol(self) -> asyncio.Protocol:
        make = self.config.http_protocol_class
        return make(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )


def serve_with_it() -> None:
    """Have BentoML's workers serve with it: they make a `uvicorn.Server` after they have imported the service."""
    uvicorn.Server = WorkerServer  # type: ignore[misc]
