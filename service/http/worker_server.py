"""uvicorn's server with a say in when a worker takes connections, and with an end that loses none.

A worker that is loading beside one that is ready leaves connections to that one. With `THINNED_REFUSE_UNREADY`
connections that come while none is ready are ended at once. At SIGTERM or SIGINT a worker says
that it is not ready, still takes connections for `THINNED_DRAIN_S` and has their clients come with a new one each time;
then it takes those that stand in line, closes its socket, and answers all that it has taken.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, cast

import uvicorn
from starlette.types import ASGIApp

if TYPE_CHECKING:
    from thinned.service.http.grpc_server import GrpcServer
    from thinned.service.http.worker import Worker

__all__ = ["WorkerServer", "serve_with_it"]

LINGER_S = 1.0
"""A connection that was taken has so long to send its request, once no more are taken."""
AT_ONCE = 100
"""Connections that are taken in one round of the event loop."""
_CLOSE = (b"connection", b"close")
_RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: a connection that is closed is reset, and keeps no port waiting."""

log = logging.getLogger("bentoml.thinned")


class WorkerServer(uvicorn.Server):
    """A server whose application's state holds a function that gives its `worker`; without one it is uvicorn's own."""

    _worker: Worker | None = None
    _sockets: tuple[socket.socket, ...] = ()
    _asked_to_leave: float | None = None
    _listens = False
    _refuses = False
    _closed = False
    _grpc: GrpcServer | None = None
    _grpc_ends: asyncio.Task[None] | None = None

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._beginning: set[asyncio.Task[None]] = set()
        self._parent = os.getppid()

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
        find = getattr(getattr(self.config.app, "state", None), "worker", None)
        if sockets is None or find is None:
            await super().startup(sockets)
            return
        await super().startup([])  # The service is made here, and takes no connection yet.
        worker: Worker = find()
        self._worker, self._sockets = worker, tuple(sockets)
        if self.config.timeout_graceful_shutdown is None:
            self.config.timeout_graceful_shutdown = worker.longest_request_s

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: take connections or leave them to others; end where it is time to."""
        if self._worker is not None:
            self._worker.beat()
            if os.getppid() != self._parent and self._asked_to_leave is None:
                # Killed, or out of memory: a worker that went on would keep the address from the next service.
                log.error("the process that starts the workers has gone; this one ends")
                self._asked_to_leave = time.monotonic()
            self._follow(self._worker)
            if self._listens and self._grpc is None:
                self._grpc = self._worker.grpc_server(cast(ASGIApp, self.config.app))
                if self._grpc is not None:
                    await self._grpc.start()
        ends = await super().on_tick(counter)
        self._keep_connections(self._asked_to_leave is None and not self._refuses)
        return ends

    def _keep_connections(self, wanted: bool) -> None:
        """Whether clients may send more on a connection whose request was answered."""
        headers = self.server_state.default_headers
        if wanted == (_CLOSE not in headers):
            return
        self.server_state.default_headers = [header for header in headers if header != _CLOSE]
        if wanted:
            return
        self.server_state.default_headers.append(_CLOSE)
        for connection in self.server_state.connections:
            # What has begun has the headers of before, and would have its client stay.
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_complete:
                cycle.keep_alive = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave. Further signals change nothing: a terminal and a supervisor each send one to every process.

        Whoever wants it to end at once sends a second one to the process that started the workers.
        """
        if self._worker is None:
            super().handle_exit(sig, frame)
        elif self._asked_to_leave is None:
            self._asked_to_leave = time.monotonic()

    def _follow(self, worker: Worker) -> None:
        if self._asked_to_leave is None:
            self._refuses = worker.refuses()
            self._listen(worker.accepts())
            return
        worker.leave()
        if not self._closed:
            if not self._listens:  # It was loading, and left connections to one that was ready.
                self._closed = self.should_exit = True
            elif time.monotonic() - self._asked_to_leave >= worker.drain_s:
                self._close_for_good()
                self._asked_to_leave = time.monotonic()
        else:
            waited_s = time.monotonic() - self._asked_to_leave
            left = self.server_state.connections or self._beginning
            calls = self._grpc_ends is not None and not self._grpc_ends.done()
            self.should_exit = not calls and (not left or waited_s >= min(LINGER_S, worker.drain_s))

    def _listen(self, wanted: bool) -> None:
        loop = asyncio.get_running_loop()
        if wanted and not self._listens:
            for own in self._sockets:
                own.setblocking(False)
                loop.add_reader(own.fileno(), self._take_those_in_line, own)
        elif self._listens and not wanted:
            for own in self._sockets:
                loop.remove_reader(own.fileno())
        self._listens = wanted

    def _close_for_good(self) -> None:
        """Take what stands in line and close the socket: whoever comes now is refused, and knows to come again."""
        self._closed = True
        self._listen(False)
        if self._grpc is not None:
            self._grpc_ends = asyncio.get_running_loop().create_task(
                self._grpc.stop(self.config.timeout_graceful_shutdown)
            )
        for own in self._sockets:
            while self._take_those_in_line(own):
                pass
            own.close()

    def _take_those_in_line(self, own: socket.socket) -> bool:
        """Take as many as may be in one round of the loop, and tell whether there may be more.

        uvloop's own servers take one a round, so that under load connections, those for `/livez` too, stand in line for
        seconds where nothing can refuse them.
        """
        for _ in range(AT_ONCE):
            try:
                connection, _address = own.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except ConnectionError:
                continue
            except OSError as error:  # No more files may be open, most likely.
                log.error("no connection can be taken for a second: %s", error)
                self._listen(False)  # The next tick listens again.
                return False
            if self._refuses:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                connection.close()
                continue
            task = asyncio.get_running_loop().create_task(self._begin(connection))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)
        return True

    async def _begin(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)
        except OSError:  # It has gone already, or speaks no TLS where that is expected.
            connection.close()
        except Exception:
            connection.close()  # Nobody waits for an answer that will not come.
            log.exception("a connection could not be served")

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
