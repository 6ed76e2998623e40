"""The HTTP application: its routes and their errors. It knows no BentoML, which mounts it; tests run it alone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from thinned.models.errors import ThinnedError
from thinned.service.http import inference_protocol as protocol
from thinned.service.http.admin import reload_model
from thinned.service.http.content_kinds import terms_of, terms_of_stream
from thinned.service.http.json_endpoint import JsonEndpoint
from thinned.service.http.page import INDEX, PAGE_HEADERS
from thinned.service.http.paths import INFER
from thinned.service.http.predictions import predict, predict_mc
from thinned.service.http.problem_details import answer_to
from thinned.service.http.streams import predict_mc_stream
from thinned.service.http.ui_page import ui_routes
from thinned.service.inference.model_manager import ModelManager
from thinned.service.metrics.exposition import exposition
from thinned.service.metrics.workers import Workers
from thinned.service.schema.client_schema import describe_to_clients
from thinned.service.schema.openapi import describe_api
from thinned.service.schema.raw_body import KINDS

__all__ = ["create_app"]

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

log = logging.getLogger("bentoml.thinned")


def create_app(manager: ModelManager | None = None) -> Starlette:
    """Make the application.

    Args:
        manager: The model to serve; or set `app.state.manager` before the first request.

    Returns:
        The application.
    """

    def manager_of(_: Scope) -> ModelManager:
        return cast(ModelManager, app.state.manager)

    app = Starlette(
        routes=[
            Route("/predict", JsonEndpoint(predict, manager_of, kinds=KINDS, terms=terms_of), methods=["POST"]),
            Route("/predict_mc", JsonEndpoint(predict_mc, manager_of, kinds=KINDS, terms=terms_of), methods=["POST"]),
            Route(
                "/predict_mc/stream",
                JsonEndpoint(predict_mc_stream, manager_of, kinds=KINDS, terms=terms_of_stream),
                methods=["POST"],
            ),
            Route("/model", _answering(_model), methods=["GET"]),
            Route("/docs.json", _answering(_docs), methods=["GET"]),
            Route("/openapi.json", _answering(_docs), methods=["GET"]),
            Route("/admin/reload", _answering(reload_model), methods=["POST"]),
            Route("/schema.json", _answering(_schema), methods=["GET"]),
            Route("/metrics", _answering(_metrics), methods=["GET"]),
            Route("/", _answering(_index), methods=["GET"]),
            *ui_routes(),
            *_protocol_routes(manager_of),
        ],
        exception_handlers={HTTPException: _http_exception},
    )
    if manager is not None:
        app.state.manager = manager
    return app


def _protocol_routes(manager_of: Callable[[Scope], ModelManager]) -> list[Route]:
    """The routes of the Open Inference Protocol."""
    answers = {
        "/v2": protocol.server,
        "/v2/": protocol.server,
        "/v2/health/live": protocol.live,
        "/v2/health/ready": protocol.ready,
    }
    for one in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        answers |= {one: protocol.model, f"{one}/ready": protocol.model_ready}
    infer = protocol.InferEndpoint(manager_of)
    return [
        *(Route(path, _answering(answer), methods=["GET"]) for path, answer in answers.items()),
        *(Route(path, infer, methods=["POST"]) for path in INFER),
    ]


def _answering(endpoint: Endpoint) -> Endpoint:
    """Have every error of an endpoint answered as a problem, so that none gets as far as a bare 500."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (ThinnedError, HTTPException) as error:
            return answer_to(error, request.url.path)
        except Exception as error:
            log.exception("%s %s failed", request.method, request.url.path)
            return answer_to(error, request.url.path)

    return answer


async def _http_exception(request: Request, error: Exception) -> Response:
    return answer_to(error, request.url.path)


async def _model(request: Request) -> Response:
    manager = _manager(request)
    card = manager.stored.card.summary()
    return JSONResponse({**card, "version": manager.stored.version, "limits": manager.settings.limits()})


async def _docs(request: Request) -> Response:
    manager = _manager(request)
    return JSONResponse(describe_api(manager.stored.card, manager.stored.version, manager.settings))


async def _schema(request: Request) -> Response:
    manager = _manager(request)
    return JSONResponse(describe_to_clients(manager.stored.card, manager.stored.version, manager.settings))


async def _metrics(request: Request) -> Response:
    manager, app = _manager(request), request.app
    workers = getattr(app.state, "workers", None) or Workers(manager.metrics)
    content, media_type = exposition(manager.metrics, workers, request.headers.get("accept", ""))
    return Response(content, media_type=media_type)


async def _index(_: Request) -> Response:
    return HTMLResponse(INDEX, headers=PAGE_HEADERS)


def _manager(request: Request) -> ModelManager:
    return cast(ModelManager, request.app.state.manager)
