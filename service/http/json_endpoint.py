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

from thinned.models.errors import ClientGoneError, ThinnedError
from thinned.service.http.body_parsing import Asked
from thinned.service.http.body_reader import longest_timeout_ms, read_body
from thinned.service.http.bounded_protocol import BEGAN
from thinned.service.http.problem_details import problem
from thinned.service.inference.memory import Hold
from thinned.service.inference.model_manager import ModelManager
from thinned.service.inference.served_model import ServedModel
from thinned.service.schema.problem_table import reason_of

__all__ = ["Answerer", "JsonEndpoint"]

Answerer: TypeAlias = Callable[[bytes, ServedModel, Asked], Awaitable[tuple[bytes, bytes]]]
"""Answers a body with a body and a Server-Timing, or raises; it may wait for the client to leave."""

log = logging.getLogger("bentoml.thinned")

_JSON = (b"content-type", b"application/json")
PART = 256 * 1024
"""Bytes of an answer that are sent at a time."""


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
        began = scope.get(BEGAN) or time.monotonic()
        hold: Hold | None = None
        try:
            manager = self._manager(scope)
            with manager.lend() as model:
                model.check_admission()
                hold = manager.memory.hold()
                body = await read_body(scope, receive, manager.settings, began, hold)
                model.check_time(began + longest_timeout_ms(body, manager.settings.timeout_ms) / 1000)

                async def gone() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass

                asked = Asked(gone, began, manager.settings.max_timeout_ms / 1000, hold, manager.metrics)
                content, timing = await self._answer(body, model, asked)
            headers = [(b"content-length", b"%d" % len(content)), _JSON, (b"server-timing", timing)]
            await _send(send, content, headers, manager.settings.body_timeout_s)
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
        finally:
            if hold is not None:
                hold.release()


async def _send(send: Send, content: bytes, headers: list[tuple[bytes, bytes]], timeout_s: float) -> None:
    """Send an answer; a long one in parts, each when the client has taken those before it.

    Raises:
        ClientGoneError: The client takes it too slowly.
    """
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if len(content) <= PART:
        await send({"type": "http.response.body", "body": content})
        return
    whole = memoryview(content)
    for start in range(0, len(content), PART):
        part = bytes(whole[start : start + PART])
        try:
            async with asyncio.timeout(timeout_s):
                await send({"type": "http.response.body", "body": part, "more_body": start + PART < len(content)})
        except TimeoutError:
            raise ClientGoneError("the client takes nothing of its answer") from None
