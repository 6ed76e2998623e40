"""What of BentoML's server is changed: fewer middlewares, and one form for all errors.

`service_class` is BentoML's documented way to do so. Middlewares that an operator has configured, such as CORS or
tracing, stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bentoml
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from thinned.models.compat.bentoml import ACCESS_LOG, METRICS, close_side_doors, costly_middlewares
from thinned.service.http.access import AccessMiddleware
from thinned.service.http.connections import bound_connections_of
from thinned.service.http.middleware import ProblemMiddleware
from thinned.service.http.named_models import metrics_of
from thinned.service.http.request_log import RequestLog
from thinned.service.http.short_way import ShortWay
from thinned.service.http.tracing import TraceMiddleware
from thinned.service.http.worker_server import serve_with_it
from thinned.service.metrics import Metrics

__all__ = ["ThinnedService"]

# Ours answer in their place: BentoML's metrics, and its description of its own endpoints, which knows nothing of ours.
REPLACED = frozenset({"/metrics", "/schema.json"})

close_side_doors()
serve_with_it()


class ThinnedService(bentoml.Service[Any]):
    """A BentoML service without the middlewares that cost more than they give, and with one form for all errors."""

    def to_asgi(self, is_main: bool = True) -> Starlette:
        """Make the server's application, as BentoML does for every worker process."""
        app: Starlette = super().to_asgi(is_main=is_main)
        http = next(mounted for mounted, *_ in self.mount_apps if isinstance(mounted, Starlette))
        bound_connections_of(http)
        names = [_name(middleware) for middleware in app.user_middleware]
        left_out = costly_middlewares()
        app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", "") not in REPLACED]
        # Without BentoML's metrics there are none.
        paths = _paths(app) if METRICS in names else _paths(app) - {"/metrics"}

        def metrics_at(path: str) -> Metrics:
            return metrics_of(http.state.models, path)

        app.user_middleware = [
            Middleware(
                RequestLog,
                paths=paths,
                metrics=metrics_at if METRICS in names else None,
                log=ACCESS_LOG in names,
            ),
            Middleware(ProblemMiddleware, paths=paths, check_ready=lambda: http.state.models.check_ready()),
            Middleware(TraceMiddleware, paths=paths, traces=lambda: getattr(http.state, "traces", None)),
            Middleware(
                AccessMiddleware,
                tokens=lambda: getattr(http.state, "tokens", None),
                settings=lambda: http.state.models.settings,
                metrics=metrics_at,
            ),
            *(middleware for middleware in app.user_middleware if _name(middleware) not in left_out),
            Middleware(ShortWay, routes=http.routes),
        ]
        app.state.worker = lambda: http.state.worker
        return app


def _name(middleware: Middleware) -> str:
    return str(getattr(middleware.cls, "__name__", ""))


def _paths(app: Starlette) -> set[str]:
    """The paths that the application answers."""
    paths: set[str] = set()
    for route in app.routes:
        if isinstance(route, Route):
            paths.add(route.path)
        elif isinstance(route, Mount) and isinstance(route.app, Starlette):
            paths |= {inner.path for inner in route.app.routes if isinstance(inner, Route)}
        elif isinstance(route, Mount) and isinstance(route.app, StaticFiles):
            paths |= {f"{route.path}/{file.name}" for file in Path(str(route.app.directory)).iterdir()}
    return paths
