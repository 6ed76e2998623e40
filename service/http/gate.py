"""Refuses, before the application is asked, what cannot be answered in time.

Under overload most requests are refused. Through the middlewares, the router and the log that takes the event loop half
a millisecond each, of the same cores that compute; here it takes a fifth of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from thinned.models.errors import NotReadyError, OverloadedError
from thinned.service.http.body_reader import longest_timeout_ms
from thinned.service.http.bounded_protocol import BEGAN
from thinned.service.http.named_models import manager_of, metrics_of
from thinned.service.http.paths import COSTLY
from thinned.service.http.problem_details import answer_to
from thinned.service.http.request_id import HEADER, named_request
from thinned.service.http.request_log import NO_SNIFFING
from thinned.service.inference.catalogue import Catalogue
from thinned.service.schema.problem_table import reason_of

__all__ = ["OverloadGate"]


class OverloadGate:
    """Looks at requests for predictions as they begin. Refusals are counted as any other, but not logged.

    Args:
        models: Gives the models that answer, and the metrics.
    """

    def __init__(self, models: Callable[[], Catalogue]) -> None:
        self._models = models

    def __call__(self, scope: Scope, body: bytes | None) -> ASGIApp | None:
        """What refuses a request, or None where there is room for it, as far as can be told.

        Args:
            scope: Of the request.
            body: Its body where that came whole; None where more of it is on its way.
        """
        if scope["method"] != "POST":
            return None
        try:
            manager = manager_of(self._models(), scope["path"])
            model = manager.served
            model.check_admission()
            # What is packed tells nothing of its time before it is unpacked.
            if body is not None and not any(name == b"content-encoding" for name, _ in scope["headers"]):
                longest_ms = longest_timeout_ms(body, manager.settings.timeout_ms, scope.get("query_string", b""))
                model.check_time(scope[BEGAN] + longest_ms / 1000)
        except OverloadedError as error:
            return self._refusing(error)
        except (NotReadyError, HTTPException):
            pass  # It is told why further in.
        return None

    async def busy(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request that came together with too many others."""
        error = OverloadedError("too many requests came at once, more than may wait; try again soon")
        await self._refusing(error)(scope, receive, send)

    def _refusing(self, error: OverloadedError) -> ASGIApp:
        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            path, began = scope["path"], time.perf_counter()
            metrics = metrics_of(self._models(), path)
            route = COSTLY.route_of(path) or path  # It is asked for these only.
            metrics.began(route)
            metrics.refused(reason_of(error) or "full")
            with named_request(scope["headers"]) as name:
                answer = answer_to(error, path)
            answer.raw_headers += [(HEADER, name), NO_SNIFFING]
            await answer(scope, receive, send)
            metrics.request(route, answer.status_code, time.perf_counter() - began)

        return refuse
