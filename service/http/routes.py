"""The HTTP application: its routes and their errors. It knows no BentoML, which mounts it; tests run it alone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from thinned.models.errors import ThinnedError
from thinned.service.http import inference_protocol as protocol
from thinned.service.http.admin import reload_model
from thinned.service.http.content_kinds import Terms, terms_of, terms_of_stream
from thinned.service.http.json_endpoint import Answerer, JsonEndpoint
from thinned.service.http.named_models import manager_of, named_model
from thinned.service.http.page import INDEX, PAGE_HEADERS
from thinned.service.http.paths import INFER, NAMED
from thinned.service.http.predictions import predict, predict_mc
from thinned.service.http.problem_details import answer_to
from thinned.service.http.streams import predict_mc_stream
from thinned.service.http.ui_page import ui_routes
from thinned.service.inference.catalogue import Catalogue
from thinned.service.inference.model_manager import ModelManager
from thinned.service.metrics.exposition import exposition
from thinned.service.metrics.workers import Workers
from thinned.service.schema.client_schema import describe_to_clients
from thinned.service.schema.openapi import describe_api
from thinned.service.schema.raw_body import KINDS

__all__ = ["create_app"]

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

log = logging.getLogger("bentoml.thinned")


def create_app(models: Catalogue | ModelManager | None = None) -> Starlette:
    """Make the application.

    Args:
        models: The models to serve, or one alone; or set `app.state.models` before the first request.

    Returns:
        The application.
    """

    def manager(scope: Scope) -> ModelManager:
        return manager_of(app.state.models, scope["path"])

    app = Starlette(
        routes=[
            *_model_routes("", manager),
            Route("/models", _answering(_models), methods=["GET"]),
            *_model_routes(NAMED, manager),
            Route(f"{NAMED}/comparison", _answering(_comparison), methods=["GET"]),
            Route("/admin/reload", _answering(reload_model), methods=["POST"]),
            Route("/metrics", _answering(_metrics), methods=["GET"]),
            Route("/", _answering(_index), methods=["GET"]),
            *ui_routes(),
            *_protocol_routes(manager),
        ],
        exception_handlers={HTTPException: _http_exception},
    )
    if models is not None:
        app.state.models = models if isinstance(models, Catalogue) else Catalogue({models.name: models})
    return app


def _model_routes(prefix: str, manager: Callable[[Scope], ModelManager]) -> list[Route]:
    """The routes of a model: of the first without a prefix, of each behind one that names it."""
    by_post: dict[str, tuple[Answerer, Callable[[Scope], Terms]]] = {
        "/predict": (predict, terms_of),
        "/predict_mc": (predict_mc, terms_of),
        "/predict_mc/stream": (predict_mc_stream, terms_of_stream),
    }
    by_get = {"/model": _model, "/docs.json": _docs, "/openapi.json": _docs, "/schema.json": _schema}
    return [
        *(
            Route(prefix + path, JsonEndpoint(answer, manager, kinds=KINDS, terms=terms), methods=["POST"])
            for path, (answer, terms) in by_post.items()
        ),
        *(Route(prefix + path, _answering(answer), methods=["GET"]) for path, answer in by_get.items()),
    ]


def _protocol_routes(manager: Callable[[Scope], ModelManager]) -> list[Route]:
    """The routes of the Open Inference Protocol."""
    answers = {
        "/v2": protocol.server,
        "/v2/": protocol.server,
        "/v2/health/live": protocol.live,
        "/v2/health/ready": protocol.ready,
    }
    for one in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        answers |= {one: protocol.model, f"{one}/ready": protocol.model_ready}
    infer = protocol.InferEndpoint(manager)
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


async def _models(request: Request) -> Response:
    models: Catalogue = request.app.state.models
    told = []
    for name, manager in models.items():
        shadow = models.shadow_of(name)
        unseen = None if shadow is None else shadow.manager.reference
        told.append({"name": name, "version": manager.version, "ready": manager.is_ready(), "shadow": unseen})
    return JSONResponse({"models": told})


async def _comparison(request: Request) -> Response:
    manager, models = _manager(request), request.app.state.models
    shadow = models.shadow_of(manager.name)
    if shadow is None:
        how = f"`thinned serve {manager.name} OTHER@shadow` gives it one"
        raise HTTPException(404, f"{manager.name} has no shadow to be compared with; {how}.")
    return JSONResponse(shadow.told())


async def _docs(request: Request) -> Response:
    manager = _manager(request)
    stored, name = manager.stored, named_model(request.scope["path"])
    prefix = "" if name is None else f"/models/{name}"
    return JSONResponse(describe_api(stored.card, stored.version, manager.settings, prefix=prefix))


async def _schema(request: Request) -> Response:
    manager = _manager(request)
    return JSONResponse(describe_to_clients(manager.stored.card, manager.stored.version, manager.settings))


async def _metrics(request: Request) -> Response:
    metrics, app = _manager(request).metrics, request.app
    workers = getattr(app.state, "workers", None) or Workers(metrics)
    content, media_type = exposition(metrics, workers, request.headers.get("accept", ""))
    return Response(content, media_type=media_type)


async def _index(_: Request) -> Response:
    return HTMLResponse(INDEX, headers=PAGE_HEADERS)


def _manager(request: Request) -> ModelManager:
    return manager_of(request.app.state.models, request.scope["path"])
