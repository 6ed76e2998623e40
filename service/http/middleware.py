"""Around the whole server: what BentoML's own routes refuse is answered as a problem too, as our routes do it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thinned.models.errors import ThinnedError
from thinned.service.http.problem_details import ProblemResponse, problem

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
        self._paths = frozenset(paths)
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
        answer = _Answer(send)
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:
            if answer.started:
                raise
            log.exception("%s %s failed", scope["method"], scope["path"])
            answer.refusal = problem(error)
        if answer.refusal is not None:
            await answer.refusal(scope, receive, send)

    def _refuse(self, path: str) -> ProblemResponse | None:
        if path not in self._paths:
            return problem(HTTPException(404, f"There is no {path[:100]!r} here; see /docs.json for what there is."))
        if path == "/readyz":
            try:
                self._check_ready()
            except ThinnedError as error:
                return problem(error)
        return None


class _Answer:
    """Passes an answer on, but for one that refuses and is no problem document: `refusal` is then its problem."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False
        self.refusal: ProblemResponse | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            headers = MutableHeaders(raw=message["headers"])
            if headers.get("content-type") != ProblemResponse.media_type:
                kept = {"allow": headers["allow"]} if "allow" in headers else None
                self.refusal = problem(HTTPException(message["status"], headers=kept))
        if self.refusal is None:
            self.started = True
            await self._send(message)
