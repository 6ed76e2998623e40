"""How a worker takes connections: many in one round of the loop, where uvloop's own servers take one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from thinned.service.http import worker_server
from thinned.service.http.watchdog import Watchdog
from thinned.service.http.worker import Worker as RealWorker
from thinned.service.http.worker_server import WorkerServer
from thinned.service.inference.catalogue import Catalogue
from thinned.service.inference.siblings import Siblings
from thinned.service.settings import Settings


class Worker:
    """One that takes connections when it is told to."""

    drain_s = 0.2
    longest_request_s = 10

    def __init__(self) -> None:
        self.takes = True
        self.left = self.ends = False

    def beat(self) -> None:
        pass

    def accepts(self) -> bool:
        return self.takes

    def refuses(self) -> bool:
        return self.ends

    def leave(self) -> None:
        self.left = True

    def grpc_server(self, _: object) -> None:
        """Nothing answers gRPC."""


async def hello(_: object) -> PlainTextResponse:
    return PlainTextResponse("hello")


def listening() -> socket.socket:
    own = socket.socket()
    own.bind(("127.0.0.1", 0))
    own.listen(512)
    return own


async def slow(_: object) -> PlainTextResponse:
    await asyncio.sleep(0.4)
    return PlainTextResponse("at last")


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def ask(port: int, path: bytes = b"/", kept: Streams | None = None) -> str:
    reader, writer = kept or await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path)
    async with asyncio.timeout(20):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    if kept is None:
        writer.close()
    return head


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


def test_a_worker_refuses_while_it_is_not_ready_where_it_is_to() -> None:
    class Models:
        ready = False

        def __init__(self, *, refuse: bool) -> None:
            self.settings = Settings(refuse_unready=refuse)
            self.siblings = Siblings(None)

        def is_ready(self) -> bool:
            return self.ready

    watchdog = cast(Watchdog, None)
    for refuse in (True, False):
        models = Models(refuse=refuse)
        worker = RealWorker(cast(Catalogue, models), watchdog)
        assert (worker.accepts(), worker.refuses()) == (True, refuse)
        models.ready = True
        assert (worker.accepts(), worker.refuses()) == (True, False)


def test_uvloops_servers_still_take_one_connection_in_a_round() -> None:
    """When this fails, `_take_those_in_line` may leave the taking to `loop.create_server`."""

    async def main() -> int:
        own, rounds, made = listening(), 0, 0
        clients = [socket.create_connection(own.getsockname()) for _ in range(20)]

        class Counts(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                nonlocal made
                made += 1
                transport.close()

        server = await asyncio.get_running_loop().create_server(Counts, sock=own)
        while made < 20:
            await asyncio.sleep(0)
            rounds += 1
        server.close()
        for client in clients:
            client.close()
        return rounds

    assert uvloop.run(main()) >= 20


def test_connections_are_taken_left_to_others_and_at_the_end_refused() -> None:
    async def main() -> None:
        worker, own = Worker(), listening()
        port = own.getsockname()[1]
        app = Starlette(routes=[Route("/", hello), Route("/slow", slow)])
        app.state.worker = lambda: worker
        server = WorkerServer(uvicorn.Config(app, log_config=None, http="httptools"))
        serving = asyncio.create_task(server._serve([own]))
        assert "connection: close" not in await ask(port)
        assert len(await asyncio.gather(*[ask(port) for _ in range(3 * worker_server.AT_ONCE)])) == 300
        worker.takes = False
        await until(lambda: not server._listens)
        waits = asyncio.create_task(ask(port))
        await asyncio.sleep(0.3)
        assert not waits.done()  # It stands in line, for another worker.
        worker.takes = True
        assert "200 ok" in await waits
        kept = await asyncio.open_connection("127.0.0.1", port)
        assert "connection: close" not in await ask(port, kept=kept)
        worker.ends = True  # None is ready, and a balancer is to turn to another replica.
        await until(lambda: server._refuses)
        for answer in await asyncio.gather(*[ask(port) for _ in range(3)], return_exceptions=True):
            assert isinstance(answer, ConnectionResetError | asyncio.IncompleteReadError)
        await until(lambda: (b"connection", b"close") in server.server_state.default_headers)
        kept[0]._buffer.clear()  # type: ignore[attr-defined]  # the body of before
        assert "connection: close" in await ask(port, kept=kept)
        kept[1].close()
        worker.ends = False
        await until(lambda: not server._refuses)
        assert "connection: close" not in await ask(port)
        under_way = asyncio.create_task(ask(port, b"/slow"))
        await asyncio.sleep(0.1)
        server.handle_exit(15, None)
        server.handle_exit(15, None)
        await until(lambda: worker.left)
        await until(lambda: (b"connection", b"close") in server.server_state.default_headers)
        assert "connection: close" in await ask(port)
        assert "connection: close" in await under_way
        await asyncio.wait_for(serving, 10)
        try:
            await ask(port)
        except ConnectionRefusedError:
            return
        raise AssertionError("it was not refused")

    uvloop.run(main())
