"""The Open Inference Protocol over gRPC, on an address of its own, in the event loop of a worker.

A call is put to the application as the request over HTTP that means the same. So tokens, limits, deadlines, metrics and
logs are those of HTTP, and a call that is cancelled frees its place as a connection does that is closed.

This module needs the extra `thinned[grpc]`; `worker` imports it where an address is set.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

import grpc
import grpc.aio
from starlette.types import ASGIApp, Message, Scope

from thinned.models.errors import InputError
from thinned.service.http.bounded_protocol import BEGAN
from thinned.service.http.grpc_messages import METHODS, SERVICE, message
from thinned.service.http.grpc_translation import inference_answer, inference_body, metadata_answer
from thinned.service.settings import Settings

__all__ = ["GrpcServer"]

log = logging.getLogger("bentoml.thinned")

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""gRPC's names of the statuses that the application answers; INTERNAL for any other."""
_PASSED_ON = ("authorization", "x-request-id", "traceparent", "tracestate")
"""Metadata that are headers of the request."""
_SHARE = 4
"""Messages are in memory before they can be counted: those of all calls at once take this part of all memory."""
_ROOM = 64 * 1024
"""Bytes of a message beside its tensors."""
_LENGTH = b"inference-header-content-length"


class _Answered(NamedTuple):
    """What the application answered."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class GrpcServer:
    """Answers calls until it is stopped.

    Args:
        app: The application with all its middlewares.
        address: Host and port. Workers share it.
        settings: The limits.
        memory: Bytes that all requests together may hold.
    """

    def __init__(self, app: ASGIApp, address: tuple[str, int], settings: Settings, memory: int) -> None:
        self._app = app
        at_once = max(1, memory // _SHARE // (settings.max_body_bytes + _ROOM))
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=min(at_once, settings.max_connections),
            options=(
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", settings.max_body_bytes + _ROOM),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", settings.max_header_bytes),
            ),
        )
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                partial(self._answer, getattr(self, f"_{name.lower()}")),
                request_deserializer=message(f"{name}Request").FromString,
                response_serializer=message(f"{name}Response").SerializeToString,
            )
            for name in METHODS
        }
        generic = grpc.method_handlers_generic_handler(SERVICE, handlers)
        self._server.add_generic_rpc_handlers((generic,))
        host, port = address
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def start(self) -> None:
        """Take calls. An address that cannot be had is told in the log; HTTP goes on."""
        try:
            self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            log.error("gRPC is not answered on %s: %s", self._address, error)
            return
        await self._server.start()
        log.info("gRPC is answered on %s", self._address)

    async def stop(self, grace_s: float | None) -> None:
        """Take no more calls, and have those that were taken answered, for so many seconds at most."""
        await self._server.stop(grace_s)

    # The methods

    async def _serverlive(self, _: Any, ask: Ask) -> Any:
        return message("ServerLiveResponse")(live=(await ask("GET", "/v2/health/live")).status == 200)

    async def _serverready(self, _: Any, ask: Ask) -> Any:
        return message("ServerReadyResponse")(ready=(await ask("GET", "/v2/health/ready")).status == 200)

    async def _modelready(self, request: Any, ask: Ask) -> Any:
        answered = await ask("GET", _path(request.name, request.version, "/ready"))
        if answered.status not in (200, 503):
            raise _RefusedError(answered)
        return message("ModelReadyResponse")(ready=answered.status == 200)

    async def _servermetadata(self, _: Any, ask: Ask) -> Any:
        return _metadata("ServerMetadataResponse", await ask("GET", "/v2"))

    async def _modelmetadata(self, request: Any, ask: Ask) -> Any:
        return _metadata("ModelMetadataResponse", await ask("GET", _path(request.name, request.version, "")))

    async def _modelinfer(self, request: Any, ask: Ask) -> Any:
        body, json_length = inference_body(request, ask.left_ms)
        path = _path(request.model_name, request.model_version, "/infer")
        answered = await ask("POST", path, body, json_length)
        if answered.status != 200:
            raise _RefusedError(answered)
        length = answered.headers.get(_LENGTH)
        return inference_answer(answered.body, None if length is None else int(length))

    async def _answer(self, method: Callable[[Any, Ask], Awaitable[Any]], request: Any, context: Any) -> Any:
        ask = Ask(self._app, context)
        try:
            return await method(request, ask)
        except InputError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except _RefusedError as refused:
            status, headers, body = refused.answered
            retry_after = headers.get(b"retry-after")
            if retry_after is not None:
                context.set_trailing_metadata((("retry-after", retry_after.decode()),))
            code = getattr(grpc.StatusCode, _STATUS.get(status, "INTERNAL"))
            await context.abort(code, _text_of(body, status))


class Ask:
    """Puts requests to the application for one call.

    Attributes:
        left_ms: How long its client waits; None where it does not say.
    """

    def __init__(self, app: ASGIApp, context: Any) -> None:
        self._app, self._context, self._began = app, context, time.monotonic()
        left_s = context.time_remaining()
        # Clients without a deadline are given one of years.
        self.left_ms = None if left_s is None or left_s > 1e6 else 1000 * left_s

    async def __call__(self, method: str, path: str, body: bytes = b"", json_length: int | None = None) -> _Answered:
        """Ask, and wait for the answer. If the call is cancelled meanwhile, the application sees its client leave."""
        gone = asyncio.Event()
        parts: list[Message] = []
        asked = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Message:
            for first in asked:
                return first
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(part: Message) -> None:
            parts.append(part)

        work = asyncio.ensure_future(self._app(self._scope(method, path, len(body), json_length), receive, send))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            gone.set()
            await asyncio.wait([work])
            raise
        headers = {name.lower(): value for name, value in parts[0].get("headers", ())} if parts else {}
        status = parts[0]["status"] if parts else 500
        return _Answered(status, headers, b"".join(part.get("body", b"") for part in parts[1:]))

    def _scope(self, method: str, path: str, length: int, json_length: int | None) -> Scope:
        headers = [(b"host", b"grpc"), (b"content-length", b"%d" % length)]
        for name, value in self._context.invocation_metadata() or ():
            if name in _PASSED_ON:
                headers.append(
                    (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1", "replace"))
                )
        if json_length is not None:
            headers += [(b"content-type", b"application/octet-stream"), (_LENGTH, b"%d" % json_length)]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "2",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": quote(path).encode(),
            "root_path": "",
            "query_string": b"",
            "headers": headers,
            "client": _host_and_port(self._context.peer()),
            "server": None,
            "state": {},
            BEGAN: self._began,
        }


class _RefusedError(Exception):
    """The application answered with an error."""

    def __init__(self, answered: _Answered) -> None:
        super().__init__(answered.status)
        self.answered = answered


def _path(name: str, version: str, last: str) -> str:
    """The path of a model, or of a version of it. Names come as they are; what is none is not found."""
    return f"/v2/models/{name}{f'/versions/{version}' if version else ''}{last}"


def _metadata(name: str, answered: _Answered) -> Any:
    if answered.status != 200:
        raise _RefusedError(answered)
    return metadata_answer(name, json.loads(answered.body))


def _text_of(body: bytes, status: int) -> str:
    """What an error says; those before the protocol's routes are problems."""
    try:
        document = json.loads(body)
        return str(document.get("error") or document.get("detail") or document.get("title"))
    except (ValueError, AttributeError):
        return f"status {status}"


def _host_and_port(peer: str) -> tuple[str, int] | None:
    """Of `ipv4:127.0.0.1:40312` or `ipv6:%5B::1%5D:40312`."""
    _, _, rest = peer.partition(":")
    host, _, port = rest.replace("%5B", "").replace("%5D", "").rpartition(":")
    return (host, int(port)) if port.isdecimal() else None
