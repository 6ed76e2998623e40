"""The API of the model at hand as an OpenAPI 3.1 document: its own shapes and limits, and the true error bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import numpy as np

from thinned.models.card import ModelCard
from thinned.models.errors import AdminError, NotReadyError, ReloadError
from thinned.models.uncertainty.promises import calibrated_passes
from thinned.models.uncertainty.reduction import has_positions
from thinned.service.schema.comparison_fields import comparison_answer
from thinned.service.schema.image_headers import PNG
from thinned.service.schema.json_schema import Schema, array, object_of, reference
from thinned.service.schema.openapi_fields import (
    inputs,
    predict_answer,
    predict_mc_answer,
    predict_mc_request,
    predict_request,
)
from thinned.service.schema.problem_table import TABLE, UNEXPECTED, Meaning
from thinned.service.schema.raw_body import JSON, KINDS, NPZ
from thinned.service.settings import Settings

__all__ = ["describe_api"]

# An example of more numbers would bury the page.
_EXAMPLE_NUMBERS = 256


def describe_api(card: ModelCard, version: str, settings: Settings, *, prefix: str = "") -> dict[str, Any]:
    """Describe the API that serves this model under these settings.

    Args:
        card: The model's.
        version: Its version.
        settings: The limits in force.
        prefix: What stands before the paths of a model that is named; without one the paths of the service are
            described besides.
    """
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": f"Thinned: {card.name}",
            "version": version,
            "description": "A Keras model's answer, or its answer with its uncertainty over Monte Carlo passes. The "
            "Open Inference Protocol, version 2, is answered under /v2; it has a description of its own.",
        },
        "paths": {
            **{prefix + path: described for path, described in _of_a_model(card, settings).items()},
            **({} if prefix else _of_the_service()),
        },
        "components": {
            "schemas": {
                "Inputs": inputs(card.inputs, settings),
                "PredictRequest": predict_request(card, settings),
                "PredictMcRequest": predict_mc_request(card, settings),
                "PredictAnswer": predict_answer(card),
                "PredictMcAnswer": predict_mc_answer(card),
                **_model(settings),
                "ModelRef": object_of({"name": {"const": card.name}, "version": {"const": version}}),
                "Problem": _problem(),
            }
        },
    }
    if settings.tokens is not None:
        _ask_for_tokens(described, settings, prefix)
    return described


def _of_a_model(card: ModelCard, settings: Settings) -> dict[str, Any]:
    """The paths of one model: of the first as they are, of each behind `/models/NAME`."""
    anything = _json({"type": "object"})
    return {
        "/predict": {"post": _predict(card, settings)},
        "/predict_mc": {"post": _predict_mc(card, settings)},
        "/predict_mc/stream": {"post": _stream()},
        "/model": {"get": _get("model", "The model's card and the limits in force", _json(reference("Model")))},
        "/docs.json": {"get": _get("docs", "This document", anything)},
        "/openapi.json": {"get": _get("openapi", "This document", anything)},
        "/schema.json": {"get": _get("schema", "The endpoints as BentoML's clients read them", anything)},
    }


def _of_the_service() -> dict[str, Any]:
    """The paths that are those of no model."""
    maybe = {"type": ["string", "null"]}
    served = object_of({"name": _STRING, "version": maybe, "ready": {"type": "boolean"}, "shadow": maybe})
    return {
        "/models": {
            "get": _get(
                "models",
                "The models that are served, the first of them without a name too. What is described here of the first "
                "is behind /models/NAME for each, with a description of its own at /models/NAME/docs.json.",
                _json(object_of({"models": array(served)})),
            )
        },
        "/models/{name}/comparison": {"get": _comparison()},
        "/livez": {"get": _get("livez", "The process lives", _text())},
        "/readyz": {"get": _get("readyz", "All models are loaded and checked", _text(), refusals=[503])},
        "/metrics": {"get": _get("metrics", "Counters and histograms for Prometheus", _text())},
        "/admin/reload": {"post": _reload()},
    }


def _ask_for_tokens(described: dict[str, Any], settings: Settings, prefix: str) -> None:
    """Say in a description of the API where it asks for a token."""
    described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    free = {"/livez": True, "/readyz": True, "/metrics": settings.open_metrics}
    free |= dict.fromkeys(("/docs.json", "/openapi.json", "/schema.json"), settings.open_docs)
    for path, methods in described["paths"].items():
        for operation in methods.values():
            if not free.get(path.removeprefix(prefix), False):
                operation["security"] = [{"token": []}]
                operation["responses"] |= _responses({}, [int(HTTPStatus.UNAUTHORIZED)], answers=False)


def _predict(card: ModelCard, settings: Settings) -> dict[str, Any]:
    return {
        "operationId": "predict",
        "summary": "The deterministic answer, dropout off",
        "description": _other_forms(card),
        "requestBody": _body("PredictRequest", _example(card)),
        "responses": _answers("PredictAnswer", card, _PREDICT_REFUSALS),
    }


def _predict_mc(card: ModelCard, settings: Settings) -> dict[str, Any]:
    example = _example(card)
    # As many as a coverage needs that someone adds to the example.
    passes = min(calibrated_passes(card) or settings.default_samples, settings.max_samples)
    return {
        "operationId": "predict_mc",
        "summary": "Mean and variance over n_samples Monte Carlo passes",
        "description": f"Rows times n_samples may be {settings.max_row_passes} at most. The same seed gives the same "
        "passes, whatever the other rows of the request and whatever other requests are computed with it. With a "
        "tolerance or a budget_ms the answer may stand on fewer passes than n_samples; it is then the very answer "
        "that this many passes of its seed give when they are asked for. A request that stops on its own estimate of "
        "its error has an estimate that is small a little too often: read its standard errors as somewhat optimistic. "
        + _other_forms(card),
        "requestBody": _body("PredictMcRequest", example and {**example, "n_samples": passes}),
        "responses": _answers("PredictMcAnswer", card, _POST_REFUSALS),
    }


def _stream() -> dict[str, Any]:
    event = object_of(
        {
            "event": {"enum": ["progress", "answer", "error"]},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "description": "progress: a PredictMcAnswer of the passes so far, after each 32. answer: the "
                "PredictMcAnswer that /predict_mc gives. error: a Problem in its place.",
            },
        }
    )
    events = {"text/event-stream": {"schema": {**event, "description": "Of each event. Comments come while it waits."}}}
    return {
        "operationId": "predict_mc_stream",
        "summary": "The same as server-sent events, while the passes are drawn",
        "description": "What is refused before the first event is answered as by /predict_mc. The passes stop when the "
        "client leaves. Without a seed one is drawn, and all events have it.",
        "requestBody": _body("PredictMcRequest", None),
        "responses": _responses(events, _POST_REFUSALS, timed=False),
    }


def _comparison() -> dict[str, Any]:
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    described = _get(
        "comparison", "How far a model and its shadow disagree, and which is less sure", _json(comparison_answer())
    )
    described["responses"] |= _responses({}, [404, 503], answers=False, among=[_NOT_THERE, TABLE[NotReadyError]])
    return {**described, "parameters": [name]}


def _reload() -> dict[str, Any]:
    exchanged = {"model": object_of({"name": _STRING, "version": _STRING}), "changed": {"type": "boolean"}}
    answer = object_of(exchanged, {"others": array(object_of(exchanged))})
    return {
        "operationId": "reload",
        "summary": "Serve the newest version of each model, without a gap",
        "description": "It is loaded and checked beside the one that is served, and takes its place between two calls; "
        "requests under way are answered by the one that they began with. One that cannot be served changes nothing.",
        "responses": _responses(_json(answer), [403, 409], among=[TABLE[AdminError], TABLE[ReloadError]]),
    }


def _model(settings: Settings) -> dict[str, Schema]:
    """The schemas of the card, with what the service adds to it and without what it leaves out.

    All stand beside each other: generators of clients read no reference into a schema's own `$defs`.
    """
    schema = ModelCard.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    parts: dict[str, Schema] = schema.pop("$defs")
    calibration = parts["Calibration"]
    del calibration["properties"]["scores"]
    calibration["required"] = [name for name in calibration["required"] if name != "scores"]
    schema["properties"] |= {
        "version": {"type": "string"},
        "limits": object_of({name: {"type": "integer"} for name in settings.limits()}),
    }
    schema["required"] = [*schema["required"], "version", "limits"]
    schema["title"] = "Model"  # Generators name classes after titles.
    return {"Model": schema, **parts}


def _problem() -> Schema:
    place = {"type": "array", "items": {"type": ["string", "integer"]}, "examples": [["inputs", 3, 0, 2]]}
    return object_of(
        {
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
        {"errors": array(object_of({"loc": place, "msg": {"type": "string"}})), "request_id": {"type": "string"}},
    )


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _text() -> dict[str, Any]:
    return {"text/plain": {"schema": {"type": "string"}}}


def _body(schema: str, example: Mapping[str, Any] | None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": reference(schema)}
    if example:
        content["example"] = example
    return {"required": True, "content": {"application/json": content}}


def _example(card: ModelCard) -> dict[str, Any] | None:
    """One row of values that the model answers, if it is small enough to be read."""
    recipes = {spec.name: card.recipe(spec) for spec in card.inputs}
    if sum(int(np.prod(recipe.shape)) for recipe in recipes.values()) > _EXAMPLE_NUMBERS:
        return None
    rows = {name: [recipe.typical_row] for name, recipe in recipes.items()}
    return {"inputs": rows if len(rows) > 1 else next(iter(rows.values()))}


def _other_forms(card: ModelCard) -> str:
    """What bodies and answers there are besides JSON, and what becomes of images."""
    resized = [f"{spec.name} ({spec.image_resize})" for spec in card.inputs if spec.image_resize is not None]
    images = f" Images of another size are resized as tf.image.resize does it: {', '.join(resized)}." if resized else ""
    return _OTHER_FORMS + images


def _get(operation: str, summary: str, content: Mapping[str, Any], *, refusals: Sequence[int] = ()) -> dict[str, Any]:
    return {"operationId": operation, "summary": summary, "responses": _responses(content, refusals)}


_SERVER_TIMING = {
    "schema": {"type": "string"},
    "description": "Milliseconds of waiting and of its graph calls, such as queue;dur=0.2, compute;dur=1.4.",
}
_STRING = {"type": "string"}
_NOT_THERE = Meaning(HTTPStatus.NOT_FOUND, HTTPStatus.NOT_FOUND.phrase)

# Generators of clients know no other kinds of bodies, and warn of each.
_OTHER_FORMS = (
    f"Other bodies than JSON are taken too: {', '.join(kind for kind in KINDS if kind != JSON)}; the fields beside "
    "inputs are then query parameters of the same names, or parts of the form. With Accept the answer is an archive of "
    "arrays or, of one row, a picture of the map that the query parameter field names."
)
_OF_QUESTIONS = [*(meaning for error, meaning in TABLE.items() if error not in (AdminError, ReloadError)), UNEXPECTED]
_POST_REFUSALS = sorted({int(meaning.status) for meaning in _OF_QUESTIONS})
# What a model may not be calibrated for is asked for with passes only.
_PREDICT_REFUSALS = [status for status in _POST_REFUSALS if status != HTTPStatus.CONFLICT]


def _answers(schema: str, card: ModelCard, refusals: Sequence[int]) -> dict[str, Any]:
    """The responses of what answers in several forms."""
    kinds = (NPZ, PNG) if any(map(has_positions, card.outputs)) else (NPZ,)
    files = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
    return _responses({**_json(reference(schema)), **files}, refusals)


def _responses(
    content: Mapping[str, Any],
    refusals: Sequence[int],
    *,
    answers: bool = True,
    timed: bool = True,
    among: Sequence[Meaning] = _OF_QUESTIONS,
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "The answer", "content": dict(content)}} if answers else {}
    if timed and len(refusals) > 2:
        responses["200"]["headers"] = {"Server-Timing": _SERVER_TIMING}
    for status in refusals:
        titles = " or ".join(m.title for m in among if m.status == status)
        responses[str(status)] = {
            "description": titles,
            "content": {"application/problem+json": {"schema": reference("Problem")}},
        }
        if any(m.retry_after_s is not None for m in among if m.status == status):
            responses[str(status)]["headers"] = {
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}
            }
    return responses
