"""The HTTP application: four routes and their errors. It knows no BentoML, which mounts it; tests run it alone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from thinned.models.errors import ThinnedError
from thinned.service.http.json_endpoint import JsonEndpoint
from thinned.service.http.page import INDEX
from thinned.service.http.problem_details import problem
from thinned.service.inference.model_manager import Gone, ModelManager
from thinned.service.schema.openapi import describe_api
from thinned.service.schema.request_fields import parse, read_predict, read_predict_mc
from thinned.service.schema.response_body import encode, parts_answer, predict_answer, predict_mc_answer

if TYPE_CHECKING:
    from thinned.service.inference.jobs import Job

__all__ = ["create_app"]

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")

log = logging.getLogger("bentoml.thinned")

# Beyond these, JSON takes longer to read or write than a thread to wake, and would hold up the event loop.
INLINE_BYTES = 64 * 1024
INLINE_NUMBERS = 4096
JSON_THREADS = 2


def create_app(host: ModelManager | None = None) -> Starlette:
    """Make the application.

    Args:
        host: The model to serve; or set `app.state.host` before the first request.

    Returns:
        The application. `app.state.lanes` holds, by path, what answers POST there, for who would go there directly.
    """

    def host_of(_: Scope) -> ModelManager:
        return cast(ModelManager, app.state.host)

    json_threads = CapacityLimiter(JSON_THREADS)

    async def here_or_in_a_thread(call: Callable[[], T], *, here: bool) -> T:
        return call() if here else await run_sync(call, limiter=json_threads)

    async def predict(body: bytes, host: ModelManager, gone: Gone) -> tuple[bytes, bytes]:
        card, settings = host.stored.card, host.settings
        request = await here_or_in_a_thread(
            lambda: read_predict(parse(body), card, settings), here=len(body) <= INLINE_BYTES
        )
        job = await host.predict(request, gone)
        outputs, most = job.outputs, settings.max_returned_numbers
        content = await here_or_in_a_thread(
            lambda: encode(predict_answer(outputs, card, host.stored.version, max_numbers=most)),
            here=sum(array.size for array in outputs.values()) <= INLINE_NUMBERS,
        )
        return content, _timing(job)

    async def predict_mc(body: bytes, host: ModelManager, gone: Gone) -> tuple[bytes, bytes]:
        card, settings = host.stored.card, host.settings
        request = await here_or_in_a_thread(
            lambda: read_predict_mc(parse(body), card, settings), here=len(body) <= INLINE_BYTES
        )
        job = await host.sample(request, gone)

        def write() -> bytes:
            statistics = job.statistics()
            parts = None
            if request.separate or request.coverage is not None:
                parts = parts_answer(
                    statistics,
                    job.kept,
                    card,
                    n_samples=job.passes,
                    separate=request.separate,
                    coverage=request.coverage,
                )
            return encode(
                predict_mc_answer(
                    statistics,
                    card,
                    host.stored.version,
                    n_samples=job.passes,
                    seed=job.known_seed,
                    sampling=job.sampling,
                    converged=job.converged(),
                    parts=parts,
                    max_numbers=settings.max_returned_numbers,
                )
            )

        return await here_or_in_a_thread(write, here=job.numbers <= INLINE_NUMBERS), _timing(job)

    lanes = {"/predict": JsonEndpoint(predict, host_of), "/predict_mc": JsonEndpoint(predict_mc, host_of)}
    app = Starlette(
        routes=[
            *(Route(path, lane, methods=["POST"]) for path, lane in lanes.items()),
            Route("/model", _answering(_model), methods=["GET"]),
            Route("/docs.json", _answering(_docs), methods=["GET"]),
            Route("/", _answering(_index), methods=["GET"]),
        ],
        exception_handlers={HTTPException: _http_exception},
    )
    app.state.lanes = lanes
    if host is not None:
        app.state.host = host
    return app


def _timing(job: Job) -> bytes:
    """The header Server-Timing: milliseconds in graph calls of its own, and in waiting for them."""
    queue_ms = 1e3 * max(0.0, job.took_s - job.compute_s)
    return b"queue;dur=%.3f, compute;dur=%.3f" % (queue_ms, 1e3 * job.compute_s)


def _answering(endpoint: Endpoint) -> Endpoint:
    """Have every error of an endpoint answered as a problem, so that none gets as far as a bare 500."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (ThinnedError, HTTPException) as error:
            return problem(error)
        except Exception as error:
            log.exception("%s %s failed", request.method, request.url.path)
            return problem(error)

    return answer


async def _http_exception(_: Request, error: Exception) -> Response:
    return problem(error)


async def _model(request: Request) -> Response:
    host = _host(request)
    card = host.stored.card.model_dump(mode="json")
    return JSONResponse({**card, "version": host.stored.version, "limits": host.settings.limits()})


async def _docs(request: Request) -> Response:
    host = _host(request)
    return JSONResponse(describe_api(host.stored.card, host.stored.version, host.settings))


async def _index(_: Request) -> Response:
    return HTMLResponse(INDEX)


def _host(request: Request) -> ModelManager:
    return cast(ModelManager, request.app.state.host)
