"""What is said of a model and its shadow, as a JSON schema."""

from __future__ import annotations

from thinned.service.schema.json_schema import Schema, object_of

__all__ = ["comparison_answer"]


def comparison_answer() -> Schema:
    """The answer of `/models/{name}/comparison`; `OutputComparison` gives what is in it for each output."""
    named = object_of({"name": {"type": "string"}, "version": {"type": "string"}})
    number = {"type": ["number", "null"]}
    estimate = object_of({"value": {"type": "number"}, "low": number, "high": number})
    count = {"type": "integer"}
    unsure = object_of(
        {
            "kind": {"enum": ["predictive_entropy", "variance"]},
            "model": {"type": "number"},
            "shadow": {"type": "number"},
            "difference": estimate,
            "less_sure": {"enum": ["model", "shadow", None]},
        }
    )
    compared = object_of(
        {"requests": count, "rows": count},
        {
            "agreement": estimate,
            "difference": estimate,
            "absolute_difference": estimate,
            "uncertainty": unsure,
            "note": {"type": "string"},
        },
    )
    ways = object_of({way: {"anyOf": [compared, {"type": "null"}]} for way in ("predict", "predict_mc")})
    return object_of(
        {
            "model": named,
            "shadow": named,
            "confidence": {"type": "number"},
            "rows": object_of({"compared": count, "dropped": count, "failed": count}),
            "outputs": {"type": "object", "additionalProperties": ways},
            "note": {"type": ["string", "null"]},
        }
    )
