"""Requests for the lanes go straight there, past BentoML's middlewares, and are counted and logged as those would.

A request through all of them costs more than the answer of a small network. Here the answer is on its way before it is
counted and logged; the metrics are BentoML's own, under their names and labels.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["FastPath", "RequestMetrics"]

access = logging.getLogger("bentoml.access")


class RequestMetrics:
    """BentoML's own middleware for metrics, shared by the requests that pass it and those that do not."""

    def __init__(self) -> None:
        self._middleware: Any = None
        self._children: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._running: dict[str, Any] = {}
        self._last: Any = None

    def around(self, app: ASGIApp, **options: Any) -> ASGIApp:
        """Make the middleware, in BentoML's stead."""
        from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware

        self._middleware = RunnerTrafficMetricsMiddleware(app, **options)
        made: ASGIApp = self._middleware
        return made

    def begin(self, path: str) -> None:
        """A request has come in."""
        if path not in self._running:
            self._set_up(path)
        self._running[path].inc()

    def end(self, path: str, status: int, took_s: float) -> None:
        """Its answer, or its end without one, has gone out."""
        self._running[path].dec()
        self._last.set_to_current_time()
        if (path, status) not in self._children:
            names = {**self._names(), "endpoint": path, "http_response_code": status}
            middleware = self._middleware
            self._children[path, status] = (
                middleware.metrics_request_total.labels(**names),
                middleware.metrics_request_duration.labels(**names),
            )
        total, duration = self._children[path, status]
        total.inc()
        duration.observe(took_s)

    def _set_up(self, path: str) -> None:
        if not self._middleware._is_setup:
            self._middleware._setup()
        self._last = self._middleware.metrics_last_request_timestamp.labels(**self._names())
        self._running[path] = self._middleware.metrics_request_in_progress.labels(**self._names(), endpoint=path)

    def _names(self) -> dict[str, str | None]:
        from bentoml._internal.context import server_context

        return {
            "service_name": server_context.bento_name,
            "service_version": server_context.bento_version,
            "runner_name": server_context.service_name,
        }


class FastPath:
    """ASGI middleware, the outermost one.

    Args:
        app: Answers all other requests.
        lanes: By path, what answers POST.
        meters: Counts the requests; None for no metrics.
        log: Whether to write a line for each request.
    """

    def __init__(self, app: ASGIApp, *, lanes: Mapping[str, ASGIApp], meters: RequestMetrics | None, log: bool) -> None:
        self._app = app
        self._lanes = dict(lanes)
        self._meters = meters
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have it answered."""
        lane = self._lanes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if lane is None:
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        start: Message = {}

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            await send(message)

        if self._meters:
            self._meters.begin(scope["path"])
        try:
            await lane(scope, receive, noting)
        finally:
            took_s = time.perf_counter() - began
            # In the next round of the loop, when the answer has been written to the socket.
            asyncio.get_running_loop().call_soon(self._note, scope, start, took_s)

    def _note(self, scope: Scope, start: Message, took_s: float) -> None:
        # 499 is what others call a client that went before its answer came.
        status = start.get("status", 499)
        if self._meters:
            self._meters.end(scope["path"], status, took_s)
        if self._log:
            client = scope.get("client")
            headers = dict(start.get("headers", ()))
            access.info(
                "%s (scheme=%s,method=POST,path=%s,length=%s) (status=%d,type=%s,length=%s) %.3fms",
                f"{client[0]}:{client[1]}" if client else "_",
                scope["scheme"],
                scope["path"],
                dict(scope["headers"]).get(b"content-length", b"").decode("latin-1"),
                status,
                headers.get(b"content-type", b"").decode("latin-1"),
                headers.get(b"content-length", b"").decode("latin-1"),
                took_s * 1000,
            )
