"""The API of the model at hand as an OpenAPI 3.1 document: its own shapes and limits, and the true error bodies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeAlias

import numpy as np

from thinned.models.card import InputSpec, ModelCard, OutputSpec
from thinned.service.http.problem_details import TABLE, UNEXPECTED
from thinned.service.inference.seeds import SEEDS
from thinned.service.schema.input_arrays import numpy_dtype
from thinned.service.schema.openapi_fields import answer_parts, request_parts
from thinned.service.schema.request_fields import MAX_QUANTILES, SAMPLINGS
from thinned.service.schema.response_body import MOMENTS, UNCERTAINTIES
from thinned.service.settings import Settings

__all__ = ["describe_api"]

Schema: TypeAlias = dict[str, Any]

# An example of more numbers would bury the page.
_EXAMPLE_NUMBERS = 256


def describe_api(card: ModelCard, version: str, settings: Settings) -> dict[str, Any]:
    """Describe the API that serves this model under these settings."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Thinned: {card.name}",
            "version": version,
            "description": "A Keras model's answer, or its answer with its uncertainty over Monte Carlo passes.",
        },
        "paths": {
            "/predict": {"post": _predict(card, settings)},
            "/predict_mc": {"post": _predict_mc(card, settings)},
            "/model": {
                "get": _get("model", "The model's card and the limits in force", _json({"$ref": _ref("Model")}))
            },
            "/docs.json": {"get": _get("docs", "This document", _json({"type": "object"}))},
            "/livez": {"get": _get("livez", "The process lives", _text())},
            "/readyz": {"get": _get("readyz", "The model is loaded and proved", _text(), refusals=[503])},
            "/metrics": {"get": _get("metrics", "Counters and histograms for Prometheus", _text())},
        },
        "components": {
            "schemas": {
                "Inputs": _inputs(card.inputs, settings),
                "PredictRequest": _object({"inputs": {"$ref": _ref("Inputs")}}, {"timeout_ms": _timeout_ms(settings)}),
                "PredictMcRequest": _predict_mc_request(card, settings),
                "PredictAnswer": _object(
                    {"outputs": _by_output(card.outputs, _rows), "model": {"$ref": _ref("ModelRef")}}
                ),
                "PredictMcAnswer": _predict_mc_answer(card),
                "Model": _model(settings),
                "ModelRef": _object({"name": {"const": card.name}, "version": {"const": version}}),
                "Problem": _problem(),
            }
        },
    }


def _predict(card: ModelCard, settings: Settings) -> dict[str, Any]:
    return {
        "operationId": "predict",
        "summary": "The deterministic answer, dropout off",
        "requestBody": _body("PredictRequest", _example(card.inputs)),
        "responses": _responses(_json({"$ref": _ref("PredictAnswer")}), _PREDICT_REFUSALS),
    }


def _predict_mc(card: ModelCard, settings: Settings) -> dict[str, Any]:
    example = _example(card.inputs)
    return {
        "operationId": "predict_mc",
        "summary": "Mean and variance over n_samples Monte Carlo passes",
        "description": f"Rows times n_samples may be {settings.max_row_passes} at most. The same seed gives the same "
        "passes, whatever the other rows of the request and whatever other requests are computed with it. With a "
        "tolerance or a budget_ms the answer may stand on fewer passes than n_samples; it is then the very answer "
        "that this many passes of its seed give when they are asked for. A request that stops on its own estimate of "
        "its error has an estimate that is small a little too often: read its standard errors as somewhat optimistic.",
        "requestBody": _body("PredictMcRequest", example and {**example, "n_samples": settings.default_samples}),
        "responses": _responses(_json({"$ref": _ref("PredictMcAnswer")}), _POST_REFUSALS),
    }


def _inputs(specs: Sequence[InputSpec], settings: Settings) -> Schema:
    arrays = {spec.name: _nested((settings.max_rows, *spec.shape), _number(spec), settings) for spec in specs}
    named = _object(arrays)
    return named if len(specs) > 1 else {"oneOf": [*arrays.values(), named]}


def _nested(shape: tuple[int | None, ...], number: Schema, settings: Settings) -> Schema:
    """Lists in lists; the first axis is the rows, of which there may be fewer."""
    schema = number
    for axis, length in reversed(list(enumerate(shape))):
        shortest = 1 if axis == 0 or length is None else length
        longest = settings.max_length if length is None else length
        schema = {"type": "array", "items": schema, "minItems": shortest, "maxItems": longest}
    return schema


def _number(spec: InputSpec) -> Schema:
    dtype = numpy_dtype(spec.dtype)
    if dtype.kind == "b":
        return {"type": "boolean"}
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
    return {"type": "number", "description": f"Finite in {dtype.name}."}


def _predict_mc_request(card: ModelCard, settings: Settings) -> Schema:
    optional: dict[str, Schema] = {
        "n_samples": {
            "type": "integer",
            "minimum": 2,
            "maximum": settings.max_samples,
            "default": settings.default_samples,
            "description": "Monte Carlo passes; the most there may be with a tolerance or a budget_ms.",
        },
        "seed": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": SEEDS - 1,
            "default": None,
            "description": "Without one the service draws it, and returns it. Requests without one that are "
            "computed together may be given the same.",
        },
        "sampling": {
            "enum": list(SAMPLINGS),
            "default": SAMPLINGS[0],
            "description": "stratified: in 32 passes each unit is dropped as often as its rate says, so that fewer "
            "passes give the same error of the mean. independent: passes know nothing of each other.",
        },
        "tolerance": {
            "type": ["number", "null"],
            "exclusiveMinimum": 0,
            "default": None,
            "description": "Stop when every row's largest standard error of the mean is below this, in the outputs' "
            "units; looked at after each 32 passes, from 128 passes on.",
        },
        "budget_ms": {
            "type": ["number", "null"],
            "exclusiveMinimum": 0,
            "default": None,
            "description": "Stop at the last 32 passes that end within this time. 32 are always drawn.",
        },
        "timeout_ms": _timeout_ms(settings),
        "quantiles": {
            "type": ["array", "null"],
            "items": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "minItems": 1,
            "maxItems": MAX_QUANTILES,
            "default": None,
            "description": "Levels of the quantiles over passes to return.",
        },
        "return_samples": {"type": "boolean", "default": False, "description": "Return every pass as well."},
        **request_parts(card),
    }
    return _object({"inputs": {"$ref": _ref("Inputs")}}, optional)


def _timeout_ms(settings: Settings) -> Schema:
    return {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "maximum": settings.max_timeout_ms,
        "default": settings.timeout_ms,
        "description": "After this time the work stops and the answer is a 504.",
    }


def _predict_mc_answer(card: ModelCard) -> Schema:
    classifying = [output for output in card.outputs if output.task == "classification"]
    meanings = ("Mean over passes.", "Variance over passes, ddof 1.", "Monte Carlo standard error of the mean.")
    required: dict[str, Schema] = {
        name: {"description": meaning, **_by_output(card.outputs, _rows)}
        for name, meaning in zip(MOMENTS, meanings, strict=True)
    }
    required |= {
        "n_samples": {"type": "integer", "description": "Passes that the answer stands on."},
        "sampling": {"enum": list(SAMPLINGS)},
        "standard_error_from": {
            "enum": ["passes", "blocks"],
            "description": "passes: the variance over passes by their number, which overstates the error of "
            "stratified passes. blocks: the spread of the means of four or more blocks of 32.",
        },
        "seed": {"type": "integer", "minimum": 0, "maximum": SEEDS - 1, "description": "Send it to get this again."},
        "model": {"$ref": _ref("ModelRef")},
    }
    for name in UNCERTAINTIES if classifying else ():
        required[name] = {
            "description": "In nats, one number for each row, or for each classification in it.",
            **_by_output(classifying, lambda output: _rows(output, axes=-1), always_named=len(card.outputs) > 1),
        }
    optional = {
        "converged": {
            "type": "array",
            "items": {"type": "boolean"},
            "description": "For each row, whether its standard errors are below the tolerance.",
        },
        "quantiles": {
            "description": "One array for each level asked for, in that order.",
            **_by_output(card.outputs, lambda output: _array(_rows(output))),
        },
        "samples": {
            "description": "One array for each pass.",
            **_by_output(card.outputs, lambda output: _array(_rows(output))),
        },
        **answer_parts(card),
    }
    return _object(required, optional)


def _by_output(
    outputs: Sequence[OutputSpec], schema: Callable[[OutputSpec], Schema], *, always_named: bool | None = None
) -> Schema:
    named = always_named if always_named is not None else len(outputs) > 1
    if not named:
        return schema(outputs[0])
    return _object({output.name: schema(output) for output in outputs})


def _rows(output: OutputSpec, *, axes: int | None = None) -> Schema:
    schema: Schema = {"type": "number"}
    for length in reversed(output.shape[:axes]):
        schema = _array(schema, length)
    return _array(schema)


def _array(items: Schema, length: int | None = None) -> Schema:
    sizes = {} if length is None else {"minItems": length, "maxItems": length}
    return {"type": "array", "items": items, **sizes}


def _model(settings: Settings) -> Schema:
    """The card's own schema, with what the service adds to it."""
    schema = ModelCard.model_json_schema(mode="serialization", ref_template="#/components/schemas/Model/$defs/{model}")
    schema["properties"] |= {
        "version": {"type": "string"},
        "limits": _object({name: {"type": "integer"} for name in settings.limits()}),
    }
    schema["required"] = [*schema["required"], "version", "limits"]
    return schema


def _problem() -> Schema:
    place = {"type": "array", "items": {"type": ["string", "integer"]}, "examples": [["inputs", 3, 0, 2]]}
    return _object(
        {
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
        {"errors": _array(_object({"loc": place, "msg": {"type": "string"}}))},
    )


def _object(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def _ref(name: str) -> str:
    return f"#/components/schemas/{name}"


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _text() -> dict[str, Any]:
    return {"text/plain": {"schema": {"type": "string"}}}


def _body(schema: str, example: Mapping[str, Any] | None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": _ref(schema)}}
    if example:
        content["example"] = example
    return {"required": True, "content": {"application/json": content}}


def _example(specs: Sequence[InputSpec]) -> dict[str, Any] | None:
    """One row of zeros, if it is small enough to be read."""
    shapes = {spec.name: (1, *(n or 1 for n in spec.shape)) for spec in specs}
    if sum(int(np.prod(shape)) for shape in shapes.values()) > _EXAMPLE_NUMBERS:
        return None
    rows = {spec.name: np.zeros(shapes[spec.name], bool if spec.dtype == "bool" else int).tolist() for spec in specs}
    return {"inputs": rows if len(specs) > 1 else rows[specs[0].name]}


def _get(operation: str, summary: str, content: Mapping[str, Any], *, refusals: Sequence[int] = ()) -> dict[str, Any]:
    return {"operationId": operation, "summary": summary, "responses": _responses(content, refusals)}


_SERVER_TIMING = {
    "schema": {"type": "string"},
    "description": "Milliseconds of waiting and of its graph calls, such as queue;dur=0.2, compute;dur=1.4.",
}
_POST_REFUSALS = sorted({int(meaning.status) for meaning in (*TABLE.values(), UNEXPECTED)})
# A coverage, which a model may not be calibrated for, is asked for with passes only.
_PREDICT_REFUSALS = [status for status in _POST_REFUSALS if status != HTTPStatus.CONFLICT]


def _responses(content: Mapping[str, Any], refusals: Sequence[int]) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "The answer", "content": dict(content)}}
    if len(refusals) > 1:
        responses["200"]["headers"] = {"Server-Timing": _SERVER_TIMING}
    for status in refusals:
        titles = " or ".join(m.title for m in (*TABLE.values(), UNEXPECTED) if m.status == status)
        responses[str(status)] = {
            "description": titles,
            "content": {"application/problem+json": {"schema": {"$ref": _ref("Problem")}}},
        }
        if any(m.retry_after_s is not None for m in TABLE.values() if m.status == status):
            responses[str(status)]["headers"] = {
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}
            }
    return responses
