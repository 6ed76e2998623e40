"""Which columns of a table are which inputs of a model, and the values in them as arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.errors import InputError, Problem
from thinned.service.cli.column_files import Frame, wrong_file
from thinned.service.schema.input_arrays import check_inputs
from thinned.service.schema.records import check_columns, columns_of, named_columns, numbered

__all__ = ["INPUT_NAMES", "inputs_of", "is_head", "number_of"]

Array = npt.NDArray[Any]
INPUT_NAMES = ("x", "X", "inputs", "x_test")
_TEXT_NAMES = (*INPUT_NAMES, "text")
_WORDS = {"true": True, "false": False, "1": True, "0": False}


def inputs_of(frame: Frame, specs: Sequence[InputSpec], others: Sequence[str] = ()) -> dict[str, Array]:
    """The model's inputs, from the columns that are theirs.

    Columns are found by name: those of the card, the input's own for one value a row, or numbered ones (image_0). Where
    neither model nor file names them, they are taken in order, which is said once on stderr.

    Args:
        frame: The table.
        specs: The model's inputs.
        others: Columns that are none of them: targets.

    Raises:
        InputError: A column is missing or unknown, or a value does not fit; names the row and the column.
    """
    if frame.names is None and (len(specs) > 1 or others or is_head(frame.lines[:1], specs[0])):
        frame = frame.with_head()
    if frame.names is None:
        if specs[0].numbers != 1 and frame.lines:
            known = ", ".join(columns_of(specs[0]) or ())[:200]
            _say(f"{frame.where}: no header; columns are taken in order{f': {known}' if known else ''}")
        return _in_order(frame, frame.lines, specs[0], frame.numbers)
    names = [name for name in frame.names if name not in others]
    if not names:
        raise wrong_file(frame.where, "expected columns, received none")
    if len(names) == 1 and frame.text and (other := next((c for c in ";\t|" if c in names[0]), None)):
        raise wrong_file(frame.where, f"expected values separated by commas; they are separated by {other!r}")
    if len(specs) == 1 and not _names_itself(names, specs[0]):
        return _unnamed(frame, names, specs[0])
    try:
        layout = named_columns(names, specs, number=True)
    except InputError as error:
        raise wrong_file(frame.where, error.problems[0].msg) from None
    columns: dict[str, list[Any]] = {}
    for spec, own in layout:
        for name in (spec.name,) if own is None else own:
            columns[name] = _values(frame, name, spec)
    return _checked(frame, lambda: check_columns(columns, layout, max_rows=None, max_length=None))


def _names_itself(names: Sequence[str], spec: InputSpec) -> bool:
    """Whether the columns of a lone input are to be found by name: it has names, or the table has its own."""
    if spec.columns is not None or spec.name in names or (spec.numbers == 1 and len(names) > 1):
        return True
    return set(numbered(spec)) == set(names) or (spec.shape == (None,) and f"{spec.name}_0" in names)


def _unnamed(frame: Frame, names: Sequence[str], spec: InputSpec) -> dict[str, Array]:
    """The columns in order: the model has no names for them."""
    if len(names) > 1:
        how = "" if spec.numbers is None else " (name them at import: --feature-names)"
        told = ", ".join(names)[:200]
        _say(f"{frame.where}: the model has no names for its columns, so that they are taken in order: {told}{how}")
    columns = [frame.columns[(frame.names or []).index(name)] for name in names]
    if len(names) == 1 and not frame.text and any(isinstance(value, list) for value in columns[0]):
        return _checked(frame, lambda: check_inputs(columns[0], [spec], max_rows=None))
    lines = [list(line) for line in zip(*columns, strict=True)]
    return _in_order(frame, lines, spec, frame.numbers, names=names)


def _in_order(
    frame: Frame, lines: list[list[Any]], spec: InputSpec, numbers: list[int] | None, names: Sequence[str] = ()
) -> dict[str, Array]:
    """Each line a row, folded into the input's shape, the last axis fastest."""
    wanted = spec.numbers
    if wanted is not None:
        for row, line in enumerate(lines):
            if len(line) != wanted:
                shape = "×".join(map(str, spec.shape))
                kind = "texts" if spec.dtype == "string" else "numbers"
                expected = f"{wanted} {kind}" + (f", a row of shape {shape}" if len(spec.shape) > 1 else "")
                beside = " beside the target" if names and len(names) < len(frame.names or ()) else ""
                raise wrong_file(frame.where, f"{frame.place(row)}: expected {expected}{beside}, received {len(line)}")
    rows = [_parsed(line, spec) for line in lines] if frame.text else lines
    flat = spec.model_copy(update={"shape": (wanted,)})
    if wanted is None and spec.shape != (None,):
        folded = _folded(frame, rows, spec)
        return _checked(frame, lambda: check_inputs(folded, [spec], max_rows=None))
    found = _checked(frame, lambda: check_inputs(rows, [flat], max_rows=None), names)[spec.name]
    return {spec.name: found if wanted is None else found.reshape(len(found), *(n or 1 for n in spec.shape))}


def _folded(frame: Frame, rows: list[list[Any]], spec: InputSpec) -> Any:
    """Rows of which one length varies, as many values in each."""
    known = prod(n for n in spec.shape if n is not None)
    if spec.shape.count(None) > 1 or len(set(map(len, rows))) != 1 or len(rows[0]) % known:
        wanted = "×".join("?" if n is None else str(n) for n in spec.shape)
        raise wrong_file(frame.where, f"expected rows of {wanted} values, as many in each line")
    shape = (len(rows), *(-1 if n is None else n for n in spec.shape))
    return np.asarray(rows, object).reshape(shape).tolist()


def is_head(lines: Sequence[Sequence[str]], spec: InputSpec) -> bool:
    """Whether the first line names columns: it holds a name of theirs, or nothing that could be a value."""
    cells = [cell.strip() for cell in (lines[0] if lines else ())]
    own = set(columns_of(spec) or numbered(spec))
    if spec.dtype == "string":
        known = own | ({spec.name, *_TEXT_NAMES} if len(cells) == 1 else set())
        return bool(known & set(cells)) and (len(cells) > 1 or spec.numbers in (1, None))
    if set(cells) == own or (own & set(cells) and not all(map(_is_number, own & set(cells)))):
        return True
    return bool(cells) and not any(_is_number(cell) for cell in cells)


def _values(frame: Frame, name: str, spec: InputSpec) -> list[Any]:
    """The values of a column as the input wants them."""
    column = frame.columns[(frame.names or []).index(name)]
    return _parsed(column, spec) if frame.text else column


def _parsed(cells: list[str], spec: InputSpec) -> list[Any]:
    """Cells of a CSV file as values of JSON; in one go where all are floating-point numbers."""
    if "float" in spec.dtype:
        with suppress(ValueError):
            numbers: list[Any] = list(map(float, cells))
            if not any("_" in cell for cell in cells):
                return numbers
    return [_value(cell, spec) for cell in cells]


def _value(cell: str, spec: InputSpec) -> Any:
    """A cell of a CSV file as a value of JSON; what is no number stays text, and is refused with its place."""
    word = cell.strip()
    if not word and (spec.dtype != "string" or spec.missing is not None):
        return None
    if spec.dtype == "string":
        return cell
    if spec.dtype == "bool":
        return _WORDS.get(word.lower(), cell)
    return number_of(word) if _is_number(word) else cell


def number_of(word: object) -> int | float:
    """The number that a word writes.

    Raises:
        ValueError: It writes none.
    """
    if not isinstance(word, str):
        return word  # type: ignore[return-value]
    if "_" in word:  # Python takes 1_000
        raise ValueError(word)
    digits = word.strip().lstrip("+-")
    return int(word) if digits.isascii() and digits.isdecimal() and len(digits) < 400 else float(word)


def _is_number(cell: str) -> bool:
    try:
        number_of(cell)
    except ValueError:
        return False
    return True


def _checked(frame: Frame, check: Callable[[], dict[str, Array]], names: Sequence[str] = ()) -> dict[str, Array]:
    """What a check gives; its problems in words, with the row and the column."""
    try:
        return check()
    except InputError as error:
        told = [_words(frame, problem, names) for problem in error.problems]
        raise InputError(
            [Problem((), f"{frame.where}: {told[0]}"), *(Problem((), text) for text in told[1:])]
        ) from None


def _words(frame: Frame, problem: Problem, names: Sequence[str]) -> str:
    loc, places = problem.loc[1:], []
    if loc and isinstance(loc[0], int):
        places.append(frame.place(loc[0]))
    if len(loc) > 1:
        column = loc[1]
        if isinstance(column, int):
            column = names[column] if column < len(names) else column + 1
        places.append(f"column {column!r}")
    if len(loc) > 2:
        places.append(f"value {'.'.join(map(str, loc[2:]))}")
    message = problem.msg.replace("received null", "received nothing")
    return f"{', '.join(places)}: {message}" if places else message


_said: set[str] = set()


def _say(what: str) -> None:
    """Say something on stderr, once."""
    if what not in _said:
        _said.add(what)
        print(f"thinned: {' '.join(what.split())}", file=sys.stderr)
