"""The Open Inference Protocol, version 2, over HTTP: server, model, and inference, in JSON or with bytes behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from thinned._version import __version__
from thinned.models.card import ModelCard
from thinned.models.errors import MalformedBodyError
from thinned.models.uncertainty.answer import told_by_passes
from thinned.service.http.body_parsing import (
    INLINE_BYTES,
    INLINE_QUOTES,
    MEDIUM_BYTES,
    Asked,
    hold_inputs,
    read_in_turn,
)
from thinned.service.http.json_endpoint import Answer, JsonEndpoint
from thinned.service.http.named_models import manager_of
from thinned.service.http.predictions import (
    INLINE_NUMBERS,
    here_or_in_a_thread,
    noted_answers,
    predicted,
    sampled,
    timing,
)
from thinned.service.inference.answers import stopped_by
from thinned.service.inference.garbage import no_look
from thinned.service.inference.model_manager import ModelManager
from thinned.service.inference.served_model import ServedModel
from thinned.service.schema.inference_answer import EXTENSIONS, encode_inference, model_metadata
from thinned.service.schema.inference_request import Inference, read_inference, split_body
from thinned.service.schema.input_arrays import numpy_dtype
from thinned.service.schema.protocol_outputs import arrays_of_passes, arrays_of_prediction, default_outputs
from thinned.service.schema.request_body import check_structure
from thinned.service.schema.request_fields import PredictRequest, SampleRequest

__all__ = ["InferEndpoint", "live", "model", "model_ready", "ready", "server"]

KINDS = ("application/json", "application/octet-stream")
_HEADER = b"inference-header-content-length"
_BINARY_KIND = (b"content-type", b"application/octet-stream")
_TEXT_BYTES = 4096
"""Bodies of a model that reads text, up to which they are read in the event loop."""
_BYTES_FOR_A_NUMBER = 64
"""A number in JSON takes as long to write as so many of them in bytes."""


async def server(_: Request) -> Response:
    """Metadata of the server."""
    return JSONResponse({"name": "thinned", "version": __version__, "extensions": list(EXTENSIONS)})


async def live(_: Request) -> Response:
    """The process lives."""
    return JSONResponse({"live": True})


async def ready(request: Request) -> Response:
    """All models are loaded and checked, and the compute thread turns; raises `NotReadyError` where one is not."""
    request.app.state.models.check_ready()
    return JSONResponse({"live": True, "ready": True})


async def model(request: Request) -> Response:
    """Metadata of the model; raises `HTTPException` for another."""
    stored = _manager(request).stored
    _check_version(request.path_params, stored.card, stored.version)
    return JSONResponse(model_metadata(stored.card, stored.version))


async def model_ready(request: Request) -> Response:
    """As `ready`, for the model of this name."""
    manager = _manager(request)
    _check_version(request.path_params, manager.stored.card, manager.stored.version)
    manager.check_ready()
    return JSONResponse({"name": manager.stored.card.name, "ready": True})


class InferEndpoint:
    """An ASGI application that answers inference requests.

    Args:
        manager: Gives the model to answer with; called for each request.
    """

    def __init__(self, manager: Callable[[Scope], ModelManager]) -> None:
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        def check(served: ServedModel) -> None:
            _check_version(scope["path_params"], served.card, served.version)

        async def answer(body: bytes, served: ServedModel, asked: Asked) -> Answer:
            return await _answer(body, _json_length(scope), served, asked)

        await JsonEndpoint(answer, self._manager, check=check, kinds=KINDS)(scope, receive, send)


async def _answer(body: bytes, length: str | None, served: ServedModel, asked: Asked) -> Answer:
    card, most = served.card, served.settings.max_returned_numbers
    asked_for = await _read(body, length, served, asked)
    request = asked_for.request
    if isinstance(request, PredictRequest):
        job: Any = await predicted(request, served, asked)
        size = sum(array.size for array in job.outputs.values())
    else:
        job, run = await sampled(request, served, asked)
        size = run.size * (4 + request.return_samples * run.drawn)
    names = list(asked_for.outputs or default_outputs(card, request if isinstance(request, SampleRequest) else None))
    binary = asked_for.outputs or dict.fromkeys(names, asked_for.binary)

    def write() -> tuple[bytes, int | None]:
        if isinstance(request, PredictRequest):
            arrays, said = arrays_of_prediction(names, job.outputs, card, max_numbers=most), None
        else:
            answers = noted_answers(job.run, request, card, asked.metrics)
            arrays, said = arrays_of_passes(names, answers, card, max_numbers=most), _said(job.run, request, answers)
        return encode_inference(arrays, binary, card, served.version, identity=asked_for.id, parameters=said)

    quick = INLINE_NUMBERS * (_BYTES_FOR_A_NUMBER if all(binary.values()) else 1)
    content, json_length = await here_or_in_a_thread(write, here=size <= quick)
    if json_length is None:
        return Answer(content, timing(job, asked.metrics))
    return Answer(content, timing(job, asked.metrics), (_BINARY_KIND, (_HEADER, b"%d" % json_length)))


async def _read(body: bytes, length: str | None, served: ServedModel, asked: Asked) -> Inference:
    """Read a body: at once if that is quick, else in a thread."""
    card, settings = served.card, served.settings
    head, tail = split_body(body, length)

    def read() -> Inference:
        with no_look():
            check_structure(head, card, settings)
            return read_inference(head, tail, card, settings)

    most = _TEXT_BYTES if any(numpy_dtype(spec.dtype).kind == "O" for spec in card.inputs) else MEDIUM_BYTES
    quick = len(head) <= INLINE_BYTES and len(body) <= most and head.count(b'"') <= INLINE_QUOTES
    found = read_inference(head, tail, card, settings) if quick else await read_in_turn(read, len(body), asked)
    hold_inputs(found.request.inputs, asked)
    return found


def _said(run: Any, request: SampleRequest, answers: Any) -> dict[str, object]:
    """What is said of an answer over passes as a whole."""
    first = told_by_passes(answers.values())
    made = {answer.estimator for answer in answers.values()}
    converged = run.converged()
    said = {
        "n_samples": run.drawn,
        "seed": run.seed,
        "sampling": run.sampling,
        "standard_error_from": first.standard_error_from,
        "degrees_of_freedom": first.degrees_of_freedom,
        "estimator": made.pop() if len(made) == 1 else None,
        "coverage": request.coverage,
        "converged": None if converged is None else bool(converged.all()),
        "stopped_by": stopped_by(run, request),
    }
    return {name: value for name, value in said.items() if value is not None}


def _json_length(scope: Scope) -> str | None:
    """The header that says how long the JSON of a body is.

    Raises:
        MalformedBodyError: It is there twice.
    """
    found = [value.decode("latin-1").strip() for name, value in scope["headers"] if name == _HEADER]
    if len(found) > 1:
        raise MalformedBodyError("expected the header Inference-Header-Content-Length once")
    return found[0] if found else None


def _check_version(named: dict[str, str], card: ModelCard, version: str) -> None:
    """Refuse what names another version than the one that is served.

    Raises:
        HTTPException: 404.
    """
    asked = named.get("version", version)
    if asked != version:
        raise HTTPException(404, f"There is no version {asked[:100]!r} of {card.name} here; {version!r} is served.")


def _manager(request: Request) -> ModelManager:
    return manager_of(request.app.state.models, request.scope["path"])
