"""Options of a request as texts, in a query or in parts of a form: the values that JSON would have in their place."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl

import orjson

from thinned.models.errors import InputError, Problem
from thinned.service.schema.input_arrays import MAX_PROBLEMS

__all__ = ["options_of", "pairs_of_query"]

_MOST = 100
_LISTS = ("quantiles",)
"""Options that are lists: their entries may stand without brackets."""


def pairs_of_query(query: str) -> list[tuple[str, str]]:
    """Names and texts of a query, such as n_samples=100&seed=7.

    Raises:
        InputError: There are too many.
    """
    if not query:
        return []
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST)
    except ValueError:
        raise InputError([Problem((), f"expected at most {_MOST} query parameters, received more")]) from None


def options_of(pairs: Iterable[tuple[str, str]]) -> dict[str, object]:
    """Options by name: what is JSON as its value, anything else as the string that it is.

    Raises:
        InputError: One is there twice, or is no option.
    """
    found: dict[str, object] = {}
    problems: list[Problem] = []
    for name, text in pairs:
        if name == "inputs":
            problems.append(Problem((name,), "expected in the body, not among the options"))
        elif name in found:
            problems.append(Problem((name[:100],), "expected every option once, received it twice"))
        else:
            found[name] = _value(f"[{text}]" if name in _LISTS and not text.startswith(("[", "null")) else text, text)
    if problems:
        raise InputError(problems[:MAX_PROBLEMS])
    return found


def _value(text: str, else_: str) -> object:
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        return else_
    return value
