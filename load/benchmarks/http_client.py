"""An HTTP/1.1 client for benchmarks: raw sockets, requests encoded beforehand, one thread for all connections.

Locust spends more processor time on a request than the service does; on a machine of two cores it would slow the
service that it measures.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

__all__ = ["BrokenAnswerError", "HttpAnswer", "HttpClient", "LoadTimes", "encode_request", "run_clients"]

_HEAD_END = b"\r\n\r\n"
_CHUNK = 1 << 18
TIMEOUT_S = 60.0


class BrokenAnswerError(RuntimeError):
    """The service closed a connection, sent an answer without a content-length, or none."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer: status, head, body, and the seconds from the first byte sent to the last byte received."""

    status: int
    head: bytes
    body: bytes
    took_s: float


@dataclass(slots=True)
class LoadTimes:
    """Result of `run_clients`: seconds of each request answered 200, number of other answers, seconds of the run."""

    took_s: list[float] = field(default_factory=list)
    failed: int = 0
    lasted_s: float = 0.0

    @property
    def per_second(self) -> float:
        """Requests answered 200 per second."""
        return len(self.took_s) / self.lasted_s

    def quantile_ms(self, q: float) -> float:
        """The quantile q in [0, 1] of the latencies, in milliseconds."""
        ordered = sorted(self.took_s)
        return 1e3 * ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def encode_request(path: str, body: bytes = b"", *, method: str = "POST") -> bytes:
    """A request with a JSON body as bytes, for a connection that stays open."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode("ascii") + body


class HttpClient:
    """A connection to a loopback port, for one request at a time. A context manager."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._head = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self.socket.close()

    def ask(self, request: bytes) -> HttpAnswer:
        """Send a request made by `encode_request` and wait for its answer.

        Raises:
            BrokenAnswerError: The connection ended before the answer did.
        """
        began = time.perf_counter()
        self.socket.sendall(request)
        status, body = self.wait()
        return HttpAnswer(status, self._head, body, time.perf_counter() - began)

    def wait(self) -> tuple[int, bytes]:
        """Wait for the answer to the request that was sent; return its status and body.

        Raises:
            BrokenAnswerError: The connection ended before the answer did.
        """
        while (answer := self.receive()) is None:
            pass
        return answer

    def receive(self) -> tuple[int, bytes] | None:
        """Read from the socket once; return status and body if the answer is complete, else None.

        Raises:
            BrokenAnswerError: The connection ended, or the answer has no content-length.
        """
        data = self.socket.recv(_CHUNK)
        if not data:
            raise BrokenAnswerError("the service closed the connection")
        self._received += data
        head, found, rest = bytes(self._received).partition(_HEAD_END)
        if not found:
            return None
        length = _length(head)
        if len(rest) < length:
            return None
        self._received = bytearray(rest[length:])
        self._head = head
        return int(head[9:12]), rest[:length]


def run_clients(
    port: int,
    requests: Sequence[bytes],
    *,
    clients: int,
    seconds: float,
    at_most: int = 1_000_000,
    tick: Callable[[float], None] | None = None,
) -> LoadTimes:
    """Run concurrent clients, each of which sends its next request when it has its answer.

    Args:
        port: Loopback port of the service.
        requests: Encoded requests, sent in rotation.
        clients: Number of connections.
        seconds: No request is sent after this time; those in flight are waited for.
        at_most: Largest number of requests.
        tick: Called now and then with the elapsed share of `seconds`.

    Raises:
        BrokenAnswerError: A connection ended before its answer did, or none came for a minute.
    """
    times = LoadTimes()
    source = _endless(requests)
    began = time.perf_counter()
    sent: dict[HttpClient, float] = {}
    with selectors.DefaultSelector() as selector:
        connections = [HttpClient(port) for _ in range(min(clients, at_most))]
        try:
            for client in connections:
                selector.register(client.socket, selectors.EVENT_READ, client)
                sent[client] = time.perf_counter()
                client.socket.sendall(next(source))
            count = len(connections)
            while sent:
                ready = selector.select(TIMEOUT_S)
                if not ready:
                    raise BrokenAnswerError(f"no answer within {TIMEOUT_S:g} s to {len(sent)} requests")
                for key, _ in ready:
                    client = key.data
                    answer = client.receive()
                    if answer is None:
                        continue
                    now = time.perf_counter()
                    if answer[0] == 200:
                        times.took_s.append(now - sent.pop(client))
                    else:
                        times.failed += 1
                        del sent[client]
                    if now - began < seconds and count < at_most:
                        count += 1
                        sent[client] = time.perf_counter()
                        client.socket.sendall(next(source))
                if tick:
                    tick(min(1.0, (time.perf_counter() - began) / seconds))
        finally:
            for client in connections:
                client.close()
    times.lasted_s = time.perf_counter() - began
    return times


def _endless(requests: Sequence[bytes]) -> Iterator[bytes]:
    while True:
        yield from requests


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    raise BrokenAnswerError(f"expected an answer with a content-length, received {head[:200]!r}")
