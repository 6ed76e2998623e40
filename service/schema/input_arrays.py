"""Turns nested lists, as JSON holds them, into arrays that fit a model, or says where and why they do not.

The fast path looks at all numbers with a few calls that run in C, types included, since NumPy alone would take true for
1.0, "1.5" for 1.5 and null for NaN. Only when it fails are the values walked, to say where. Text is held as Python
strings in arrays of objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain, islice
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.errors import InputError, Problem

__all__ = ["MAX_PROBLEMS", "check_inputs", "describe", "largest_number", "numpy_dtype"]

Array: TypeAlias = npt.NDArray[Any]
Loc: TypeAlias = tuple[str | int, ...]

# At most this many problems are reported.
MAX_PROBLEMS = 10


def check_inputs(
    raw: object, specs: Sequence[InputSpec], *, max_rows: int | None, max_length: int | None = None
) -> dict[str, Array]:
    """Check what a caller sent against the model's inputs.

    Args:
        raw: Nested lists with the rows first; or a mapping from the input's name to such lists, which several inputs
            need. Arrays may stand for lists.
        specs: The model's inputs.
        max_rows: Most rows allowed; None for no limit.
        max_length: Longest that an axis of variable length may be; None for no limit.

    Returns:
        By the input's name, an array (B, *shape) of the input's dtype, all finite; null has become what the model
        takes for a missing value. B >= 1 is the same for every input.

    Raises:
        InputError: With up to `MAX_PROBLEMS` problems, each with its place under "inputs".
    """
    arrays: dict[str, Array] = {}
    problems: list[Problem] = []
    for spec, loc, value in _by_name(raw, specs):
        try:
            arrays[spec.name] = _check_one(value, spec, loc, max_rows, max_length)
        except InputError as error:
            problems += error.problems
    problems += _unequal_rows(arrays)
    if problems:
        raise InputError(problems[:MAX_PROBLEMS])
    return arrays


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a Keras dtype's name; bfloat16 and the 8-bit floats come from ml_dtypes, text is objects."""
    if name == "string":
        return np.dtype(object)
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return dtype


@cache
def largest_number(name: str) -> float:
    """The largest float64 that becomes a finite number of this dtype: by rounding, a little more than its largest."""
    dtype = numpy_dtype(name)

    def fits(bits: int) -> bool:
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(np.isfinite(np.array([bits], np.int64).view(np.float64).astype(dtype))[0])

    # Positive numbers are in the order of their bits. 1 fits, infinity does not.
    low, high = (int(np.array([value]).view(np.int64)[0]) for value in (1.0, np.inf))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return float(np.array([low], np.int64).view(np.float64)[0])


def describe(value: object) -> str:
    """Name a JSON value for a message, short whatever it is."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"the string {value[:20]!r}{'…' if len(value) > 20 else ''}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    return json.dumps(value)


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


def _check_one(value: object, spec: InputSpec, loc: Loc, max_rows: int | None, max_length: int | None) -> Array:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list) and max_rows is not None and len(value) > max_rows:
        raise InputError([Problem(loc, f"expected at most {max_rows} rows, received {len(value)}")])
    shape, leaves = _unnest(value, len(spec.shape) + 1)
    dtype = numpy_dtype(spec.dtype)
    if _fits(shape, spec.shape, max_length):
        array = _array(leaves, dtype)
        if array is None and spec.missing is not None:
            array = _array(_filled(leaves, spec.missing), dtype)
        if array is not None:
            return array.reshape(shape)
    raise InputError(_problems(value, spec, loc, dtype, max_length))


def _unnest(value: object, depth: int) -> tuple[tuple[int, ...], list[Any]]:
    """Length of every axis, down to `depth` or to one that is not the same everywhere; and what is left below."""
    shape: list[int] = []
    leaves: list[Any] = [value]
    for _ in range(depth):
        if set(map(type, leaves)) != {list}:
            break
        lengths = set(map(len, leaves))
        if len(lengths) > 1:
            break
        shape.append(lengths.pop())
        leaves = list(chain.from_iterable(leaves))
    return tuple(shape), leaves


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...], max_length: int | None) -> bool:
    if len(shape) != len(expected) + 1 or 0 in shape:
        return False
    longest = max_length or max(shape)
    return all(n == e if e is not None else n <= longest for n, e in zip(shape[1:], expected, strict=True))


def _array(leaves: list[Any], dtype: np.dtype[Any]) -> Array | None:
    """The numbers as an array of this dtype; None if one is of another type, out of range or not finite."""
    types = set(map(type, leaves))
    if dtype.kind == "b":
        return np.array(leaves, dtype) if types == {bool} else None
    if dtype.kind == "O":
        return np.array(leaves, object) if types == {str} and _is_unicode(leaves) else None
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if float in types and types <= {int, float} and all(type(leaf) is int or leaf.is_integer() for leaf in leaves):
            leaves, types = list(map(int, leaves)), {int}  # JSON has one kind of number: 1.0 is an integer.
        fits = types == {int} and min(leaves) >= limits.min and max(leaves) <= limits.max
        return np.array(leaves, dtype) if fits else None
    if not types <= {int, float}:
        return None
    try:
        with np.errstate(over="ignore"):
            array = np.array(leaves, np.float64).astype(dtype)
    except OverflowError:  # An integer beyond the largest float64.
        return None
    return array if np.isfinite(array).all() else None


def _filled(leaves: list[Any], missing: str | int) -> list[Any]:
    """The values, with what the model takes for a missing one in the place of null."""
    return [missing if leaf is None else leaf for leaf in leaves]


def _is_unicode(texts: Sequence[str]) -> bool:
    """Whether they can be written as UTF-8: JSON can hold half of a surrogate pair, which is no character."""
    try:
        "\n".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _problems(value: object, spec: InputSpec, loc: Loc, dtype: np.dtype[Any], max_length: int | None) -> list[Problem]:
    if not isinstance(value, list):
        return [Problem(loc, f"expected a list of rows, received {describe(value)}")]
    if not value:
        return [Problem(loc, "expected at least one row, received an empty list")]
    received, leaves = _unnest(value, len(spec.shape) + 8)
    regular = not any(isinstance(leaf, list) for leaf in leaves)
    if regular and not _fits(received, spec.shape, max_length):
        return [Problem(loc, _wrong_shape(received, spec.shape, max_length))]
    expected = _with_lengths_of_first_row(value, spec.shape)
    walk = chain.from_iterable(_walk(row, (*loc, i), expected, dtype, spec.missing) for i, row in enumerate(value))
    return list(islice(walk, MAX_PROBLEMS)) or [Problem(loc, f"this does not fit the model's input {spec.name!r}")]


def _wrong_shape(received: tuple[int, ...], expected: tuple[int | None, ...], max_length: int | None) -> str:
    longest = "" if None not in expected or max_length is None else f" with n from 1 to {max_length}"
    text = f"expected shape {_shape_text('rows', *expected)}{longest}, received {_shape_text(*received)}"
    if len(received) == len(expected) and _fits((1, *received), expected, max_length):
        return f"{text}; send a single row as a list of one row"
    return text


def _with_lengths_of_first_row(value: list[Any], shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """The expected lengths, where a variable one is that of the first row, since all rows must agree."""
    lengths: list[int] = []
    first: Any = value[0]
    for length in shape:
        size = len(first) if isinstance(first, list) else 1
        lengths.append(length if length is not None else max(1, size))
        first = first[0] if isinstance(first, list) and first else None
    return tuple(lengths)


def _walk(
    value: object, loc: Loc, expected: tuple[int, ...], dtype: np.dtype[Any], missing: str | int | None
) -> Iterator[Problem]:
    if not expected:
        if _array([value] if missing is None else _filled([value], missing), dtype) is None:
            yield Problem(loc, _wrong_value(value, dtype, missing))
    elif not isinstance(value, list) or len(value) != expected[0]:
        yield Problem(loc, f"expected a list of {expected[0]}, received {describe(value)}")
    elif len(expected) > 1 or _array(value, dtype) is None:
        for i, child in enumerate(value):
            yield from _walk(child, (*loc, i), expected[1:], dtype, missing)


def _wrong_value(value: object, dtype: np.dtype[Any], missing: str | int | None) -> str:
    expected = f"expected {_value_text(dtype)}{'' if missing is None else ' or null'}, received {describe(value)}"
    if dtype.kind == "O" and isinstance(value, str):
        return f"expected text in Unicode, received {describe(value)} with half of a surrogate pair"
    if dtype.kind == "O" and value is None:
        return f"{expected}; the model has no token for a missing value"
    return expected


def _unequal_rows(arrays: Mapping[str, Array]) -> list[Problem]:
    if len(arrays) < 2:
        return []
    (first, rows), *others = ((name, len(array)) for name, array in arrays.items())
    return [
        Problem(("inputs", name), f"expected {rows} rows, as many as {first!r} has, received {n}")
        for name, n in others
        if n != rows
    ]


def _value_text(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "O":
        return "a string"
    if dtype.kind == "b":
        return "true or false"
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return f"an integer from {limits.min} to {limits.max}"
    return f"a finite {dtype.name} number"


def _shape_text(*shape: int | str | None) -> str:
    text = ", ".join("n" if n is None else str(n) for n in shape)
    return f"({text},)" if len(shape) == 1 else f"({text})"


def _names(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
