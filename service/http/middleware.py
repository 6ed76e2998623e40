"""Around the whole server: what BentoML's own routes refuse is answered as a problem too, as our routes do it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thinned.models.errors import ThinnedError
from thinned.service.http.paths import Paths, is_protocol
from thinned.service.http.problem_details import ErrorResponse, ProblemResponse, ProtocolErrorResponse, answer_to

__all__ = ["ProblemMiddleware"]

log = logging.getLogger("bentoml.thinned")


class ProblemMiddleware:
    """ASGI middleware, the outermost one.

    Args:
        app: What it stands around.
        paths: The paths that there are; all others are answered 404 here. BentoML's metrics keep a row for every path
            ever asked for, so whoever asked for enough of them would fill the memory.
        check_ready: Raises `NotReadyError` until the service is ready; asked for `/readyz`.
    """

    def __init__(self, app: ASGIApp, *, paths: Collection[str], check_ready: Callable[[], Any]) -> None:
        self._app = app
        self._paths = Paths(paths)
        self._check_ready = check_ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have it answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refuse(scope["path"])
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        answer = _Answer(send, scope["path"])
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:
            if answer.started:
                raise
            log.exception("%s %s failed", scope["method"], scope["path"])
            answer.refusal = answer_to(error, scope["path"])
        if answer.refusal is not None:
            await answer.refusal(scope, receive, send)

    def _refuse(self, path: str) -> ErrorResponse | None:
        if self._paths.route_of(path) is None:
            there = "see /v2" if is_protocol(path) else "see /docs.json"
            return answer_to(HTTPException(404, f"There is no {path[:100]!r} here; {there} for what there is."), path)
        if path == "/readyz":
            try:
                self._check_ready()
            except ThinnedError as error:
                return answer_to(error, path)
        return None


class _Answer:
    """Passes an answer on, but for one that refuses in a form of its own: `refusal` is then the same in ours."""

    def __init__(self, send: Send, path: str) -> None:
        self._send, self._path = send, path
        self._form = (ProtocolErrorResponse if is_protocol(path) else ProblemResponse).media_type
        self.started = False
        self.refusal: ErrorResponse | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            headers = MutableHeaders(raw=message["headers"])
            if headers.get("content-type") != self._form:
                kept = {"allow": headers["allow"]} if "allow" in headers else None
                self.refusal = answer_to(HTTPException(message["status"], headers=kept), self._path)
        if self.refusal is None:
            self.started = True
            await self._send(message)
