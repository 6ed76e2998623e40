"""The HTTP application: four routes and their errors. It knows no BentoML, which mounts it; tests run it alone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from models.errors import ThinnedError
from service.answers import encode, predict_answer, predict_mc_answer
from service.errors import BodyTooLargeError, UnsupportedBodyError, problem
from service.host import ModelHost
from service.openapi import describe_api
from service.page import INDEX
from service.schemas import parse, read_predict, read_predict_mc

__all__ = ["create_app"]

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")

log = logging.getLogger("bentoml.thinned")

# Beyond these, JSON takes longer to read or write than a thread to wake, and would hold up the event loop.
INLINE_BYTES = 64 * 1024
INLINE_NUMBERS = 4096
JSON_THREADS = 2


def create_app(host: ModelHost | None = None) -> Starlette:
    """Make the application.

    Args:
        host: The model to serve; or set `app.state.host` before the first request.
    """
    app = Starlette(
        routes=[
            Route("/predict", _answering(_predict), methods=["POST"]),
            Route("/predict_mc", _answering(_predict_mc), methods=["POST"]),
            Route("/model", _answering(_model), methods=["GET"]),
            Route("/docs.json", _answering(_docs), methods=["GET"]),
            Route("/", _answering(_index), methods=["GET"]),
        ],
        exception_handlers={HTTPException: _http_exception},
    )
    app.state.json_threads = CapacityLimiter(JSON_THREADS)
    if host is not None:
        app.state.host = host
    return app


def _answering(endpoint: Endpoint) -> Endpoint:
    """Have every error of an endpoint answered as a problem, so that none gets as far as a bare 500."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (ThinnedError, HTTPException) as error:
            return problem(error)
        except ClientDisconnect:
            return Response(status_code=400)  # No one reads it.
        except Exception as error:
            log.exception("%s %s failed", request.method, request.url.path)
            return problem(error)

    return answer


async def _http_exception(_: Request, error: Exception) -> Response:
    return problem(error)


async def _predict(request: Request) -> Response:
    host = _host(request)
    host.check_admission()
    body = await _read_body(request, host.settings.max_body_bytes)
    read = partial(_read, read_predict, body, host)
    checked = await _inline_or_thread(request, read, inline=len(body) <= INLINE_BYTES)
    outputs = await host.run(partial(host.engine.predict, checked.inputs))
    write = partial(
        predict_answer,
        outputs,
        host.stored.card,
        host.stored.version,
        max_numbers=host.settings.max_returned_numbers,
    )
    size = sum(array.size for array in outputs.values())
    return await _write(request, write, size)


async def _predict_mc(request: Request) -> Response:
    host = _host(request)
    host.check_admission()
    body = await _read_body(request, host.settings.max_body_bytes)
    read = partial(_read, read_predict_mc, body, host)
    checked = await _inline_or_thread(request, read, inline=len(body) <= INLINE_BYTES)
    statistics = await host.run(
        partial(
            host.engine.predict_mc,
            checked.inputs,
            n_samples=checked.n_samples,
            seed=checked.seed,
            quantiles=checked.quantiles,
            return_samples=checked.return_samples,
        )
    )
    write = partial(
        predict_mc_answer,
        statistics,
        host.stored.card,
        host.stored.version,
        n_samples=checked.n_samples,
        seed=checked.seed,
        max_numbers=host.settings.max_returned_numbers,
    )
    copies = 3 + len(checked.quantiles or ()) + (checked.n_samples if checked.return_samples else 0)
    size = copies * sum(output.mean.size for output in statistics.values())
    return await _write(request, write, size)


async def _model(request: Request) -> Response:
    host = _host(request)
    card = host.stored.card.model_dump(mode="json")
    return JSONResponse({**card, "version": host.stored.version, "limits": host.settings.limits()})


async def _docs(request: Request) -> Response:
    host = _host(request)
    return JSONResponse(describe_api(host.stored.card, host.stored.version, host.settings))


async def _index(_: Request) -> Response:
    return HTMLResponse(INDEX)


def _host(request: Request) -> ModelHost:
    return cast(ModelHost, request.app.state.host)


async def _read_body(request: Request, max_bytes: int) -> bytes:
    """Read the body, no further than the limit.

    Raises:
        UnsupportedBodyError: It is said not to be JSON.
        BodyTooLargeError: It is longer than the limit.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("", "application/json"):
        raise UnsupportedBodyError(f"expected the header content-type: application/json, received {kind[:60]!r}")
    length = request.headers.get("content-length", "")
    chunks: list[bytes] = []
    received = int(length) if length.isdecimal() else 0
    if received <= max_bytes:
        received = 0
        async for chunk in request.stream():
            received += len(chunk)
            if received > max_bytes:
                break
            chunks.append(chunk)
    if received > max_bytes:
        raise BodyTooLargeError(
            f"expected a body of at most {max_bytes} bytes, received {received} or more; send fewer rows"
        )
    return b"".join(chunks)


def _read(check: Callable[..., T], body: bytes, host: ModelHost) -> T:
    return check(parse(body), host.stored.card, host.settings)


async def _write(request: Request, answer: Callable[[], dict[str, Any]], size: int) -> Response:
    def write() -> bytes:
        return encode(answer())

    content = await _inline_or_thread(request, write, inline=size <= INLINE_NUMBERS)
    return Response(content, media_type="application/json")


async def _inline_or_thread(request: Request, call: Callable[[], T], *, inline: bool) -> T:
    if inline:
        return call()
    return await run_sync(call, limiter=request.app.state.json_threads)
