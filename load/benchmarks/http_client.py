"""A small HTTP/1.1 client for measuring: raw sockets, whole requests made beforehand, one thread whatever the clients.

Locust spends more on a request than the service does, and on two cores takes from the service what it needs.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

__all__ = ["Answer", "BrokenAnswerError", "Client", "Times", "drive", "request"]

_END = b"\r\n\r\n"
_CHUNK = 1 << 18
TIMEOUT_S = 60.0


class BrokenAnswerError(RuntimeError):
    """The service closed a connection, or sent what is no HTTP answer of a known length."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its status, head and body, and the seconds from the first byte sent to the last byte received."""

    status: int
    head: bytes
    body: bytes
    took_s: float


@dataclass(slots=True)
class Times:
    """What a run of many clients saw: the seconds that each request took, how many were refused, and the whole run."""

    took_s: list[float] = field(default_factory=list)
    failed: int = 0
    lasted_s: float = 0.0

    @property
    def per_second(self) -> float:
        """Requests answered 200 in a second."""
        return len(self.took_s) / self.lasted_s

    def quantile_ms(self, q: float) -> float:
        """A quantile of the latencies, in milliseconds."""
        ordered = sorted(self.took_s)
        return 1e3 * ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def request(path: str, body: bytes = b"", *, method: str = "POST") -> bytes:
    """A whole request as bytes, which keeps the connection open."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode("ascii") + body


class Client:
    """One connection to a loopback port, for one request at a time. A context manager."""

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

    def ask(self, whole: bytes) -> Answer:
        """Send a request made by `request` and wait for its answer.

        Raises:
            BrokenAnswerError: The connection ended before the answer did.
        """
        began = time.perf_counter()
        self.socket.sendall(whole)
        status, body = self.wait()
        return Answer(status, self._head, body, time.perf_counter() - began)

    def wait(self) -> tuple[int, bytes]:
        """Wait for the answer to what was sent: its status and body.

        Raises:
            BrokenAnswerError: The connection ended before the answer did.
        """
        while (answer := self.receive()) is None:
            pass
        return answer

    def receive(self) -> tuple[int, bytes] | None:
        """Read once; the status and body if that completes the answer."""
        data = self.socket.recv(_CHUNK)
        if not data:
            raise BrokenAnswerError("the service closed the connection")
        self._received += data
        head, found, rest = bytes(self._received).partition(_END)
        if not found:
            return None
        length = _length(head)
        if len(rest) < length:
            return None
        self._received = bytearray(rest[length:])
        self._head = head
        return int(head[9:12]), rest[:length]


def drive(
    port: int,
    requests: Sequence[bytes],
    *,
    clients: int,
    seconds: float,
    at_most: int = 1_000_000,
    tick: Callable[[float], None] | None = None,
) -> Times:
    """Let many clients ask at once, each sending its next request when it has its answer.

    Args:
        port: Of the service, on loopback.
        requests: Whole requests, sent in turn.
        clients: Connections.
        seconds: How long; what is under way then is still waited for.
        at_most: Requests sent in all.
        tick: Told, now and then, the part of the time that has gone.

    Raises:
        BrokenAnswerError: A connection ended before its answer did.
    """
    times = Times()
    source = _endless(requests)
    began = time.perf_counter()
    sent: dict[Client, float] = {}
    with selectors.DefaultSelector() as selector:
        every = [Client(port) for _ in range(min(clients, at_most))]
        try:
            for client in every:
                selector.register(client.socket, selectors.EVENT_READ, client)
                sent[client] = time.perf_counter()
                client.socket.sendall(next(source))
            count = len(every)
            while sent:
                for key, _ in selector.select(TIMEOUT_S):
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
            for client in every:
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
