"""The two endpoints as BentoML's clients read them: a route each, with what it takes and answers."""

from __future__ import annotations

from typing import Any

from thinned.models.card import ModelCard
from thinned.service.schema.json_schema import Schema
from thinned.service.schema.openapi import describe_api
from thinned.service.settings import Settings

__all__ = ["describe_to_clients"]

_ROUTES = {"predict": ("PredictRequest", "PredictAnswer"), "predict_mc": ("PredictMcRequest", "PredictMcAnswer")}


def describe_to_clients(card: ModelCard, version: str, settings: Settings) -> dict[str, Any]:
    """The document that `bentoml.SyncHTTPClient` and `AsyncHTTPClient` make their methods from.

    The schemas are those of the OpenAPI document, with every reference written out: BentoML's clients look for
    "properties" and "type" where they stand, and follow no references.
    """
    described = describe_api(card, version, settings)
    schemas = described["components"]["schemas"]
    return {
        "name": card.name,
        "type": "service",
        "description": described["info"]["description"],
        "routes": [
            {
                "name": name,
                "route": f"/{name}",
                "doc": described["paths"][f"/{name}"]["post"]["summary"],
                "batchable": False,
                "input": _written_out(schemas[request], schemas),
                "output": _written_out(schemas[answer], schemas),
            }
            for name, (request, answer) in _ROUTES.items()
        ],
    }


def _written_out(value: Any, schemas: dict[str, Schema]) -> Any:
    if isinstance(value, dict):
        if "$ref" in value:
            return _written_out(schemas[value["$ref"].rpartition("/")[2]], schemas)
        return {key: _written_out(inner, schemas) for key, inner in value.items()}
    return [_written_out(inner, schemas) for inner in value] if isinstance(value, list) else value
