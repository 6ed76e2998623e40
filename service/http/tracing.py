"""One span a request, for OpenTelemetry; nothing of it is imported or done where no traces are asked for.

BentoML's own middleware for traces makes three spans a request and takes 0.2 ms. It stays for those who have configured
BentoML to export traces; here a setting is enough.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thinned._version import __version__
from thinned.models.errors import SettingsError
from thinned.service.http.access import HEALTH
from thinned.service.http.paths import Paths
from thinned.service.http.request_id import current_request_id, current_trace_id

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["TraceMiddleware", "Traces", "annotate", "make_traces"]

NOT_TRACED = frozenset({"/metrics", *HEALTH})
_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_span: ContextVar[Any] = ContextVar("thinned_span", default=None)


class Traces:
    """Makes spans and sends them on.

    Args:
        provider: Where spans go.
        model: Tells the model that answers a path, name:version.
    """

    def __init__(self, provider: TracerProvider, model: Callable[[str], str]) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("thinned", __version__)
        self._extract = TraceContextTextMapPropagator().extract
        self._model = model

    async def traced(self, app: ASGIApp, route: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a request of a route answered within a span, which continues the trace of the header `traceparent`."""
        carrier = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        with self._tracer.start_as_current_span(
            f"{scope['method']} {route}",
            context=self._extract(carrier),
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "http.request.method": scope["method"],
                "http.route": route,
                "thinned.model": self._model(scope["path"]),
                "thinned.request_id": current_request_id.get() or "",
            },
        ) as span:

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(self._trace.StatusCode.ERROR)
                await send(message)

            # The log line of the request is written when its context is left.
            scope["thinned_trace"] = trace_id = format(span.get_span_context().trace_id, "032x")
            before = _span.set(span), current_trace_id.set(trace_id)
            try:
                await app(scope, receive, noting)
            finally:
                _span.reset(before[0])
                current_trace_id.reset(before[1])

    def close(self) -> None:
        """Send what has not been sent."""
        self._provider.shutdown()


class TraceMiddleware:
    """ASGI middleware around the answers.

    Args:
        app: Answers the requests.
        paths: The paths that there are; no others are traced.
        traces: Gives the traces; None where none are asked for.
    """

    def __init__(self, app: ASGIApp, *, paths: set[str], traces: Callable[[], Traces | None]) -> None:
        self._app = app
        self._paths = Paths(set(paths) - NOT_TRACED)
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have it answered, in a span or without."""
        route = self._paths.route_of(scope["path"]) if scope["type"] == "http" else None
        traces = None if route is None else self._traces()
        if traces is None or route is None:
            await self._app(scope, receive, send)
        else:
            await traces.traced(self._app, route, scope, receive, send)


def annotate(**attributes: float) -> None:
    """Write numbers into the span of the request under way, as `thinned.NAME`."""
    span = _span.get()
    if span is not None:
        for name, value in attributes.items():
            span.set_attribute(f"thinned.{name}", value)


def make_traces(kind: str, model: Callable[[str], str]) -> Traces | None:
    """The traces that the setting asks for: `off`, `console`, or `otlp`, which OpenTelemetry's own variables direct.

    Raises:
        SettingsError: The exporter is not installed.
    """
    if kind == "off":
        return None
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    if kind == "console":
        exporter: Any = ConsoleSpanExporter(out=sys.stdout, formatter=lambda span: span.to_json(indent=None) + "\n")
    else:
        try:
            exporter = importlib.import_module(_EXPORTER).OTLPSpanExporter()
        except ImportError:
            raise SettingsError(
                "THINNED_TRACES: otlp needs the package opentelemetry-exporter-otlp-proto-http, which is not installed"
            ) from None
    name = os.environ.get("OTEL_SERVICE_NAME", "thinned")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Traces(provider, model)
