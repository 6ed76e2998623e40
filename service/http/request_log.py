"""Names, counts and logs every request.

BentoML's own middlewares for metrics and the access log cost more than the answer of a small network. Here the answer
is on its way before it is counted and logged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thinned.service.http.access import HEALTH
from thinned.service.http.log_format import FIELDS
from thinned.service.http.paths import Paths
from thinned.service.http.request_id import HEADER, current_request_id, name_request
from thinned.service.metrics import Metrics

__all__ = ["RequestLog"]

access = logging.getLogger("bentoml.access")

NOT_LOGGED = frozenset({"/metrics", *HEALTH})
NOT_COUNTED = frozenset({"/metrics"})
MOST_OF_A_PATH = 300
CLIENT_GONE = 499
"""The status that is counted for a client that went before its answer came, as other servers do."""
NO_SNIFFING = (b"x-content-type-options", b"nosniff")


class RequestLog:
    """ASGI middleware, the outermost one.

    Args:
        app: Answers the requests.
        paths: The paths that there are. Others are neither counted nor logged: each would be a row in the metrics.
        metrics: Gives the metrics to count a path in; None to count nothing.
        log: Whether to write a line for each request.
    """

    def __init__(
        self, app: ASGIApp, *, paths: Collection[str], metrics: Callable[[str], Metrics] | None, log: bool
    ) -> None:
        self._app = app
        self._paths = Paths(paths)
        self._counted = frozenset(paths) - NOT_COUNTED if metrics else frozenset()
        self._logged = frozenset(paths) - NOT_LOGGED if log else frozenset()
        self._metrics = metrics or (lambda _: Metrics("none"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have it answered, and note it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route = self._paths.route_of(scope["path"]) or ""
        began = time.perf_counter()
        name = name_request(scope["headers"])
        before = current_request_id.set(name.decode("ascii"))
        start: Message = {}

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (HEADER, name), NO_SNIFFING]
                start.update(message)
            await send(message)

        metrics = self._metrics(scope["path"]) if route in self._counted else None
        if metrics is not None:
            metrics.began(route)
        try:
            await self._app(scope, receive, noting)
        finally:
            took_s = time.perf_counter() - began
            if metrics is not None or route in self._logged:
                # In the next round of the loop, when the answer has been written to the socket.
                asyncio.get_running_loop().call_soon(self._end, scope, route, start, took_s, metrics)
            current_request_id.reset(before)

    def _end(self, scope: Scope, route: str, start: Message, took_s: float, metrics: Metrics | None) -> None:
        status = start.get("status", CLIENT_GONE)
        if metrics is not None:
            metrics.request(route, status, took_s)
        if route in self._logged:
            _log(scope, start, status, took_s)


def _log(scope: Scope, start: Message, status: int, took_s: float) -> None:
    client = scope.get("client")
    headers = dict(start.get("headers", ()))
    values = {
        "client": f"{client[0]}:{client[1]}" if client else "_",
        "scheme": scope["scheme"],
        "method": scope["method"],
        "path": quote(scope["path"][:MOST_OF_A_PATH]),  # What stands for a name in a route can be anything.
        "request_bytes": dict(scope["headers"]).get(b"content-length", b"").decode("latin-1"),
        "status": status,
        "type": headers.get(b"content-type", b"").decode("latin-1"),
        "response_bytes": headers.get(b"content-length", b"").decode("latin-1"),
        "duration_ms": round(took_s * 1000, 3),
    }
    known = {"caller": scope.get("thinned_caller"), "trace_id": scope.get("thinned_trace")}
    fields = {**values, **{name: value for name, value in known.items() if value is not None}}
    access.info(
        "%s (scheme=%s,method=%s,path=%s,length=%s) (status=%d,type=%s,length=%s) %.3fms",
        *values.values(),
        extra={FIELDS: fields},
    )
