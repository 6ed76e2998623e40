"""Reads the body of a request, no further than the limits, however slowly or tightly packed it comes."""

from __future__ import annotations

import asyncio
import math
import re
import time
import zlib
from collections.abc import Collection

from starlette.types import Receive, Scope

from thinned.models.errors import (
    BodyTooLargeError,
    BodyTooSlowError,
    ClientGoneError,
    MalformedBodyError,
    UnsupportedBodyError,
    UnsupportedEncodingError,
)
from thinned.service.inference.memory import Hold
from thinned.service.settings import Settings

__all__ = ["GRACE_S", "JSON_ONLY", "longest_timeout_ms", "read_body"]

JSON_ONLY = ("application/json",)
GRACE_S = 5.0
"""Seconds in which a body may be slower than its least rate."""
PIECE = 64 * 1024
"""Bytes that are unpacked without a break; it takes some 0.2 ms."""
_TIMEOUT_KEY = b'"timeout_ms"'
_TIMEOUT = re.compile(_TIMEOUT_KEY + rb"\s*:\s*([0-9.eE+]{1,30})")


async def read_body(
    scope: Scope,
    receive: Receive,
    settings: Settings,
    began: float,
    hold: Hold,
    *,
    kinds: Collection[str] = JSON_ONLY,
) -> bytes:
    """Read and unpack the body; what is held of it is counted.

    Args:
        scope: Of the request.
        receive: Gives its parts.
        settings: The limits.
        began: When the first byte of the request was there, on the clock of `time.monotonic`.
        hold: Where the memory is taken from.
        kinds: Content types that it may be said to have.

    Raises:
        OverloadedError: Others hold too much memory, or too many bodies are on their way.
        UnsupportedBodyError: It is said to be of another kind, or to be packed in another way than gzip.
        MalformedBodyError: What is said to be gzip is not.
        BodyTooLargeError: It is longer than the limit.
        BodyTooSlowError: It was not there in time, or came too slowly.
        ClientGoneError: The client went before it had sent all of it.
    """
    packed, length = _headers(scope, kinds)
    if length > settings.max_body_bytes:
        raise _too_large(settings.max_body_bytes)
    body = _Body(settings.max_body_bytes, hold, packed=packed)
    last = began + settings.body_timeout_s
    try:
        async with asyncio.timeout(last - time.monotonic()) as timeout:
            # Most bodies come whole, with the headers, and are not on their way.
            if await body.receive(receive):
                with hold.arriving(settings.max_bodies):
                    await _receive_rest(body, receive, settings, began, timeout)
            return body.whole()
    except TimeoutError:
        if time.monotonic() < last:
            detail = f"expected at least {settings.body_bytes_per_s} bytes of the body a second"
        else:
            detail = f"expected the whole body within {settings.body_timeout_s:g} s"
        raise BodyTooSlowError(f"{detail}, received {body.received}; send it faster, or send fewer rows") from None


def longest_timeout_ms(body: bytes, default: float, query: bytes = b"") -> float:
    """The `timeout_ms` of a request that is not parsed yet; infinite where only parsing can tell.

    Under overload most requests are refused, which must cost less than to parse them. What looks like the field within
    a text counts too, so that the longest of all is taken.
    """
    if len(body) > PIECE or b"timeout_ms" in query:
        return math.inf
    if _TIMEOUT_KEY not in body:
        return default
    try:
        return max((float(number) for number in _TIMEOUT.findall(body)), default=math.inf)
    except ValueError:
        return math.inf


async def _receive_rest(
    body: _Body, receive: Receive, settings: Settings, began: float, timeout: asyncio.Timeout
) -> None:
    """Receive what is still on its way, as long as it is not too slow."""
    loop, rate = asyncio.get_running_loop(), settings.body_bytes_per_s
    last = timeout.when()
    while True:
        if rate and last is not None:
            left = GRACE_S + body.received / rate - (time.monotonic() - began)
            timeout.reschedule(min(last, loop.time() + left))
        if not await body.receive(receive):
            return


def _headers(scope: Scope, kinds: Collection[str]) -> tuple[bool, int]:
    """Whether the body is packed, and how long it says to be."""
    packed, length = False, 0
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind = value.partition(b";")[0].strip().lower().decode("latin-1")
            if kind and kind not in kinds:
                raise UnsupportedBodyError(
                    f"expected the header content-type: {' or '.join(kinds)}, received {kind[:60]!r}"
                )
        elif name == b"content-encoding":
            kind = value.strip().lower().decode("latin-1")
            if packed or kind not in ("", "identity", "gzip", "x-gzip"):
                raise UnsupportedEncodingError(
                    f"expected the header content-encoding: gzip once, or none, received {kind[:60]!r}"
                )
            packed = kind.endswith("gzip")
        elif name == b"content-length" and value.isdigit():
            length = int(value)
    return packed, length


class _Body:
    """What has come of a body.

    Args:
        most: Bytes that it may be, as it is sent and unpacked.
        hold: Where the memory is taken from.
        packed: Whether it is gzip.
    """

    def __init__(self, most: int, hold: Hold, *, packed: bool) -> None:
        self.received = 0
        self._size = 0
        self._most = most
        self._hold = hold
        self._parts: list[bytes] = []
        self._unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if packed else None

    async def receive(self, receive: Receive) -> bool:
        """Receive a part, and tell whether more follows."""
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the client has gone")
        part: bytes = message.get("body", b"")
        self.received += len(part)
        if self._unpacker is None:
            self._keep(part)
        else:
            await self._unpack(part, self._unpacker)
        return bool(message.get("more_body", False))

    def whole(self) -> bytes:
        """All of it, when all has come."""
        if self._unpacker is not None:
            self._keep(self._unpacker.flush())
            if not self._unpacker.eof:
                raise MalformedBodyError("expected a body in gzip, as its content-encoding says; it ends too early")
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if max(self._size, self.received) > self._most:
            raise _too_large(self._most)
        self._hold.take("bodies", len(part))
        self._parts.append(part)

    async def _unpack(self, packed: bytes, unpacker: zlib._Decompress) -> None:
        """Unpack a part, in pieces: between two of them others are answered."""
        for start in range(0, len(packed), PIECE):
            piece = packed[start : start + PIECE]
            while piece:
                self._keep(_unpacked(piece, unpacker))
                piece = unpacker.unconsumed_tail
                if piece or start + PIECE < len(packed):
                    await asyncio.sleep(0)


def _unpacked(piece: bytes, unpacker: zlib._Decompress) -> bytes:
    try:
        part = unpacker.decompress(piece, PIECE)
    except zlib.error:
        raise MalformedBodyError("expected a body in gzip, as its content-encoding says; it is not") from None
    if unpacker.unused_data:
        raise MalformedBodyError("expected a body of one gzip member; more follows its end")
    return part


def _too_large(most: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"expected a body of at most {most} bytes, unpacked, received more; send fewer rows")
