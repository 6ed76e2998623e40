from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from thinned.service.app import UncertaintyService
from thinned.service.http.routes import create_app
from thinned.service.http.short_way import ShortWay

ROUTES = create_app().routes
SHORT = ["/predict", "/predict_mc", "/predict_mc/stream"]


class Noted:
    """An application that notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(f"{scope.get('method')} {scope.get('path')}")


def ways_of(**scope: object) -> tuple[int, int]:
    """How often the router, and an endpoint, were asked for a request."""
    router, endpoint = Noted(), Noted()
    way = ShortWay(router, routes=ROUTES)
    way._endpoints = dict.fromkeys(way._endpoints, endpoint)  # type: ignore[arg-type]

    async def receive() -> dict[str, object]:
        raise AssertionError

    async def send(_: object) -> None:
        raise AssertionError

    asyncio.run(way(scope, receive, send))
    return len(router.asked), len(endpoint.asked)


@pytest.mark.parametrize("path", SHORT)
def test_rows_go_to_their_endpoint(path: str) -> None:
    assert ways_of(type="http", method="POST", path=path) == (0, 1)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/predict"),
        ("OPTIONS", "/predict_mc"),
        ("POST", "/predict/"),
        ("POST", "/admin/reload"),
        ("POST", "/models/digits/predict"),
        ("POST", "/models/{name}/predict"),
        ("POST", "/v2/models/digits/infer"),
    ],
)
def test_all_else_goes_to_the_router(method: str, path: str) -> None:
    assert ways_of(type="http", method=method, path=path) == (1, 0)


def test_what_is_no_request_goes_to_the_router() -> None:
    assert ways_of(type="lifespan") == (1, 0)


def test_the_service_has_it_innermost() -> None:
    innermost = UncertaintyService.to_asgi().user_middleware[-1]
    assert innermost.cls is ShortWay
    assert sorted(ShortWay(Noted(), **innermost.kwargs)._endpoints) == sorted(SHORT)
