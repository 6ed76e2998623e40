"""Rows by the names of their columns: records of JSON, and tables, into arrays by input.

A column holds one value of a row, as in `{"age": 41, "colour": "red"}`, or all that an input takes of it, as in
`{"tokens": [3, 7]}`.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TypeAlias

import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.errors import InputError, Problem
from thinned.service.schema.input_rows import MAX_PROBLEMS, check_one
from thinned.service.schema.input_values import describe, to_array, wrong_value

__all__ = ["MAX_PROBLEMS", "check_columns", "check_records", "columns_of", "named_columns", "numbered", "transpose"]

Array: TypeAlias = npt.NDArray[Any]
Layout: TypeAlias = list[tuple[InputSpec, tuple[str, ...] | None]]
"""For each input its columns; None where one column, of its name, holds all that it takes of a row."""

_NAMES_TOLD = 8
_NAMES_COMPARED = 4
_LONGEST_NAME = 64
_MOST_COMPARED = 64
"""Names of more characters, or beyond this many, are not compared to find which was meant."""


def check_records(
    records: list[Any], specs: Sequence[InputSpec], *, max_rows: int | None, max_length: int | None
) -> dict[str, Array]:
    """Check records, at least one; arguments and result are those of `check_inputs`.

    Raises:
        InputError: Each problem stands at ("inputs", row, column).
    """
    if max_rows is not None and len(records) > max_rows:
        raise InputError([Problem(("inputs",), f"expected at most {max_rows} rows, received {len(records)}")])
    names = list(records[0])
    try:
        layout = named_columns(names, specs)
    except InputError as error:
        raise InputError([Problem(("inputs", 0), problem.msg) for problem in error.problems]) from None
    return check_columns(transpose(records, names), layout, max_rows=max_rows, max_length=max_length)


def columns_of(spec: InputSpec) -> tuple[str, ...] | None:
    """The columns that hold a row of an input: those of the card, or its own name where it takes one value."""
    if spec.columns is not None:
        return spec.columns
    return (spec.name,) if spec.shape in ((), (1,)) else None


def numbered(spec: InputSpec, width: int | None = None) -> tuple[str, ...]:
    """The columns of an input of several values without names: image_0, image_1 and so on."""
    return tuple(f"{spec.name}_{i}" for i in range(spec.numbers or 0 if width is None else width))


def named_columns(names: Sequence[str], specs: Sequence[InputSpec], *, number: bool = False) -> Layout:
    """Which columns hold which input.

    Args:
        names: The columns that there are, in any order.
        specs: The model's inputs.
        number: Whether an input of several values may have a column for each, numbered.

    Raises:
        InputError: One is missing or unknown; says which, and what may have been meant.
    """
    there = set(names)
    layout: Layout = []
    for spec in specs:
        columns = columns_of(spec)
        if columns is None and number and spec.name not in there:
            columns = numbered(spec, _width(spec, there))
        layout.append((spec, columns))
    expected = dict.fromkeys(chain.from_iterable((s.name,) if c is None else c for s, c in layout))
    missing = [name for name in expected if name not in there]
    unknown = [name for name in names if name not in expected]
    if missing or unknown or len(there) < len(names):
        raise InputError([Problem(("inputs",), _misfit(missing, unknown, names, len(expected)))])
    return layout


def _width(spec: InputSpec, there: set[str]) -> int | None:
    """How many numbered columns an input of one variable length has; None where its length is known."""
    if spec.shape != (None,):
        return None
    width = 0
    while f"{spec.name}_{width}" in there:
        width += 1
    return max(1, width)


def _misfit(missing: Sequence[str], unknown: Sequence[str], names: Sequence[str], expected: int) -> str:
    said = [f"expected {expected} columns, received {len(names)}"]
    if missing:
        said.append(f"missing: {_told(missing)}")
    if unknown:
        near = {name: meant for name in unknown[:_NAMES_COMPARED] if (meant := _meant(name, missing))}
        said.append(f"unknown: {_told(unknown, near)}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        said.append(f"there twice: {_told(twice)}")
    return "; ".join(said)


def _told(names: Sequence[str], near: Mapping[str, str] | None = None) -> str:
    told = [
        f"{_short(name)}{f' (is {_short(near[name])} meant?)' if near and name in near else ''}"
        for name in names[:_NAMES_TOLD]
    ]
    return ", ".join(told) + (f" and {len(names) - _NAMES_TOLD} more" if len(names) > _NAMES_TOLD else "")


def _short(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…")


def _meant(name: str, missing: Sequence[str]) -> str | None:
    """The missing name that an unknown one is nearest to."""
    if len(name) > _LONGEST_NAME:
        return None
    among = {other.strip().casefold(): other for other in missing[:_MOST_COMPARED] if len(other) <= _LONGEST_NAME}
    found = difflib.get_close_matches(name.strip().casefold(), among, n=1)
    return among[found[0]] if found else None


def transpose(records: Sequence[object], names: Sequence[str]) -> dict[str, list[Any]]:
    """Records, each with these names and no others, as columns.

    Raises:
        InputError: One is no object, or has other names; says which.
    """
    expected = set(names)
    problems = list(islice(_strangers(records, expected), MAX_PROBLEMS))
    if problems:
        raise InputError(problems)
    return {name: [record[name] for record in records] for name in names}  # type: ignore[index]


def _strangers(records: Sequence[object], expected: set[str]) -> Iterator[Problem]:
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            yield Problem(("inputs", i), f"expected an object as in the first row, received {describe(record)}")
        elif record.keys() != expected:
            for name in sorted(expected - record.keys()):
                yield Problem(("inputs", i, name), "this column is missing")
            for name in islice((name for name in record if name not in expected), MAX_PROBLEMS):
                yield Problem(("inputs", i, name), "unknown column; the first row has none of this name")


def check_columns(
    columns: Mapping[str, list[Any]], layout: Layout, *, max_rows: int | None, max_length: int | None
) -> dict[str, Array]:
    """Check columns of equal length against the model's inputs.

    Returns:
        By the input's name, an array (B, *shape) of the input's dtype.

    Raises:
        InputError: Each problem stands at ("inputs", row, column).
    """
    arrays: dict[str, Array] = {}
    problems: list[Problem] = []
    for spec, names in layout:
        rows = len(columns[spec.name if names is None else names[0]])
        if not rows:
            raise InputError([Problem(("inputs",), "expected at least one row, received none")])
        try:
            if names is None or names == (spec.name,):
                arrays[spec.name] = check_one(columns[spec.name], spec, ("inputs",), max_rows, max_length)
                continue
        except InputError as error:
            problems += [Problem(_place(problem.loc, spec.name), problem.msg) for problem in error.problems]
            continue
        leaves = list(chain.from_iterable(zip(*(columns[name] for name in names), strict=True)))
        array = to_array(leaves, spec)
        if array is not None:
            lengths = (len(names) if n is None else n for n in spec.shape)
            arrays[spec.name] = array.reshape(rows, *lengths)
            continue
        wrong = (
            Problem(("inputs", i, name), wrong_value(columns[name][i], spec))
            for i in range(rows)
            for name in names
            if to_array([columns[name][i]], spec) is None
        )
        problems += islice(wrong, MAX_PROBLEMS)
    if problems:
        raise InputError(sorted(problems, key=_row)[:MAX_PROBLEMS])
    return arrays


def _place(loc: tuple[str | int, ...], name: str) -> tuple[str | int, ...]:
    """The place of a problem with an input that is one column: the column after the row."""
    return (*loc[:2], name, *loc[2:])


def _row(problem: Problem) -> int:
    return next((part for part in problem.loc if isinstance(part, int)), -1)
