"""Paths and the routes that they belong to: `/v2/models/digits/infer` is one of `/v2/models/{name}/infer`.

Whatever is kept for each path, such as a row of the metrics, is kept by route: of these there are few, whatever is
asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from starlette.routing import compile_path

__all__ = ["COSTLY", "INFER", "NAMED", "Paths", "is_costly", "is_protocol"]


class Paths:
    """The paths that an application answers.

    Args:
        routes: Paths, or patterns with `{name}` in the place of one segment.
    """

    def __init__(self, routes: Iterable[str]) -> None:
        routes = frozenset(routes)
        self._fixed = frozenset(route for route in routes if "{" not in route)
        self._patterns = [(compile_path(route)[0], route) for route in sorted(routes - self._fixed)]

    def route_of(self, path: str) -> str | None:
        """The route of a path; None where there is none."""
        if path in self._fixed:
            return path
        return next((route for pattern, route in self._patterns if pattern.match(path)), None)


INFER = ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer")
NAMED = "/models/{name}"
"""Before the paths of one model of several."""
_ROWS = ("/predict", "/predict_mc", "/predict_mc/stream")
COSTLY = Paths({*_ROWS, *(NAMED + path for path in _ROWS), *INFER})
"""Of these a request has rows to be read and answered."""


def is_protocol(path: str) -> bool:
    """Whether a path belongs to the Open Inference Protocol, which has its own form for errors."""
    return path == "/v2" or path.startswith("/v2/")


def is_costly(path: bytes) -> bool:
    """Whether a path, as it came, is one of the costly ones."""
    text = path.decode("latin-1")
    return COSTLY.route_of(unquote(text) if "%" in text else text) is not None
