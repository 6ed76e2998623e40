"""Files of rows, with or without their answers, read into what a request's "inputs" would hold."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.errors import InputError, Problem
from thinned.service.schema.input_arrays import check_inputs

__all__ = ["SUFFIXES", "read_inputs", "read_labelled", "read_rows"]

Array = npt.NDArray[Any]
INPUT_NAMES = ("x", "X", "inputs", "x_test")
TARGET_NAMES = ("y", "Y", "target", "targets", "labels", "y_test")

SUFFIXES = (".npy", ".npz", ".csv", ".json")


def read_inputs(path: Path, specs: Sequence[InputSpec]) -> object:
    """Read a file of rows; whether they fit the model is checked afterwards, as the service does.

    Args:
        path: `.npy` (an array, rows first), `.npz` (an array for each input, by name), `.csv` (a row a line; a header
            is skipped, and a row is folded into the input's shape if its numbers are as many) or `.json` (nested
            lists, or an object with "inputs").
        specs: The model's inputs.

    Returns:
        Nested lists, an array, or one of these for each input's name.

    Raises:
        InputError: The file cannot be read as what its ending says.
    """
    readers = {".npy": _npy, ".npz": _npy, ".json": _json}
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise _wrong(path, f"expected a file that ends in {', '.join(SUFFIXES)}, received {path.name!r}")
    try:
        return _csv(path, specs) if suffix == ".csv" else readers[suffix](path)
    except FileNotFoundError:
        raise _wrong(path, "no such file; pass one with --input") from None
    except OSError as error:
        raise _wrong(path, f"it cannot be read ({error.strerror or error}); pass another with --input") from error


def read_rows(path: Path, specs: Sequence[InputSpec]) -> dict[str, Array]:
    """Rows without their answers; arrays in a `.npz` that are no input are passed over.

    Raises:
        InputError: The file cannot be read, or does not fit the model.
    """
    raw = read_inputs(path, specs)
    if path.suffix.lower() == ".npz" and isinstance(raw, dict):
        raw = _inputs_of(path, raw, specs)
    return check_inputs(raw, specs, max_rows=None)


def read_labelled(path: Path, specs: Sequence[InputSpec], target: str | None) -> tuple[dict[str, Array], Array]:
    """Rows and their answers.

    Args:
        path: A `.npz` with an array for each input by name ("x" will do for a single one) and one of targets; or a
            `.csv` whose first line names the columns, for a model with one input.
        specs: The model's inputs.
        target: Name of the array or column of targets; for a `.npz` "y" and its like are found.

    Returns:
        The inputs by name, (B, *shape), and the targets, (B, ...).

    Raises:
        InputError: The file cannot be read, does not fit the model, or holds no such targets.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        inputs, targets = _labelled_csv(path, specs, target)
    elif suffix == ".npz":
        raw = read_inputs(path, specs)
        arrays = raw if isinstance(raw, dict) else {}
        targets = _targets_of(path, arrays, target)
        inputs = check_inputs(_inputs_of(path, arrays, specs), specs, max_rows=None)
    else:
        raise _wrong(path, "expected a .npz or .csv file that holds rows and their targets")
    rows = len(next(iter(inputs.values())))
    if len(targets) != rows:
        raise _wrong(path, f"expected as many targets as rows, received {len(targets)} and {rows}")
    return inputs, targets


def _inputs_of(path: Path, arrays: dict[str, Any], specs: Sequence[InputSpec]) -> dict[str, Any]:
    names = [spec.name for spec in specs]
    if all(name in arrays for name in names):
        return {name: arrays[name] for name in names}
    found = [name for name in INPUT_NAMES if name in arrays]
    if len(specs) == 1 and found:
        return {names[0]: arrays[found[0]]}
    either = " (or x)" if len(specs) == 1 else ""
    raise _wrong(path, f"expected arrays named {', '.join(names)}{either}, received {', '.join(arrays) or 'none'}")


def _targets_of(path: Path, arrays: dict[str, Any], target: str | None) -> Array:
    names = TARGET_NAMES if target is None else (target,)
    found = [name for name in names if name in arrays]
    if not found:
        raise _wrong(
            path, f"expected an array of targets named {' or '.join(names[:2])}, received {', '.join(arrays) or 'none'}"
        )
    return np.asarray(arrays[found[0]])


def _labelled_csv(path: Path, specs: Sequence[InputSpec], target: str | None) -> tuple[dict[str, Array], Array]:
    if target is None:
        raise _wrong(path, "expected --target COLUMN, the name of the column that holds the targets")
    lines = _lines(path, specs)
    head = [name.strip() for name in lines[0][1]] if lines else []
    if target not in head:
        raise _wrong(path, f"expected a column {target!r} in its first line, which has {', '.join(head[:20])}")
    column = head.index(target)
    for number, cells in lines[1:]:
        if len(cells) != len(head):
            raise _wrong(path, f"line {number}: expected {len(head)} values, received {len(cells)}")
    words = [cells[column].strip() for _, cells in lines[1:]]
    try:
        targets = np.asarray([float(word) for word in words])
    except ValueError:
        targets = np.asarray(words)
    rows = _rows(path, lines[1:], specs, target=column)
    if None in specs[0].shape:  # the length that varies is what the numbers of a line make it
        try:
            rows = np.asarray(rows).reshape(len(rows), *(n or -1 for n in specs[0].shape))
        except ValueError:
            wanted = "×".join("?" if n is None else str(n) for n in specs[0].shape)
            raise _wrong(path, f"expected rows of {wanted} numbers beside the target, as many in each line") from None
    return check_inputs(rows, specs, max_rows=None), targets


def _npy(path: Path) -> object:
    try:
        # Without pickle: an array of objects could run code.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _wrong(path, f"expected numbers saved with numpy.save or numpy.savez ({_line(error)})") from error


def _json(path: Path) -> object:
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _wrong(
            path, f'expected JSON such as [[0.5, 1.0]] or {{"inputs": [[0.5, 1.0]]}} ({_line(error)})'
        ) from error
    if isinstance(document, dict) and document.keys() == {"inputs"}:
        return document["inputs"]
    return document


def _csv(path: Path, specs: Sequence[InputSpec]) -> object:
    lines = _lines(path, specs)
    if lines and not any(_is_number(cell) for cell in lines[0][1]):
        lines = lines[1:]
    return _rows(path, lines, specs)


def _lines(path: Path, specs: Sequence[InputSpec]) -> list[tuple[int, list[str]]]:
    """The lines that hold anything, with their numbers."""
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise _wrong(
            path, f"a .csv file holds one input, the model has {len(specs)} ({names}); pass a .npz or .json file"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [(number, cells) for number, cells in enumerate(csv.reader(file), 1) if any(map(str.strip, cells))]
    except FileNotFoundError:
        raise _wrong(path, "no such file; pass one that is there") from None
    except OSError as error:
        raise _wrong(path, f"it cannot be read ({error.strerror or error}); pass another") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise _wrong(path, f"expected rows of numbers separated by commas, in UTF-8 ({_line(error)})") from error


def _rows(
    path: Path, lines: Sequence[tuple[int, list[str]]], specs: Sequence[InputSpec], *, target: int | None = None
) -> Any:
    """Rows of numbers without the column of targets, folded into the input's shape where its lengths are known."""
    rows = [_numbers(path, number, cells, target) for number, cells in lines]
    beside = "" if target is None else " beside the target"
    lengths = [length for length in specs[0].shape if length is not None]
    if len(lengths) < len(specs[0].shape):
        return rows
    for (number, _), row in zip(lines, rows, strict=True):
        if len(row) != prod(lengths):
            shape = "×".join(map(str, lengths))
            expected = f"{prod(lengths)} numbers" + (f", a row of shape {shape}" if len(lengths) > 1 else "")
            raise _wrong(path, f"line {number}: expected {expected}{beside}, received {len(row)}")
    return [_folded(row, lengths) for row in rows]


def _numbers(path: Path, number: int, cells: list[str], leave_out: int | None) -> list[int | float]:
    for column, cell in enumerate(cells):
        if column != leave_out and not _is_number(cell):
            raise _wrong(path, f"line {number}, column {column + 1}: expected a number, received {cell[:20]!r}")
    kept = [cell for column, cell in enumerate(cells) if column != leave_out]
    return [int(cell) if cell.strip().lstrip("+-").isdecimal() else float(cell) for cell in kept]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _folded(row: list[int | float], lengths: Sequence[int]) -> Any:
    """The numbers of one row in nested lists, the last axis fastest."""
    nested: list[Any] = row
    for length in reversed(lengths[1:]):
        nested = [nested[start : start + length] for start in range(0, len(nested), length)]
    return nested if lengths else row[0]


def _wrong(path: Path, what: str) -> InputError:
    return InputError([Problem((), f"{path}: {what}")])


def _line(error: Exception) -> str:
    return str(error).split("\n")[0][:120]
