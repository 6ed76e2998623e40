"""What one connection may take, by sockets of uvicorn's own server; and that uvicorn itself has no such bounds."""

from __future__ import annotations

import contextlib
import inspect
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import uvicorn
from _bentoml_impl.worker import service as bentoml_worker

from thinned.service.http import bounded_protocol
from thinned.service.http.bounded_protocol import BoundedProtocol, Bounds, Sweep, bound_connections

GET = b"GET /livez HTTP/1.1\r\nhost: x\r\n"
LARGE = 32 << 20
blocked, go_on = threading.Event(), threading.Event()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once; /all reads the body first, /large answers much, /wait only when the client goes."""
    if scope["type"] != "http":
        return
    if scope["path"] in ("/all", "/wait"):
        while (message := await receive())["type"] == "http.request" and (
            scope["path"] == "/wait" or message["more_body"]
        ):
            pass
    if scope["path"] == "/block":
        blocked.set()
        go_on.wait(10)  # What comes meanwhile is seen in one round.
    body = b"x" * LARGE if scope["path"] == "/large" else b"fine"
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def busy(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"busy"})


async def shut(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"shut"})


def gate(scope: Any, body: bytes | None) -> Any:
    return shut if body == b"[]" else None


@contextmanager
def served(http: Any) -> Iterator[int]:
    config = uvicorn.Config(app, port=0, http=http, lifespan="off", log_config=None, loop="uvloop")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            thread.join(10)


def refusal(status: int, detail: str) -> bytes:
    return b"HTTP/1.1 %d no\r\n\r\n%b" % (status, detail.encode())


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch:
        for name, seconds in (("LINGER_S", 0.3), ("STUCK_S", 0.6), ("SWEEP_S", 0.05)):
            patch.setattr(bounded_protocol, name, seconds)
        bounds = Bounds(4096, header_timeout_s=0.4, connections=8, at_once=3, costly=lambda path: path == b"/costly")
        protocol = partial(BoundedProtocol, bounds=lambda: bounds, refusal=refusal, busy=busy, gate=gate, sweep=Sweep())
        with served(protocol) as port:
            yield port


def answer_on(connection: socket.socket) -> bytes:
    """The end of one answer, whose body has four bytes; head and body may come apart."""
    received = b""
    while not received.partition(b"\r\n\r\n")[2]:
        received += connection.recv(1000)
    return received[-4:]


Connect = Callable[[], socket.socket]


@pytest.fixture
def connect(port: int) -> Iterator[Connect]:
    open_ones: list[socket.socket] = []

    def make() -> socket.socket:
        open_ones.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        return open_ones[-1]

    yield make
    for one in open_ones:
        one.close()


def all_of(connection: socket.socket) -> bytes:
    """What comes until the server ends the connection; an end without a word is an end too."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def drip(connection: socket.socket, pieces: int, every_s: float = 0.02, piece: bytes = b"a") -> None:
    """Send a byte at a time, for as long as it is taken."""
    try:
        for _ in range(pieces):
            connection.sendall(piece)
            time.sleep(every_s)
    except OSError:
        pass


def test_a_connection_that_sends_nothing_is_ended_in_time(connect: Connect) -> None:
    began = time.monotonic()
    assert all_of(connect()) == b""
    assert 0.3 < time.monotonic() - began < 1.5


@pytest.mark.parametrize("start", [b"", b"\r\n", b"GET /livez HTTP/1.1\r\nx: "])
def test_a_header_a_byte_at_a_time_is_ended_in_time(connect: Connect, start: bytes) -> None:
    connection = connect()
    connection.sendall(start)
    began = time.monotonic()
    drip(connection, 200, piece=b"\r\n" if start == b"\r\n" else b"a")
    answer = all_of(connection)
    assert time.monotonic() - began < 4.2
    assert not answer or answer.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400"))


def test_the_header_of_a_second_request_has_its_time_too(connect: Connect) -> None:
    connection = connect()
    connection.sendall(GET + b"\r\n")
    assert answer_on(connection) == b"fine"
    time.sleep(0.6)  # Between two requests it may wait, as long as uvicorn lets it.
    connection.sendall(GET)
    assert all_of(connection).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "sent",
    [
        GET + b"x: " + b"a" * 100_000,
        GET + b"x: 1\r\n" * 20_000,
        b"GET /" + b"a" * 100_000,
        b"a" * 100_000,
        b"POST /wait HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + b"x: 1\r\n" * 20_000,
        b"POST /wait HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"x" * 100_000,
    ],
    ids=["one header", "headers", "path", "method", "trailers", "chunk extension"],
)
def test_no_more_than_the_bound_is_read(connect: Connect, sent: bytes) -> None:
    connection = connect()
    with contextlib.suppress(OSError):  # It may be ended while this is on its way.
        connection.sendall(sent)
    answer = all_of(connection)
    # Where the application had begun, there is nothing that could be said.
    assert not answer or answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


def test_a_header_up_to_the_bound_is_taken(connect: Connect) -> None:
    for sent in (GET + b"x: " + b"a" * 4000 + b"\r\n\r\n", GET + b"x: 1\r\n" * 600 + b"\r\n"):
        connection = connect()
        connection.sendall(sent)
        assert answer_on(connection) == b"fine"


def test_a_body_is_no_header(connect: Connect) -> None:
    connection = connect()
    connection.sendall(b"POST /all HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 1_000_000)
    assert answer_on(connection) == b"fine"
    chunks = b"".join(b"%x;name=value\r\n%b\r\n" % (n, b"x" * n) for n in [1, 100, 5000] * 500)
    connection.sendall(b"POST /all HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\nx: 1\r\n\r\n")
    assert answer_on(connection) == b"fine"


def test_requests_in_one_piece_are_answered_in_turn(connect: Connect) -> None:
    connection = connect()
    connection.sendall((GET + b"\r\n") * 200)
    received = b""
    while received.count(b"fine") < 200:
        received += connection.recv(65536)
    assert received.count(b"HTTP/1.1 200") == 200


def test_a_body_that_was_answered_need_not_come(connect: Connect) -> None:
    connection = connect()
    connection.sendall(b"POST /livez HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n")
    assert answer_on(connection) == b"fine"
    began = time.monotonic()
    drip(connection, 200)
    assert all_of(connection) == b""
    assert time.monotonic() - began < 4


def test_a_client_that_takes_nothing_of_its_answer_is_ended(connect: Connect) -> None:
    connection = connect()
    connection.sendall(b"GET /large HTTP/1.1\r\n\r\n")
    time.sleep(2)
    assert len(all_of(connection)) < LARGE


def test_a_client_that_takes_it_slowly_gets_all_of_it(connect: Connect) -> None:
    connection = connect()
    connection.sendall(b"GET /large HTTP/1.1\r\n\r\n")
    received = 0
    while received < LARGE:
        chunk = connection.recv(1 << 21, socket.MSG_WAITALL)
        assert chunk
        received += len(chunk)
        time.sleep(0.1)


def test_a_new_connection_takes_the_place_of_the_longest_idle(connect: Connect) -> None:
    busy, first, *others = [connect() for _ in range(8)]
    busy.sendall(b"POST /wait HTTP/1.1\r\ncontent-length: 1\r\n\r\n")
    time.sleep(0.05)
    new = connect()
    assert all_of(first) == b""
    for one in (new, *others):
        one.sendall(GET + b"\r\n")
        assert answer_on(one) == b"fine"


def test_where_all_are_busy_a_new_one_is_refused(connect: Connect) -> None:
    for _ in range(8):
        connect().sendall(b"POST /wait HTTP/1.1\r\ncontent-length: 1\r\n\r\n")
    time.sleep(0.1)
    assert all_of(connect()).startswith(b"HTTP/1.1 503")


@contextmanager
def one_round(blocking: socket.socket) -> Iterator[None]:
    """What is sent within is seen by the server in one round of its event loop."""
    blocked.clear()
    go_on.clear()
    blocking.sendall(b"GET /block HTTP/1.1\r\n\r\n")
    assert blocked.wait(10)
    yield
    go_on.set()
    answer_on(blocking)


def test_no_more_is_begun_in_one_round_than_the_bound(connect: Connect) -> None:
    blocking, *others = [connect() for _ in range(7)]
    for one in others:  # A connection is taken in a round of its own.
        one.sendall(GET + b"\r\n")
        assert answer_on(one) == b"fine"
    costly = b"POST /costly?x HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}"
    for _ in range(2):  # What was begun, and what was refused, counts no longer.
        with one_round(blocking):
            for one in others:
                one.sendall(costly)
        answers = sorted(answer_on(one) for one in others)
        assert answers == [b"busy"] * 3 + [b"fine"] * 3
    with one_round(blocking):
        for one in others:
            one.sendall(GET + b"\r\n")
    assert all(answer_on(one) == b"fine" for one in others)


def test_requests_behind_one_another_are_begun_one_by_one(connect: Connect) -> None:
    connection = connect()
    connection.sendall(b"GET /costly HTTP/1.1\r\n\r\n" * 50)
    received = b""
    while received.count(b"HTTP/1.1") < 50 or not received.endswith((b"fine", b"busy")):
        received += connection.recv(65536)
    assert received.count(b"fine") == 50


def test_the_gate_sees_a_costly_request_and_its_body_where_that_came_whole(connect: Connect) -> None:
    connection = connect()
    whole = b"POST /costly HTTP/1.1\r\ncontent-length: 2\r\n\r\n[]"
    # A body that is still on its way; one that came whole; one to another path.
    connection.sendall(whole[:-1])
    time.sleep(0.05)
    connection.sendall(b"]")
    assert answer_on(connection) == b"fine"
    connection.sendall(whole)
    assert answer_on(connection) == b"shut"
    connection.sendall(whole.replace(b"costly", b"cheap!"))
    assert answer_on(connection) == b"fine"
    connection.sendall(whole * 2)  # One behind another is left to the application.
    received = b""
    while not received.endswith(b"fine"):
        received += connection.recv(1000)
    assert received.count(b"shut") == 1


def test_an_upgrade_is_answered_as_any_request(connect: Connect) -> None:
    for to in (b"websocket", b"h2c"):
        connection = connect()
        connection.sendall(
            GET + b"connection: upgrade\r\nupgrade: " + to + b"\r\nsec-websocket-version: 13\r\n"
            b"sec-websocket-key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\n\r\n"
        )
        assert answer_on(connection) == b"fine"


def test_uvicorn_still_reads_a_header_of_any_length_and_waits_for_ever() -> None:
    """When this fails, uvicorn bounds what it receives: see which of `BoundedProtocol`'s bounds are still needed."""
    named = set(inspect.signature(uvicorn.Config).parameters)
    assert {name for name in named if "header" in name} == {"proxy_headers", "server_header", "date_header", "headers"}
    with served("httptools") as port, socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(GET + b"x: " + b"a" * 2_000_000)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.sendall(b"\r\n\r\n")
        assert answer_on(connection) == b"fine"


def test_bentoml_still_has_no_way_to_say_which_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """When this fails, `bound_connections` need not replace what "auto" stands for."""
    source = inspect.getsource(bentoml_worker)
    assert "uvicorn.Config(" in source
    assert "http=" not in source
    before = dict(uvicorn.config.HTTP_PROTOCOLS)
    monkeypatch.setattr(uvicorn.config, "HTTP_PROTOCOLS", before)
    bound_connections(lambda: Bounds(1, 1, 1, 1, frozenset()), refusal, busy, gate)
    config = uvicorn.Config(app, log_config=None)
    config.load()
    protocol: Any = config.http_protocol_class
    assert protocol.func is BoundedProtocol
