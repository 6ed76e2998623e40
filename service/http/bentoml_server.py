"""What of BentoML's server is changed, and why. `service_class` is its documented way to do so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bentoml
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from thinned.service.http.fast_path import FastPath, RequestMetrics
from thinned.service.http.middleware import ProblemMiddleware

__all__ = ["ThinnedService"]

METRICS = "RunnerTrafficMetricsMiddleware"
ACCESS_LOG = "AccessLogMiddleware"
# Where an operator has configured others, such as CORS or tracing, every request goes through all of them.
BYPASSED = frozenset({METRICS, ACCESS_LOG, "ContextMiddleware"})
# BentoML's description of its own endpoints: of ours it knows nothing.
HIDDEN = frozenset({"/schema.json"})


class ThinnedService(bentoml.Service[Any]):
    """A BentoML service without the middlewares that cost more than they give, and with one envelope for all errors."""

    def to_asgi(self, is_main: bool = True) -> Starlette:
        """Make the server's application, as BentoML does for every worker process."""
        app: Starlette = super().to_asgi(is_main=is_main)
        dropped = _dropped()
        app.user_middleware = [m for m in app.user_middleware if _name(m) not in dropped]
        http = next(mounted for mounted, *_ in self.mount_apps if isinstance(mounted, Starlette))
        names = [_name(middleware) for middleware in app.user_middleware]
        meters = RequestMetrics() if METRICS in names else None
        if meters:
            place = names.index(METRICS)
            metered: Any = meters.around
            app.user_middleware[place] = Middleware(metered, **app.user_middleware[place].kwargs)
        app.user_middleware.insert(
            0,
            Middleware(ProblemMiddleware, paths=_paths(app), check_ready=lambda: http.state.host.engine),
        )
        if set(names) <= BYPASSED:
            app.user_middleware.insert(
                0, Middleware(FastPath, lanes=http.state.lanes, meters=meters, log=ACCESS_LOG in names)
            )
        return app


def _name(middleware: Middleware) -> str:
    return str(getattr(middleware.cls, "__name__", ""))


def _dropped() -> set[str]:
    """Names of middlewares to leave out.

    `TimeoutMiddleware` never cancels its timers: each request keeps its objects for the whole timeout, and the garbage
    collector stops the service for up to 250 ms under load. It ends no computation either.
    `OpenTelemetryMiddleware` costs 0.2 ms a request, half of an empty one, even where no traces go anywhere.
    """
    from bentoml._internal.configuration.containers import BentoMLContainer

    traced = BentoMLContainer.tracing.exporter_type.get() is not None
    return {"TimeoutMiddleware"} | (set() if traced else {"OpenTelemetryMiddleware"})


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
    return paths - HIDDEN
