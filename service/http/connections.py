"""What connections may take, and how one that takes more is answered: before there is a request, as bytes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from thinned.models.errors import OverloadedError
from thinned.service.http.bounded_protocol import Bounds, bound_connections
from thinned.service.http.gate import OverloadGate
from thinned.service.http.paths import is_costly
from thinned.service.http.problem_details import problem
from thinned.service.http.request_id import HEADER, named_request
from thinned.service.http.request_log import NO_SNIFFING
from thinned.service.inference.catalogue import Catalogue

__all__ = ["bound_connections_of"]

log = logging.getLogger("bentoml.thinned")

_REASONS = {HTTPStatus.REQUEST_TIMEOUT: "slow", HTTPStatus.SERVICE_UNAVAILABLE: "full"}


def bound_connections_of(app: Starlette) -> None:
    """Bound the connections of this process by the settings of the application's models.

    Args:
        app: The application; `app.state.models` is there once the server has started.
    """

    def bounds() -> Bounds:
        settings = app.state.models.settings
        return Bounds(
            header_bytes=settings.max_header_bytes,
            header_timeout_s=settings.header_timeout_s,
            connections=settings.max_connections,
            at_once=settings.max_waiting + 1,
            costly=is_costly,
        )

    gate = OverloadGate(lambda: app.state.models)
    bound_connections(bounds, _refusal(lambda: app.state.models), gate.busy, gate)


def _refusal(models: Callable[[], Catalogue]) -> Callable[[int, str], bytes]:
    def refuse(code: int, detail: str) -> bytes:
        status = HTTPStatus(code)
        if status in _REASONS:
            models().first.metrics.refused(_REASONS[status])
        with named_request(()) as name:
            full = status == HTTPStatus.SERVICE_UNAVAILABLE
            answer = problem(OverloadedError(detail) if full else HTTPException(status, detail))
            log.info("refused before there was a request: %d, %s", status, detail)
        answer.headers["connection"] = "close"
        headers = [*answer.raw_headers, (HEADER, name), NO_SNIFFING]
        lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), *(b"%b: %b" % header for header in headers)]
        return b"\r\n".join([*lines, b"", bytes(answer.body)])

    return refuse
