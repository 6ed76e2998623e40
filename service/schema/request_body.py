"""The body of a request, from bytes to one JSON object; what is wrong with it is said with its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import prod
from typing import TypeAlias

import orjson

from thinned.models.card import ModelCard
from thinned.models.errors import MalformedBodyError
from thinned.service.schema.input_arrays import describe, numpy_dtype
from thinned.service.settings import Settings

__all__ = ["Strings", "check_structure", "parse", "parse_fast"]

Strings: TypeAlias = Callable[[Mapping[str, object]], int]


def parse(body: bytes, strings: Strings | None = None) -> dict[str, object]:
    """Read a body as one JSON object.

    Args:
        body: The body.
        strings: Counts the members and strings of an object; by default of one that has rows in "inputs".

    NaN and Infinity, which are not JSON but which many clients write, pass here: where they stand is told when the
    numbers are checked.

    Raises:
        MalformedBodyError: It is not UTF-8, not JSON, not an object, nested too deep, or names a member twice.
    """
    document = parse_fast(body, strings)
    return _parse_slowly(body) if document is None else document


def parse_fast(body: bytes, strings: Strings | None = None) -> dict[str, object] | None:
    """Read a body that is as it should be; None for any other, which is then read again to say what is wrong.

    orjson takes the last of two members with the same name. As many quotation marks as the members and strings that
    were found need shows that there are no such two, and no string inside a list but the words of records.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if type(document) is not dict:
        return None
    return document if body.count(b'"') == 2 * (strings or _strings_of_rows)(document) else None


def _strings_of_rows(document: Mapping[str, object]) -> int:
    inputs = document.get("inputs")
    strings = len(document) + sum(type(value) is str for value in document.values())
    if type(inputs) is dict:
        strings += len(inputs)
    elif type(inputs) is list and inputs and type(inputs[0]) is dict:
        records = [record for record in inputs if type(record) is dict]
        strings += sum(map(len, records)) + sum(type(v) is str for record in records for v in record.values())
    return strings


_SLACK = 1000
"""A body with some lists or objects too many is parsed, and what is wrong said with its place."""


def check_structure(body: bytes, card: ModelCard, settings: Settings) -> None:
    """Refuse a large body of far more lists or objects than the model's inputs can have, before they are made.

    A list takes 30 times as long to make as its two bytes to count, and Python stands still meanwhile. Where an input
    is text, brackets may be part of it, and nothing is said.

    Raises:
        MalformedBodyError: There are.
    """
    if any(numpy_dtype(spec.dtype).kind == "O" for spec in card.inputs):
        return
    lists = sum(
        settings.max_rows * prod(settings.max_length if n is None else n for n in spec.shape[:-1])
        for spec in card.inputs
    )
    for sign, name, most in ((b"[", "lists", lists), (b"{", "objects", 2)):
        found = body.count(sign)
        if found > 2 * most + _SLACK:
            raise MalformedBodyError(
                f"expected a JSON object of at most {most} {name}, as this model's inputs have, received {found}"
            )


def _parse_slowly(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body.decode("utf-8"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"expected JSON in UTF-8; byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedBodyError(f"expected a JSON object; at {where}: {error.msg}") from None
    except RecursionError:
        raise MalformedBodyError("expected a JSON object; the lists in this one are nested too deep") from None
    except ValueError as error:  # An integer of more digits than Python converts.
        raise MalformedBodyError(f"expected a JSON object; {str(error).partition(';')[0]}") from None
    if not isinstance(document, dict):
        raise MalformedBodyError(f'expected a JSON object such as {{"inputs": [...]}}, received {describe(document)}')
    return document


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise MalformedBodyError(f"expected every member once; {describe(twice)} is there twice")
    return document
