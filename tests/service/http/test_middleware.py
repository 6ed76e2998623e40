from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.service.conftest import Served
from thinned.models.errors import NotReadyError
from thinned.service.http.middleware import ProblemMiddleware
from thinned.service.http.problem_details import ProblemResponse


async def fails(_: Request) -> Response:
    raise RuntimeError("secret")


async def refuses(_: Request) -> Response:
    return PlainTextResponse("secret", status_code=429)


async def fine(_: Request) -> Response:
    return PlainTextResponse("fine")


async def problem(_: Request) -> Response:
    return ProblemResponse({"title": "ours"}, status_code=409)


def not_ready() -> None:
    raise NotReadyError("still loading")


ROUTES = [
    Route("/fails", fails),
    Route("/refuses", refuses),
    Route("/fine", fine),
    Route("/problem", problem),
    Route("/readyz", fine),
    Route("/hidden", fine),
    Route("/v2/models/{name}", refuses),
]
PATHS = {"/fails", "/refuses", "/fine", "/problem", "/readyz", "/v2/models/{name}"}
APP = Starlette(routes=ROUTES, middleware=[Middleware(ProblemMiddleware, paths=PATHS, check_ready=not_ready)])


@pytest.mark.parametrize(
    ("path", "status", "title"),
    [
        ("/fails", 500, "Internal error"),
        ("/refuses", 429, "Too Many Requests"),
        ("/problem", 409, "ours"),
        ("/readyz", 503, "The model is not ready"),
        ("/hidden", 404, "Not Found"),
        ("/nowhere", 404, "Not Found"),
    ],
)
def test_every_refusal_is_a_problem(loading: Served, path: str, status: int, title: str) -> None:
    response = loading.ask_of(APP, "GET", path)
    assert (response.status_code, response.json()["title"]) == (status, title)
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text


@pytest.mark.parametrize(("path", "status"), [("/v2/models/a", 429), ("/v2/nothing", 404), ("/v2/models/a/b", 404)])
def test_a_refusal_of_the_protocol_has_its_form(loading: Served, path: str, status: int) -> None:
    response = loading.ask_of(APP, "GET", path)
    assert (response.status_code, list(response.json())) == (status, ["error"])
    assert "secret" not in response.text


def test_an_answer_passes_untouched(loading: Served) -> None:
    response = loading.ask_of(APP, "GET", "/fine")
    assert (response.status_code, response.text) == (200, "fine")


def test_a_failure_is_in_the_log(loading: Served, caplog: pytest.LogCaptureFixture) -> None:
    loading.ask_of(APP, "GET", "/fails")
    assert "secret" in caplog.text
