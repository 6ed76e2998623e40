"""Turns what a request holds as its inputs into arrays that fit a model, or says where and why it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.errors import InputError, Problem
from thinned.service.schema.input_rows import check_one, check_shape, unnest
from thinned.service.schema.input_values import describe, largest_number, numpy_dtype
from thinned.service.schema.records import MAX_PROBLEMS, check_records

__all__ = ["MAX_PROBLEMS", "check_inputs", "check_shape", "unnest", "describe", "largest_number", "numpy_dtype"]

Array: TypeAlias = npt.NDArray[Any]
Loc: TypeAlias = tuple[str | int, ...]


def check_inputs(
    raw: object, specs: Sequence[InputSpec], *, max_rows: int | None, max_length: int | None = None
) -> dict[str, Array]:
    """Check what a caller sent against the model's inputs.

    For one value a row, (B,) and (B, 1) are the same; 13.0 is an integer. Rows of different length are filled up at
    their end where the input says with what.

    Args:
        raw: Nested lists with the rows first; or a mapping from the input's name to such lists; or a list of records,
            an object for each row. Several inputs need one of the last two. Arrays may stand for lists.
        specs: The model's inputs.
        max_rows: Most rows allowed; None for no limit.
        max_length: Longest that an axis of variable length may be; None for no limit.

    Returns:
        By the input's name, an array (B, *shape) of the input's dtype, all finite; null has become what the model
        takes for a missing value. B >= 1 is the same for every input.

    Raises:
        InputError: With up to `MAX_PROBLEMS` problems, each with its place under "inputs".
    """
    if isinstance(raw, list) and raw and isinstance(raw[0], dict):
        return check_records(raw, specs, max_rows=max_rows, max_length=max_length)
    arrays: dict[str, Array] = {}
    problems: list[Problem] = []
    for spec, loc, value in _by_name(raw, specs):
        try:
            arrays[spec.name] = check_one(value, spec, loc, max_rows, max_length)
        except InputError as error:
            problems += error.problems
    problems += _unequal_rows(arrays)
    if problems:
        raise InputError(problems[:MAX_PROBLEMS])
    return arrays


def _by_name(raw: object, specs: Sequence[InputSpec]) -> list[tuple[InputSpec, Loc, object]]:
    names = [spec.name for spec in specs]
    if isinstance(raw, Mapping):
        others = islice((str(n) for n in raw if n not in names), MAX_PROBLEMS)
        unknown = [Problem(("inputs", n), f"unknown input; expected {_names(names)}") for n in others]
        missing = [Problem(("inputs", n), "this input is missing") for n in names if n not in raw]
        if unknown or missing:
            raise InputError([*unknown, *missing][:MAX_PROBLEMS])
        return [(spec, ("inputs", spec.name), raw[spec.name]) for spec in specs]
    if len(specs) > 1:
        raise InputError([Problem(("inputs",), f"expected an object with {_names(names)}, received {describe(raw)}")])
    return [(specs[0], ("inputs",), raw)]


def _unequal_rows(arrays: Mapping[str, Array]) -> list[Problem]:
    if len(arrays) < 2:
        return []
    (first, rows), *others = ((name, len(array)) for name, array in arrays.items())
    return [
        Problem(("inputs", name), f"expected {rows} rows, as many as {first!r} has, received {n}")
        for name, n in others
        if n != rows
    ]


def _names(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
