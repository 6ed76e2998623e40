"""Rows of a `.csv` file: the numbers or texts of one input, or a column for each of several inputs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.errors import InputError, Problem

__all__ = ["INPUT_NAMES", "first_line", "read_csv", "read_labelled_csv", "wrong_file"]

INPUT_NAMES = ("x", "X", "inputs", "x_test")

_Line = tuple[int, list[str]]
_TEXT_NAMES = (*INPUT_NAMES, "text")


def read_csv(path: Path, specs: Sequence[InputSpec]) -> object:
    """Read rows without their answers: of one input, a row a line; of several, each in a column of its name.

    A header of one input is passed over: for numbers, a first line without any; for text, one that holds nothing but
    the input's name, or "text" or "x". An empty cell is a missing value where the model knows one.

    Returns:
        Nested lists; for several inputs, by input name.

    Raises:
        InputError: The file cannot be read, or its columns do not fit; names the line.
    """
    lines = _lines(path, specs)
    if len(specs) > 1:
        return _columns(path, lines, specs, target=None)
    if lines and _is_head(lines[0][1], specs[0]):
        lines = lines[1:]
    return _rows(path, lines, specs[0])


def read_labelled_csv(path: Path, specs: Sequence[InputSpec], target: str | None) -> tuple[object, npt.NDArray[Any]]:
    """Read rows, and their answers from the column `target`; the first line names the columns.

    Returns:
        Rows as `read_csv` gives them, and the targets as numbers, or as text where one is no number.

    Raises:
        InputError: The file cannot be read, its columns do not fit, or there is no such column.
    """
    if target is None:
        raise wrong_file(path, "expected --target COLUMN, the name of the column that holds the targets")
    lines = _lines(path, specs)
    head = [name.strip() for name in lines[0][1]] if lines else []
    if target not in head:
        raise wrong_file(path, f"expected a column {target!r} in its first line, which has {', '.join(head[:20])}")
    column = head.index(target)
    for number, cells in lines[1:]:
        if len(cells) != len(head):
            raise wrong_file(path, f"line {number}: expected {len(head)} values, received {len(cells)}")
    words = [cells[column].strip() for _, cells in lines[1:]]
    try:
        targets = np.asarray([float(word) for word in words])
    except ValueError:
        targets = np.asarray(words)
    if len(specs) > 1:
        return _columns(path, lines, specs, target=target), targets
    rows = _rows(path, lines[1:], specs[0], target=column)
    if None in specs[0].shape:  # the length that varies is what the values of a line make it
        try:
            rows = np.asarray(rows).reshape(len(rows), *(n or -1 for n in specs[0].shape))
        except ValueError:
            wanted = "×".join("?" if n is None else str(n) for n in specs[0].shape)
            raise wrong_file(
                path, f"expected rows of {wanted} {_kind(specs[0])} beside the target, as many in each line"
            ) from None
    return rows, targets


def wrong_file(path: Path, what: str) -> InputError:
    """The error that a file is not as it should be."""
    return InputError([Problem((), f"{path}: {what}")])


def first_line(error: Exception) -> str:
    """What an error of a reader says, short."""
    return str(error).split("\n")[0][:120]


def _lines(path: Path, specs: Sequence[InputSpec]) -> list[_Line]:
    """The lines that hold anything, with their numbers; of text an empty cell counts."""
    if len(specs) != 1 and not all(spec.shape in ((), (1,)) for spec in specs):
        names = ", ".join(spec.name for spec in specs)
        raise wrong_file(
            path,
            "a .csv file holds one input, or several of one value each; the model has "
            f"{len(specs)} ({names}); pass a .npz or .json file",
        )
    text = any(spec.dtype == "string" for spec in specs)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            numbered = enumerate(csv.reader(file), 1)
            return [(number, cells) for number, cells in numbered if any(map(str.strip, cells)) or (text and cells)]
    except FileNotFoundError:
        raise wrong_file(path, "no such file; pass one that is there") from None
    except OSError as error:
        raise wrong_file(path, f"it cannot be read ({error.strerror or error}); pass another") from error
    except (csv.Error, UnicodeDecodeError) as error:
        kind = "values" if text else "numbers"
        raise wrong_file(
            path, f"expected rows of {kind} separated by commas, in UTF-8 ({first_line(error)})"
        ) from error


def _is_head(cells: Sequence[str], spec: InputSpec) -> bool:
    if spec.dtype == "string":
        return len(cells) == 1 and cells[0].strip() in (spec.name, *_TEXT_NAMES)
    return not any(_is_number(cell) for cell in cells)


def _columns(path: Path, lines: Sequence[_Line], specs: Sequence[InputSpec], target: str | None) -> dict[str, Any]:
    """The column of each input, which the first line names; beside them there is none but that of the targets."""
    head = [name.strip() for name in lines[0][1]] if lines else []
    expected = [*(spec.name for spec in specs), *([] if target is None else [target])]
    if sorted(head) != sorted(expected):
        received = ", ".join(head[:20]) or "none"
        raise wrong_file(
            path, f"expected a first line that names the columns {', '.join(expected)}, received {received}"
        )
    for number, cells in lines[1:]:
        if len(cells) != len(head):
            raise wrong_file(path, f"line {number}: expected {len(head)} values, received {len(cells)}")
    read: dict[str, Any] = {}
    for spec in specs:
        column = head.index(spec.name)
        values = [_value(path, number, column, cells[column], spec) for number, cells in lines[1:]]
        read[spec.name] = [[value] for value in values] if spec.shape else values
    return read


def _rows(path: Path, lines: Sequence[_Line], spec: InputSpec, *, target: int | None = None) -> Any:
    """Rows without the column of targets, folded into the input's shape where its lengths are known."""
    rows = [
        [_value(path, number, column, cell, spec) for column, cell in enumerate(cells) if column != target]
        for number, cells in lines
    ]
    beside = "" if target is None else " beside the target"
    lengths = [length for length in spec.shape if length is not None]
    if len(lengths) < len(spec.shape):
        return rows
    for (number, _), row in zip(lines, rows, strict=True):
        if len(row) != prod(lengths):
            shape = "×".join(map(str, lengths))
            expected = f"{prod(lengths)} {_kind(spec)}" + (f", a row of shape {shape}" if len(lengths) > 1 else "")
            raise wrong_file(path, f"line {number}: expected {expected}{beside}, received {len(row)}")
    return [_folded(row, lengths) for row in rows]


def _kind(spec: InputSpec) -> str:
    return "texts" if spec.dtype == "string" else "numbers"


def _value(path: Path, number: int, column: int, cell: str, spec: InputSpec) -> str | int | float | None:
    if spec.missing is not None and not cell.strip():
        return None
    if spec.dtype == "string":
        return cell
    if not _is_number(cell):
        raise wrong_file(path, f"line {number}, column {column + 1}: expected a number, received {cell[:20]!r}")
    return int(cell) if cell.strip().lstrip("+-").isdecimal() else float(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _folded(row: list[Any], lengths: Sequence[int]) -> Any:
    """The values of one row in nested lists, the last axis fastest."""
    nested: list[Any] = row
    for length in reversed(lengths[1:]):
        nested = [nested[start : start + length] for start in range(0, len(nested), length)]
    return nested if lengths else row[0]
