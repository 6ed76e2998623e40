"""The endpoints that take and answer JSON: from the bytes of a request to the bytes of its answer.

A `JsonEndpoint` is an ASGI application for one path and POST. It reads the body no further than the limit, hands it on,
and sends what comes back; every error is answered as a problem.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from thinned.models.errors import (
    BodyTooLargeError,
    BodyTooSlowError,
    ClientGoneError,
    ThinnedError,
    UnsupportedBodyError,
)
from thinned.service.http.predictions import Asked
from thinned.service.http.problem_details import problem
from thinned.service.inference.memory import Hold
from thinned.service.inference.model_manager import ModelManager
from thinned.service.inference.served_model import ServedModel
from thinned.service.schema.problem_table import reason_of
from thinned.service.settings import Settings

__all__ = ["Answerer", "JsonEndpoint"]

Answerer: TypeAlias = Callable[[bytes, ServedModel, Asked], Awaitable[tuple[bytes, bytes]]]
"""Answers a body with a body and a Server-Timing, or raises; it may wait for the client to leave."""

log = logging.getLogger("bentoml.thinned")

_JSON = (b"content-type", b"application/json")


class JsonEndpoint:
    """An ASGI application that answers POST requests in JSON.

    Args:
        answer: What answers a body.
        manager: Gives the model to answer with; called for each request.
    """

    def __init__(self, answer: Answerer, manager: Callable[[Scope], ModelManager]) -> None:
        self._answer = answer
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.monotonic()
        hold: Hold | None = None
        try:
            manager = self._manager(scope)
            with manager.lend() as model:
                model.check_admission()
                hold = manager.memory.hold()
                body = await _read_body_in_time(scope, receive, manager.settings, began, hold)

                async def gone() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass

                asked = Asked(gone, began, manager.settings.max_timeout_ms / 1000, hold, manager.metrics)
                content, timing = await self._answer(body, model, asked)
        except ClientGoneError:
            self._manager(scope).metrics.refused("gone")
            return  # Nobody reads what would be sent.
        except Exception as error:
            reason = reason_of(error)
            if reason is not None:
                self._manager(scope).metrics.refused(reason)
            if not isinstance(error, ThinnedError | HTTPException):
                log.exception("%s %s failed", scope["method"], scope["path"])
            await problem(error)(scope, receive, send)
            return
        finally:
            if hold is not None:
                hold.release()
        headers = [(b"content-length", b"%d" % len(content)), _JSON, (b"server-timing", timing)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


async def _read_body_in_time(scope: Scope, receive: Receive, settings: Settings, began: float, hold: Hold) -> bytes:
    """Read the body, no further than the limits.

    Raises:
        BodyTooSlowError: It was not there in time.
        ThinnedError: As for `_read_body`.
    """
    left = began + settings.body_timeout_s - time.monotonic()
    try:
        async with asyncio.timeout(left):
            return await _read_body(scope, receive, settings.max_body_bytes, hold)
    except TimeoutError:
        raise BodyTooSlowError(
            f"expected the whole body within {settings.body_timeout_s:g} s; send it faster, or send fewer rows"
        ) from None


async def _read_body(scope: Scope, receive: Receive, max_bytes: int, hold: Hold) -> bytes:
    """Read the body, no further than the limit; what is held of it is counted.

    Raises:
        OverloadedError: Others hold too much memory.
        UnsupportedBodyError: It is said not to be JSON.
        BodyTooLargeError: It is longer than the limit.
        ClientGoneError: The client went before it had sent all of it.
    """
    received = 0
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind = value.partition(b";")[0].strip().lower().decode("latin-1")
            if kind not in ("", "application/json"):
                raise UnsupportedBodyError(
                    f"expected the header content-type: application/json, received {kind[:60]!r}"
                )
        elif name == b"content-length" and value.isdigit():
            received = int(value)
    chunks: list[bytes] = []
    more = received <= max_bytes
    received = 0 if more else received
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the client has gone")
        chunk = message.get("body", b"")
        received += len(chunk)
        hold.take("bodies", len(chunk))
        chunks.append(chunk)
        more = received <= max_bytes and message.get("more_body", False)
    if received > max_bytes:
        raise BodyTooLargeError(
            f"expected a body of at most {max_bytes} bytes, received {received} or more; send fewer rows"
        )
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
