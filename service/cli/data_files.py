"""Input files of `thinned predict`, read into what a request's "inputs" would hold."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from thinned.models.card import InputSpec
from thinned.models.errors import InputError, Problem

__all__ = ["SUFFIXES", "read_inputs"]

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
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise _wrong(
            path, f"a .csv file holds one input, the model has {len(specs)} ({names}); pass a .npz or .json file"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [(number, cells) for number, cells in enumerate(csv.reader(file), 1) if any(map(str.strip, cells))]
    except (csv.Error, UnicodeDecodeError) as error:
        raise _wrong(path, f"expected rows of numbers separated by commas, in UTF-8 ({_line(error)})") from error
    if lines and not any(_is_number(cell) for cell in lines[0][1]):
        lines = lines[1:]
    rows = [_numbers(path, number, cells) for number, cells in lines]
    lengths = [length for length in specs[0].shape if length is not None]
    if len(lengths) < len(specs[0].shape):
        return rows
    for (number, _), row in zip(lines, rows, strict=True):
        if len(row) != prod(lengths):
            shape = "×".join(map(str, lengths))
            expected = f"{prod(lengths)} numbers" + (f", a row of shape {shape}" if len(lengths) > 1 else "")
            raise _wrong(path, f"line {number}: expected {expected}, received {len(row)}")
    return [_folded(row, lengths) for row in rows]


def _numbers(path: Path, number: int, cells: list[str]) -> list[int | float]:
    for column, cell in enumerate(cells, 1):
        if not _is_number(cell):
            raise _wrong(path, f"line {number}, column {column}: expected a number, received {cell[:20]!r}")
    return [int(cell) if cell.strip().lstrip("+-").isdecimal() else float(cell) for cell in cells]


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
