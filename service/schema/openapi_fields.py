"""The parts of a request and an answer that concern where the variance comes from and what is promised, as schemas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from thinned.models.card import ModelCard, OutputSpec
from thinned.service.inference.parts import PARTS, calibrated_passes

__all__ = ["answer_parts", "request_parts"]

Schema: TypeAlias = dict[str, Any]
_MEANINGS = {
    "epistemic": "Variance of the network: over passes, with the passes' number below the line for probabilities.",
    "aleatoric": "Variance of the noise in the data that the network, or the card, expects; null where neither knows.",
    "total": "Both together: variance of a new target; null where the noise is not known.",
}


def request_parts(card: ModelCard) -> dict[str, Schema]:
    """The fields that ask for them."""
    passes = calibrated_passes(card)
    coverage: Schema = {
        "type": "null",
        "default": None,
        "description": "A number is answered 409: this model is not calibrated. Run thinned calibrate NAME --data "
        "val.npz, and serve the version that it makes.",
    }
    if passes is not None:
        coverage = {
            "type": ["number", "null"],
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1,
            "default": None,
            "description": "Give an interval, or a set of classes, that holds a new row's truth with at least this "
            "probability: over rows like those of the calibration, not for each row by itself. n_samples is then "
            f"{passes} by default, as it was calibrated. 409 where there were too few calibration rows for it.",
        }
    return {
        "separate": {
            "type": "boolean",
            "default": False,
            "description": "Return epistemic, aleatoric and total variance.",
        },
        "coverage": coverage,
    }


def answer_parts(card: ModelCard) -> dict[str, Schema]:
    """The fields that answer them."""
    outputs = card.outputs
    found = {
        part: {"description": meaning, **_by_output(outputs, _or_null(_rows))}
        for part, meaning in zip(PARTS, _MEANINGS.values(), strict=True)
    }
    found["not_known"] = {
        "description": "Why aleatoric and total are null.",
        **({"type": "object", "additionalProperties": {"type": "string"}} if len(outputs) > 1 else {"type": "string"}),
    }
    found["coverage"] = {"type": "number", "description": "The coverage that was asked for."}
    values = [output for output in outputs if output.task in ("regression", "gaussian")]
    classes = [output for output in outputs if output not in values]
    named = len(outputs) > 1
    if values:
        ends = _by_output(values, lambda o: _object({"lower": _rows(o), "upper": _rows(o)}), named=named)
        found["interval"] = {"description": "Ends of the intervals of this coverage.", **ends}
    if classes:
        members = _by_output(classes, _members, named=named)
        found["prediction_set"] = {"description": "For each row the classes in its set; it may be empty.", **members}
    return found


def _rows(output: OutputSpec) -> Schema:
    """A number for each of the output's; of a gaussian output, for each of its means."""
    shape = output.shape
    if output.task == "gaussian":
        shape = (*shape[:-1], (shape[-1] or 0) // 2)
    schema: Schema = {"type": "number"}
    for length in (*reversed(shape), None):
        schema = {"type": "array", "items": schema, **({"minItems": length, "maxItems": length} if length else {})}
    return schema


def _members(output: OutputSpec) -> Schema:
    schema: Schema = {"type": "array", "items": {"type": "string"} if output.labels else {"type": "integer"}}
    for _ in output.shape:
        schema = {"type": "array", "items": schema}
    return schema


def _or_null(schema: Callable[[OutputSpec], Schema]) -> Callable[[OutputSpec], Schema]:
    return lambda output: {"oneOf": [{"type": "null"}, schema(output)]}


def _by_output(
    outputs: Sequence[OutputSpec], schema: Callable[[OutputSpec], Schema], *, named: bool | None = None
) -> Schema:
    if not (len(outputs) > 1 if named is None else named):
        return schema(outputs[0])
    return _object({output.name: schema(output) for output in outputs})


def _object(required: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": required, "required": list(required), "additionalProperties": False}
