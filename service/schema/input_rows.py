"""The rows of one input: nested lists into an array of its shape and dtype, or where and why they do not fit.

The fast path looks at all values with a few calls that run in C, types included, since NumPy alone would take true for
1.0, "1.5" for 1.5 and null for NaN. Only when it fails are the values walked, to say where.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.errors import InputError, Problem
from thinned.service.schema.input_values import describe, fit_array, to_array, wrong_value

__all__ = ["MAX_PROBLEMS", "check_one", "check_shape", "unnest"]

Array: TypeAlias = npt.NDArray[Any]
Loc: TypeAlias = tuple[str | int, ...]

# At most this many problems are reported.
MAX_PROBLEMS = 10
_PADDED_NUMBERS = 1 << 22
_PADDED_SHARE = 4
"""A request whose rows fill up to more numbers than the first may have the second times as many as it sent."""


def check_one(value: object, spec: InputSpec, loc: Loc, max_rows: int | None, max_length: int | None) -> Array:
    """Check the rows of one input, which stand at `loc`; arguments, result and errors are those of `check_inputs`."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return _check_array(value, spec, loc, max_rows, max_length)
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "mM":  # tolist would make integers of them
            raise InputError([Problem(loc, f"expected {spec.dtype}, received dates or times ({value.dtype})")])
        value = value.tolist()
    if isinstance(value, list) and max_rows is not None and len(value) > max_rows:
        raise InputError([Problem(loc, f"expected at most {max_rows} rows, received {len(value)}")])
    shape, leaves = unnest(value, len(spec.shape) + 1)
    if len(shape) == 1 and spec.shape == (1,) and not any(isinstance(leaf, list) for leaf in leaves):
        shape = (*shape, 1)
    array = None
    if _fits(shape, spec.shape, max_length):
        array = to_array(leaves, spec)
    elif len(shape) == 1 and spec.padding is not None and spec.shape[:1] == (None,):
        array = _padded(leaves, spec, loc, max_length, bounded=max_rows is not None)
        shape = () if array is None else array.shape
    if array is None:
        raise InputError(_problems(value, spec, loc, max_length))
    return array.reshape(shape)


def check_shape(
    shape: tuple[int, ...], spec: InputSpec, loc: Loc, max_rows: int | None, max_length: int | None
) -> None:
    """Check the shape of rows that have one: (B, *shape), or (B,) for one value a row.

    Raises:
        InputError: The input has no such rows, or they are too many.
    """
    if max_rows is not None and shape and shape[0] > max_rows:
        raise InputError([Problem(loc, f"expected at most {max_rows} rows, received {shape[0]}")])
    if shape[:1] == (0,):
        raise InputError([Problem(loc, "expected at least one row, received an empty list")])
    one_each = len(shape) == 1 and spec.shape == (1,)
    if not one_each and not _fits(shape, spec.shape, max_length):
        raise InputError([Problem(loc, _wrong_shape(shape, spec.shape, max_length))])


def _check_array(array: Array, spec: InputSpec, loc: Loc, max_rows: int | None, max_length: int | None) -> Array:
    """The same of an array of numbers or truth values, which need not be looked at one by one."""
    if not array.shape:
        raise InputError([Problem(loc, f"expected a list of rows, received {describe(array.item())}")])
    check_shape(array.shape, spec, loc, max_rows, max_length)
    fitted, fits = fit_array(array, spec)
    if not fits.all():
        wrong = np.argwhere(~fits)[:MAX_PROBLEMS].tolist()
        raise InputError([Problem((*loc, *at), wrong_value(array[tuple(at)].item(), spec)) for at in wrong])
    return fitted.reshape((-1, 1)) if fitted.ndim == 1 and spec.shape == (1,) else fitted


def _padded(rows: list[Any], spec: InputSpec, loc: Loc, max_length: int | None, *, bounded: bool) -> Array | None:
    """Rows of different length, filled up to the longest; None where something else is wrong with them.

    Raises:
        InputError: They are much longer than what was sent.
    """
    if not rows or not all(isinstance(row, list) and row for row in rows):
        return None
    lengths = np.array([len(row) for row in rows])
    longest, sent = int(lengths.max()), int(lengths.sum())
    rest, leaves = unnest(list(chain.from_iterable(rows)), len(spec.shape))
    if not _fits((1, longest, *rest[1:]), spec.shape, max_length) or (array := to_array(leaves, spec)) is None:
        return None
    numbers = len(rows) * longest * (len(leaves) // sent)
    if bounded and numbers > max(_PADDED_NUMBERS, _PADDED_SHARE * len(leaves)):
        what = f"rows of 1 to {longest} would be filled up to {numbers} numbers; send rows of like length together"
        raise InputError([Problem(loc, what)])
    filled = np.full((len(rows), longest, *rest[1:]), spec.padding, array.dtype)
    filled[np.arange(longest) < lengths[:, np.newaxis]] = array.reshape(rest)
    return filled


def unnest(value: object, depth: int) -> tuple[tuple[int, ...], list[Any]]:
    """Length of every axis, down to `depth` or to one that is not the same everywhere; and what is left below."""
    shape: list[int] = []
    leaves: list[Any] = [value]
    for _ in range(depth):
        if set(map(type, leaves)) != {list}:
            break
        lengths = set(map(len, leaves))
        if len(lengths) > 1:
            break
        length = lengths.pop()
        shape.append(length)
        # Many lists of one, as a picture in grey has, are several times as quick to take apart so.
        leaves = [leaf for (leaf,) in leaves] if length == 1 else list(chain.from_iterable(leaves))
    return tuple(shape), leaves


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...], max_length: int | None) -> bool:
    if len(shape) != len(expected) + 1 or 0 in shape:
        return False
    longest = max_length or max(shape)
    return all(n == e if e is not None else n <= longest for n, e in zip(shape[1:], expected, strict=True))


def _problems(value: object, spec: InputSpec, loc: Loc, max_length: int | None) -> list[Problem]:
    if not isinstance(value, list):
        return [Problem(loc, f"expected a list of rows, received {describe(value)}")]
    if not value:
        return [Problem(loc, "expected at least one row, received an empty list")]
    received, leaves = unnest(value, len(spec.shape) + 8)
    regular = not any(isinstance(leaf, list) for leaf in leaves)
    one_each = spec.shape == (1,) and len(received) == 1
    if regular and not one_each and not _fits(received, spec.shape, max_length):
        return [Problem(loc, _wrong_shape(received, spec.shape, max_length))]
    ragged = len(received) == 1 and spec.shape[:1] == (None,)
    if regular and one_each:
        walk = chain.from_iterable(_walk(row, (*loc, i), (), spec) for i, row in enumerate(value))
    elif ragged and spec.padding is not None:
        walk = chain.from_iterable(_walk_ragged(row, (*loc, i), spec, max_length) for i, row in enumerate(value))
    else:
        expected = _with_lengths_of_first_row(value, spec.shape)
        walk = chain.from_iterable(_walk(row, (*loc, i), expected, spec) for i, row in enumerate(value))
    found = list(islice(walk, MAX_PROBLEMS)) or [Problem(loc, f"this does not fit the model's input {spec.name!r}")]
    if ragged and spec.padding is None and all(isinstance(row, list) and row for row in value):
        found[0] = Problem(found[0].loc, found[0].msg + _HOW_TO_PAD)
    return found


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


def _walk(value: object, loc: Loc, expected: tuple[int, ...], spec: InputSpec) -> Iterator[Problem]:
    if not expected:
        if to_array([value], spec) is None:
            yield Problem(loc, wrong_value(value, spec))
    elif not isinstance(value, list) or len(value) != expected[0]:
        yield Problem(loc, f"expected a list of {expected[0]}, received {describe(value)}")
    elif len(expected) > 1 or to_array(value, spec) is None:
        for i, child in enumerate(value):
            yield from _walk(child, (*loc, i), expected[1:], spec)


_HOW_TO_PAD = (
    "; rows of one request have one length: fill them up with what the model was trained on, send rows of one length "
    "together, or import the model with --padding VALUE"
)


def _walk_ragged(row: object, loc: Loc, spec: InputSpec, max_length: int | None) -> Iterator[Problem]:
    """One of several rows of different length."""
    if not isinstance(row, list) or not row:
        yield Problem(loc, f"expected a list of at least one, received {describe(row)}")
    elif max_length is not None and len(row) > max_length:
        yield Problem(loc, f"expected a list of at most {max_length}, received {describe(row)}")
    else:
        yield from _walk(row, loc, _with_lengths_of_first_row([row], spec.shape), spec)


def _shape_text(*shape: int | str | None) -> str:
    text = ", ".join("n" if n is None else str(n) for n in shape)
    return f"({text},)" if len(shape) == 1 else f"({text})"
