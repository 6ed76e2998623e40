"""JSON Schema, the few forms of it that the API's description is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from thinned.models.card import OutputSpec

__all__ = ["Schema", "array", "by_output", "object_of", "or_null", "reference", "rows"]

Schema: TypeAlias = dict[str, Any]


def reference(name: str) -> Schema:
    """A component of the document, by name."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """An object with these members and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def array(items: Schema, length: int | None = None) -> Schema:
    """A list, of a known length or of any."""
    sizes = {} if length is None else {"minItems": length, "maxItems": length}
    return {"type": "array", "items": items, **sizes}


def rows(output: OutputSpec, *, shape: Sequence[int | None] | None = None) -> Schema:
    """Numbers of this shape for each row; the output's own shape by default."""
    schema: Schema = {"type": "number"}
    for length in reversed(output.shape if shape is None else shape):
        schema = array(schema, length)
    return array(schema)


def by_output(
    outputs: Sequence[OutputSpec], schema: Callable[[OutputSpec], Schema], *, named: bool, optional: bool = False
) -> Schema:
    """One schema by output name where the model has several outputs (`named`), bare where it has one.

    With `optional` an answer may have some of them only.
    """
    if not named:
        return schema(outputs[0])
    schemas = {output.name: schema(output) for output in outputs}
    return object_of({}, schemas) if optional else object_of(schemas)


def or_null(schema: Callable[[OutputSpec], Schema]) -> Callable[[OutputSpec], Schema]:
    """The same, or null."""
    return lambda output: {"oneOf": [{"type": "null"}, schema(output)]}
