"""Counts and logs every request, under the names and in the form that BentoML's own middlewares have.

Those cost more than the answer of a small network. Here the answer is on its way before it is counted and logged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from functools import cache
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["RequestLog", "ServiceLabels"]

access = logging.getLogger("bentoml.access")

NOT_LOGGED = frozenset({"/metrics", "/healthz", "/livez", "/readyz"})
NOT_COUNTED = frozenset({"/metrics"})
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0)
CLIENT_GONE = 499
"""The status that is counted for a client that went before its answer came, as other servers do."""


class ServiceLabels(NamedTuple):
    """The labels that every metric has, besides the endpoint and the status."""

    service_name: str
    service_version: str
    runner_name: str


class _Metrics(NamedTuple):
    total: Any
    duration: Any
    in_progress: Any
    last: Any


class RequestLog:
    """ASGI middleware, the outermost one.

    Args:
        app: Answers the requests.
        paths: The paths that there are. Others are neither counted nor logged: each would be a row in the metrics.
        labels: Of the metrics; None to count nothing.
        log: Whether to write a line for each request.
    """

    def __init__(self, app: ASGIApp, *, paths: Collection[str], labels: ServiceLabels | None, log: bool) -> None:
        self._app = app
        self._counted = frozenset(paths) - NOT_COUNTED if labels else frozenset()
        self._logged = frozenset(paths) - NOT_LOGGED if log else frozenset()
        self._labels = labels._asdict() if labels else {}
        self._children: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._in_progress: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have it answered, and note it."""
        path = scope.get("path", "")
        if scope["type"] != "http" or (path not in self._counted and path not in self._logged):
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        start: Message = {}

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            await send(message)

        if path in self._counted:
            self._begin(path)
        try:
            await self._app(scope, receive, noting)
        finally:
            took_s = time.perf_counter() - began
            # In the next round of the loop, when the answer has been written to the socket.
            asyncio.get_running_loop().call_soon(self._end, scope, start, took_s)

    def _begin(self, path: str) -> None:
        if path not in self._in_progress:
            self._in_progress[path] = _metrics().in_progress.labels(**self._labels, endpoint=path)
        self._in_progress[path].inc()

    def _end(self, scope: Scope, start: Message, took_s: float) -> None:
        path, status = scope["path"], start.get("status", CLIENT_GONE)
        if path in self._counted:
            self._count(path, status, took_s)
        if path in self._logged:
            _log(scope, start, status, took_s)

    def _count(self, path: str, status: int, took_s: float) -> None:
        metrics = _metrics()
        self._in_progress[path].dec()
        if (path, status) not in self._children:
            names = {**self._labels, "endpoint": path, "http_response_code": status}
            self._children[path, status] = metrics.total.labels(**names), metrics.duration.labels(**names)
        total, duration = self._children[path, status]
        total.inc()
        duration.observe(took_s)
        if path not in NOT_LOGGED:
            metrics.last.labels(**self._labels).set_to_current_time()


def _log(scope: Scope, start: Message, status: int, took_s: float) -> None:
    client = scope.get("client")
    headers = dict(start.get("headers", ()))
    access.info(
        "%s (scheme=%s,method=%s,path=%s,length=%s) (status=%d,type=%s,length=%s) %.3fms",
        f"{client[0]}:{client[1]}" if client else "_",
        scope["scheme"],
        scope["method"],
        scope["path"],
        dict(scope["headers"]).get(b"content-length", b"").decode("latin-1"),
        status,
        headers.get(b"content-type", b"").decode("latin-1"),
        headers.get(b"content-length", b"").decode("latin-1"),
        took_s * 1000,
    )


@cache
def _metrics() -> _Metrics:
    """Made once a process. BentoML has set where the metrics of several workers are put together by then."""
    from prometheus_client import Counter, Gauge, Histogram

    shared = ["endpoint", *ServiceLabels._fields]
    space: dict[str, Any] = {"namespace": "bentoml_service"}
    return _Metrics(
        Counter("request_total", "Requests.", [*shared, "http_response_code"], **space),
        Histogram(
            "request_duration_seconds",
            "Seconds from a request to its answer.",
            [*shared, "http_response_code"],
            buckets=BUCKETS_S,
            **space,
        ),
        Gauge("request_in_progress", "Requests under way.", shared, multiprocess_mode="livesum", **space),
        Gauge("last_request_timestamp_seconds", "When the last request ended.", ServiceLabels._fields, **space),
    )
