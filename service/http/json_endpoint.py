"""The endpoints that answer rows: from the bytes of a request to the bytes of its answer.

A `JsonEndpoint` is an ASGI application for one path and POST. It reads the body no further than the limit, hands it on,
and sends what comes back; every error is answered in the form that the path has.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing
from typing import NamedTuple, TypeAlias

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from thinned.models.errors import ClientGoneError, ThinnedError
from thinned.service.http.body_parsing import Asked
from thinned.service.http.body_reader import JSON_ONLY, longest_timeout_ms, read_body
from thinned.service.http.bounded_protocol import BEGAN
from thinned.service.http.content_kinds import AS_JSON, EVENTS, Terms, takes_gzip
from thinned.service.http.packing import pack, pays
from thinned.service.http.problem_details import answer_to
from thinned.service.inference.memory import Hold
from thinned.service.inference.model_manager import ModelManager
from thinned.service.inference.served_model import ServedModel
from thinned.service.schema.problem_table import reason_of

__all__ = ["Answer", "Answerer", "Events", "JsonEndpoint"]

log = logging.getLogger("bentoml.thinned")

_JSON = (b"content-type", b"application/json")
_PACKED = ((b"content-encoding", b"gzip"), (b"vary", b"accept-encoding"))
_OF_EVENTS = [(b"content-type", EVENTS.encode()), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]


class Answer(NamedTuple):
    """A body, its Server-Timing, and the headers that say what the body is."""

    content: bytes
    timing: bytes
    kind: tuple[tuple[bytes, bytes], ...] = (_JSON,)


class Events(NamedTuple):
    """An answer that comes in parts. What goes wrong after the first of them is one of the rest."""

    first: bytes
    rest: AsyncGenerator[bytes]


Answerer: TypeAlias = Callable[[bytes, ServedModel, Asked], Awaitable[Answer | Events]]
"""Answers a body, or raises; it may wait for the client to leave."""
PART = 256 * 1024
"""Bytes of an answer that are sent at a time."""


class JsonEndpoint:
    """An ASGI application that answers POST requests.

    Args:
        answer: What answers a body.
        manager: Gives the model to answer with; called for each request.
        check: Refuses what this model does not answer, by the headers of the request.
        kinds: Content types that a body may have.
        terms: How a request is read and answered, by its headers and its query.
    """

    def __init__(
        self,
        answer: Answerer,
        manager: Callable[[Scope], ModelManager],
        *,
        check: Callable[[ServedModel], None] | None = None,
        kinds: Collection[str] = JSON_ONLY,
        terms: Callable[[Scope], Terms] = lambda _: AS_JSON,
    ) -> None:
        self._answer = answer
        self._manager = manager
        self._check = check
        self._kinds = kinds
        self._terms = terms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = scope.get(BEGAN) or time.monotonic()
        hold: Hold | None = None
        try:
            manager = self._manager(scope)
            terms = self._terms(scope)
            with manager.lend() as model:
                if self._check is not None:
                    self._check(model)
                model.check_admission()
                hold = manager.memory.hold()
                body = await read_body(scope, receive, manager.settings, began, hold, kinds=self._kinds)
                longest_ms = longest_timeout_ms(body, manager.settings.timeout_ms, scope.get("query_string", b""))
                model.check_time(began + longest_ms / 1000)

                async def gone() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass

                asked = Asked(gone, began, manager.settings.max_timeout_ms / 1000, hold, manager.metrics, terms)
                answer = await self._answer(body, model, asked)
                if isinstance(answer, Events):
                    await _send_events(send, answer, manager.settings.body_timeout_s)
                    return
            content, kind = answer.content, answer.kind
            if _JSON in kind and pays(content) and takes_gzip(scope["headers"]):
                content, kind = await pack(content), (*kind, *_PACKED)
            headers = [(b"content-length", b"%d" % len(content)), *kind, (b"server-timing", answer.timing)]
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
            await answer_to(error, scope["path"])(scope, receive, send)
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
        await _send_part(send, bytes(whole[start : start + PART]), timeout_s, more=start + PART < len(content))


async def _send_events(send: Send, events: Events, timeout_s: float) -> None:
    """Send an answer as its parts come.

    Raises:
        ClientGoneError: The client takes them too slowly.
    """
    async with aclosing(events.rest):
        await send({"type": "http.response.start", "status": 200, "headers": _OF_EVENTS})
        await _send_part(send, events.first, timeout_s, more=True)
        async for part in events.rest:
            await _send_part(send, part, timeout_s, more=True)
    await _send_part(send, b"", timeout_s, more=False)


async def _send_part(send: Send, part: bytes, timeout_s: float, *, more: bool) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await send({"type": "http.response.body", "body": part, "more_body": more})
    except TimeoutError:
        raise ClientGoneError("the client takes nothing of its answer") from None
