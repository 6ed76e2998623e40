"""The HTTP protocol of uvicorn 0.54 with bounds while it receives, where uvicorn has none.

`HttpToolsProtocol` collects a header of any length and copies what it has at every piece: one of 100 MB holds up the
event loop for 20 s. A connection that sends nothing, or a header a byte at a time, stays for ever, and so does a client
that takes nothing of its answer. All requests that have come are begun in one round of the event loop: under overload
it reads hundreds of bodies before it tells the first of them that there is too much, or answers `/livez`.

`tests/service/http/test_bounded_protocol.py` fails when this is no longer needed, or what it relies on is gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

from uvicorn import config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = ["BEGAN", "Bounds", "BoundedProtocol", "Gate", "Refusal", "Sweep", "bound_connections"]

BEGAN = "thinned_began"
"""In a request's scope: when its first byte was read, on the clock of `time.monotonic`."""
LINGER_S = 5.0
"""So long a client may go on sending a body that was answered before it had come."""
STUCK_S = 30.0
"""So long a client may take nothing of an answer."""
SWEEP_S = 0.5
"""So often the connections are looked over: by so much later than stated may one be ended."""

Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
Refusal: TypeAlias = Callable[[int, str], bytes]
"""The whole answer, as bytes on the connection, for a status and what is to be said."""
Gate: TypeAlias = Callable[[Any, bytes | None], Application | None]
"""What answers a costly request in the application's place, or None where it is let in: for its scope, and its body
where that came whole. It is asked before any middleware: under overload most requests are refused."""


class Bounds(NamedTuple):
    """What one connection, and all together, may take."""

    header_bytes: int
    """Bytes of a request before its body, or after it."""
    header_timeout_s: float
    """Seconds from a connection's start, or a request's first byte, to the end of its headers."""
    connections: int
    """Open connections."""
    at_once: int
    """Requests for `costly` paths that are begun in one round of the event loop; it answers nothing else meanwhile."""
    costly: Callable[[bytes], bool]
    """Whether a request for a path takes so long to read that a round can bear no more of them."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        bounds: Gives the bounds.
        refusal: Makes the answer to what is refused here.
        busy: The application that answers what is beyond `Bounds.at_once`, quickly.
        gate: Looks at costly requests.
        sweep: Looks after the connections of this process.
        named: As for uvicorn's own.
    """

    def __init__(
        self,
        *,
        bounds: Callable[[], Bounds],
        refusal: Refusal,
        busy: Application,
        gate: Gate,
        sweep: Sweep,
        **named: Any,
    ) -> None:
        super().__init__(**named)
        self._application = self.app
        self._busy, self._gate = busy, gate
        self._bounds = bounds()
        self._refusal = refusal
        self._sweep = sweep
        self._room = self._bounds.header_bytes
        self._in_header = True
        self._received = False
        self._header_since: float | None = None
        self._lingers_since: float | None = None
        self._stuck_since = 0.0
        self._unsent = 0
        self.idle_since = 0.0

    @property
    def idle(self) -> bool:
        """Whether no request of this connection is under way: none was sent, or not all of its headers."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever uvicorn's types say.
        return self._in_header and (cycle is None or cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; over the bound, in place of the connection that was idle for longest."""
        super().connection_made(transport)
        self.idle_since = self._header_since = time.monotonic()
        self._sweep.start(self.loop, self.connections)
        if len(self.connections) > self._bounds.connections:
            idle = [one for one in self._sweep.bounded(self.connections) if one is not self and one.idle]
            if idle:
                min(idle, key=lambda one: one.idle_since).transport.close()
            else:
                self.refuse(503, f"{self._bounds.connections} connections are busy, the most that may be open")

    def data_received(self, data: bytes) -> None:
        """Parse what came, no more of a header than the bound."""
        self._received = True
        if self._in_header and self._header_since is None:
            self._header_since = time.monotonic()
        while data and not self.transport.is_closing():
            piece, data = data[: self._room], data[self._room :]
            # What is parsed as a body, or ends the headers, gives the room back.
            self._room -= len(piece)
            super().data_received(piece)
            if self._room <= 0:
                self.refuse(431, f"Expected headers of at most {self._bounds.header_bytes} bytes together.")
                return

    def on_message_begin(self) -> None:
        """A request's first byte was read."""
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[BEGAN] = time.monotonic()

    def on_headers_complete(self) -> None:
        """The body follows."""
        self._room, self._in_header, self._header_since = self._bounds.header_bytes, False, None
        self.app = self._application
        cycle: RequestResponseCycle | None = self.cycle
        # One that is sent behind another of its connection begins in another round.
        first = cycle is None or cycle.response_complete
        if first and self._bounds.costly(self.url.partition(b"?")[0]):
            beyond = self._sweep.begins >= self._bounds.at_once
            self.app = self._busy if beyond else self._begin
            self._sweep.begins += not beyond
        super().on_headers_complete()

    async def _begin(self, scope: Any, receive: Any, send: Any) -> None:
        self._sweep.begins -= 1
        cycle: RequestResponseCycle = self.cycle  # This one: another begins when it has been answered.
        other = self._gate(scope, None if cycle.more_body else bytes(cycle.body))
        await (other or self._application)(scope, receive, send)

    def on_body(self, body: bytes) -> None:
        """A part of the body was read."""
        self._room = self._bounds.header_bytes
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there. What follows is another."""
        self._room, self._in_header, self._lingers_since = self._bounds.header_bytes, True, None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The request is answered, be it there or not."""
        self.idle_since = time.monotonic()
        self._lingers_since = None if self._in_header else self.idle_since
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self.refuse(400, msg)

    def refuse(self, status: int, detail: str) -> None:
        """Say why, unless an answer is under way, and end the connection."""
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        if not self.pipeline and (cycle is None or cycle.response_complete or not cycle.response_started):
            self.transport.write(self._refusal(status, detail))
        if cycle is not None:
            cycle.disconnected = True  # What the application may still send is not for this connection.
            cycle.message_event.set()
        self.transport.close()

    def check(self, now: float) -> None:
        """End the connection if its client is too slow."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._stuck_since = unsent, now
        elif now - self._stuck_since > STUCK_S:
            self.transport.abort()
        if self.transport.is_closing():
            return
        if self._lingers_since is not None and now - self._lingers_since > LINGER_S:
            self.transport.close()
        elif self.idle and now - (self._header_since or now) > self._bounds.header_timeout_s:
            self._end_slow_header()

    def _end_slow_header(self) -> None:
        if self._received:
            self.refuse(408, f"Expected all headers within {self._bounds.header_timeout_s:g} s.")
        else:
            self.transport.close()  # Nothing was asked.

    def _should_upgrade_to_ws(self) -> bool:
        """Never: nothing here speaks WebSocket, and its protocol would be another without bounds."""
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: the request is answered as any other, which is what RFC 9110 says, and needs no two lines of log."""


class Sweep:
    """Looks over the connections of a process again and again, while there are any."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self.begins = 0
        """Costly requests that begin in the next round of the event loop."""

    @staticmethod
    def bounded(connections: set[Any]) -> list[BoundedProtocol]:
        """Those that are ours and still open."""
        return [one for one in connections if isinstance(one, BoundedProtocol) and not one.transport.is_closing()]

    def start(self, loop: asyncio.AbstractEventLoop, connections: set[Any]) -> None:
        """Begin, if not begun."""
        if self._timer is None:
            self._timer = loop.call_later(SWEEP_S, self._look, loop, connections)

    def _look(self, loop: asyncio.AbstractEventLoop, connections: set[Any]) -> None:
        self._timer = None
        now = time.monotonic()
        for one in [one for one in connections if isinstance(one, BoundedProtocol)]:
            one.check(now)
        if connections:
            self.start(loop, connections)


def bound_connections(bounds: Callable[[], Bounds], refusal: Refusal, busy: Application, gate: Gate) -> None:
    """Have every server of this process use `BoundedProtocol`.

    BentoML 1.4.40 makes uvicorn's `Config` without `http`, and has no setting for it; what "auto" stands for is looked
    up when the server starts, after the service's application was made.

    Args:
        bounds: Gives the bounds; called for each connection.
        refusal: Makes the answer to what is refused.
        busy: Answers what is beyond `Bounds.at_once`.
        gate: Looks at costly requests.
    """
    protocol = partial(BoundedProtocol, bounds=bounds, refusal=refusal, busy=busy, gate=gate, sweep=Sweep())
    cast(dict[str, Any], config.HTTP_PROTOCOLS)["auto"] = protocol
