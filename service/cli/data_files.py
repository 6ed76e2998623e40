"""Files of rows, with or without their answers, as arrays that fit a model: the one reader of all commands."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.errors import InputError
from thinned.service.cli.column_files import (
    Frame,
    first_line,
    read_csv,
    read_lines_of_json,
    read_parquet,
    records_frame,
    wrong_file,
)
from thinned.service.cli.frame_inputs import INPUT_NAMES, inputs_of
from thinned.service.cli.frame_targets import groups_of, target_columns, targets_of
from thinned.service.schema.input_arrays import check_inputs

__all__ = ["STANDARD_INPUT", "SUFFIXES", "read_grouped", "read_known", "read_labelled", "read_rows"]

Array = npt.NDArray[Any]
TARGET_NAMES = ("y", "Y", "target", "targets", "labels", "y_test")
STANDARD_INPUT = Path("-")
SUFFIXES = (".npy", ".npz", ".csv", ".parquet", ".json", ".jsonl")
_MAGIC = ((b"\x93NUMPY", ".npy"), (b"PAR1", ".parquet"), (b"PK\x03\x04", ".npz"))
_PROBLEMS_TOLD = 3
_SHEETS = (".xlsx", ".xls", ".ods")


def read_rows(path: Path, specs: Sequence[InputSpec]) -> dict[str, Array]:
    """Rows without their answers.

    Args:
        path: `.csv`, `.parquet`, `.json` or `.jsonl` records: columns by name; `.npy`: an array, rows first; `.npz`: an
            array for each input by name, of which those that are no input are passed over; `.json`: nested lists too.
            "-" is standard input, whose first bytes say what it is.
        specs: The model's inputs.

    Returns:
        The inputs by name, (B, *shape).

    Raises:
        InputError: The file cannot be read, or does not fit the model; names the row and the column.
    """
    read = _read(path, specs)
    if isinstance(read, Frame):
        return inputs_of(read, specs)
    return _checked(path, _inputs_of(path, read, specs) if isinstance(read, _Arrays) else read, specs)


def read_known(path: Path, specs: Sequence[InputSpec], target: str | None, group: str | None) -> dict[str, Array]:
    """Rows of which neither the answers nor the groups are looked at, whether they are in the file or not.

    Arguments and errors are those of `read_grouped`.
    """
    read = _read(path, specs)
    if isinstance(read, Frame) and group is not None and group in ((frame := read.with_head()).names or ()):
        read = groups_of(frame, group, specs)[0]
    if isinstance(read, Frame):
        others = [] if target is None else [target, *(name.strip() for name in target.split(","))]
        return inputs_of(read, specs, others)
    return _checked(path, _inputs_of(path, read, specs) if isinstance(read, _Arrays) else read, specs)


def read_labelled(path: Path, specs: Sequence[InputSpec], target: str | None) -> tuple[dict[str, Array], Array]:
    """Rows and their answers.

    Args:
        path: As for `read_rows`: a table with a column of targets, or a `.npz` with an array of them.
        specs: The model's inputs; "x" in a `.npz` will do for a single one.
        target: Name of the array or column of targets, or of several columns with commas between them; for a `.npz` "y"
            and its like are found.

    Returns:
        The inputs by name, (B, *shape), and the targets, (B, ...).

    Raises:
        InputError: The file cannot be read, does not fit the model, or a row has no target.
    """
    return read_grouped(path, specs, target, None)[:2]


def read_grouped(
    path: Path, specs: Sequence[InputSpec], target: str | None, group: str | None
) -> tuple[dict[str, Array], Array, Array | None]:
    """Rows, their answers, and what each row belongs to.

    Args:
        path: As for `read_labelled`.
        specs: The model's inputs.
        target: As for `read_labelled`.
        group: Name of the column, or array, that says which group each row belongs to; None for no groups.

    Returns:
        The inputs by name, (B, *shape), the targets, (B, ...), and the groups, (B,), or None.

    Raises:
        InputError: As `read_labelled`, or a row has no group.
    """
    read = _read(path, specs)
    groups: Array | None = None
    if isinstance(read, Frame):
        frame, columns = target_columns(read, target)
        targets = targets_of(frame, columns)
        if group is not None:
            frame, groups = groups_of(frame, group, specs)
        inputs = inputs_of(frame, specs, columns)
        place = frame.place
    elif isinstance(read, _Arrays):
        targets = _targets_of(path, read, target)
        groups = None if group is None else _groups_of(path, read, group, len(targets))
        inputs = _checked(path, _inputs_of(path, read, specs), specs)
        place = "row {}".format
    else:
        what = "expected a table (.csv, .parquet or records in .json) or a .npz file that holds rows and their targets"
        raise wrong_file(_name(path), what)
    count = len(next(iter(inputs.values())))
    if len(targets) != count:
        raise wrong_file(_name(path), f"expected as many targets as rows, received {len(targets)} and {count}")
    _refuse_gaps(targets, _name(path), place)
    return inputs, targets, groups


def _refuse_gaps(targets: Array, where: str, place: Callable[[int], str], what: str = "target") -> None:
    """Refuse targets, or groups, that are NaN or infinite, by the first row of them."""
    if targets.dtype.kind != "f":
        return
    finite = np.isfinite(targets).reshape(len(targets), -1).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        received = targets[first].ravel()[~np.isfinite(targets[first].ravel())][0]
        rows = f"{int((~finite).sum())} of {len(targets)} rows have none that is; leave them out"
        raise wrong_file(where, f"{place(first)}: expected a finite {what}, received {received}; {rows}")


def _checked(path: Path, raw: object, specs: Sequence[InputSpec]) -> dict[str, Array]:
    """Arrays or nested lists that fit the model; what is wrong with them by row."""
    try:
        return check_inputs(raw, specs, max_rows=None)
    except InputError as error:
        told = [_words(*problem) for problem in error.problems]
        raise wrong_file(_name(path), "; ".join(told[:_PROBLEMS_TOLD])) from None


def _words(loc: Sequence[str | int], message: str) -> str:
    """A problem with its place: the input, where it is named, and the row."""
    names = [f"input {part!r}" for part in loc[1:2] if isinstance(part, str)]
    row, *rest = loc[1 + len(names) :] or (None,)
    places = [*names, *([] if row is None else [f"row {row}"])]
    if rest:
        places.append(f"value {'.'.join(map(str, rest))}")
    return f"{', '.join(places)}: {message}" if places else message


class _Arrays(dict[str, Any]):
    """The arrays of a `.npz`, by name."""


def _read(path: Path, specs: Sequence[InputSpec]) -> Any:
    """A `Frame` of a table, `_Arrays` of a `.npz`; else what the "inputs" of a request would hold."""
    where = _name(path)
    try:
        with _opened(path) as (file, suffix):
            if suffix == ".csv":
                return read_csv(file, where, text=any(spec.dtype == "string" for spec in specs))
            if suffix == ".parquet":
                return read_parquet(file, where)
            if suffix in (".npy", ".npz"):
                return _numpy(file, where)
            read = _json(file, where, lines=suffix == ".jsonl")
    except FileNotFoundError:
        raise wrong_file(where, "no such file; pass one with --input or --data") from None
    except OSError as error:
        raise wrong_file(where, f"it cannot be read ({error.strerror or error}); pass another") from error
    records = isinstance(read, list) and bool(read) and isinstance(read[0], dict)
    return records_frame(read, where) if records else read


def _name(path: Path) -> str:
    return "standard input" if path == STANDARD_INPUT else str(path)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], str]]:
    """A file and the ending that says what is in it."""
    if path == STANDARD_INPUT:
        content = sys.stdin.buffer.read()
        yield io.BytesIO(content), _kind(content)
        return
    suffix = {".ndjson": ".jsonl", ".pq": ".parquet"}.get(path.suffix.lower(), path.suffix.lower())
    if suffix in _SHEETS:
        raise wrong_file(path, "spreadsheets are not read; save it as CSV or Parquet")
    if suffix not in SUFFIXES:
        raise wrong_file(path, f"expected a file that ends in {', '.join(SUFFIXES)}, received {path.name!r}")
    with path.open("rb") as file:
        yield file, suffix


def _kind(content: bytes) -> str:
    """The ending that a file of this content would have."""
    for magic, suffix in _MAGIC:
        if content.startswith(magic):
            return suffix
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return ".json" if start in (b"[", b"{") else ".csv"


def _inputs_of(path: Path, arrays: _Arrays, specs: Sequence[InputSpec]) -> dict[str, Any]:
    names = [spec.name for spec in specs]
    if all(name in arrays for name in names):
        return {name: arrays[name] for name in names}
    found = [name for name in INPUT_NAMES if name in arrays]
    if len(specs) == 1 and found:
        return {names[0]: arrays[found[0]]}
    either = " (or x)" if len(specs) == 1 else ""
    received = ", ".join(arrays) or "none"
    raise wrong_file(_name(path), f"expected arrays named {', '.join(names)}{either}, received {received}")


def _targets_of(path: Path, arrays: _Arrays, target: str | None) -> Array:
    names = TARGET_NAMES if target is None else (target,)
    found = [name for name in names if name in arrays]
    if not found:
        received = ", ".join(arrays) or "none"
        raise wrong_file(
            _name(path), f"expected an array of targets named {' or '.join(names[:2])}, received {received}"
        )
    return np.atleast_1d(np.asarray(arrays[found[0]]))


def _groups_of(path: Path, arrays: _Arrays, group: str, rows: int) -> Array:
    if group not in arrays:
        received = ", ".join(arrays) or "none"
        raise wrong_file(_name(path), f"expected an array of groups named {group}, received {received}")
    groups = np.asarray(arrays[group])
    if groups.shape != (rows,):
        raise wrong_file(_name(path), f"{group}: expected one group for each of {rows} rows, received {groups.shape}")
    _refuse_gaps(groups, f"{_name(path)}, {group}", "row {}".format, "group")
    return groups


def _numpy(file: IO[bytes], where: str) -> Any:
    try:
        # Without pickle: an array of objects could run code.
        loaded = np.load(file, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else _Arrays({name: loaded[name] for name in loaded.files})
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        what = f"expected numbers or text saved with numpy.save or numpy.savez ({first_line(error)})"
        raise wrong_file(where, what) from error


def _json(file: IO[bytes], where: str, *, lines: bool) -> Any:
    try:
        text = file.read().decode("utf-8-sig")
        if lines:
            return read_lines_of_json(text, where)
        document: Any = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and "\n" in text:  # a document a line, under another name
            return read_lines_of_json(text, where)
        raise _no_json(where, error) from error
    except (ValueError, RecursionError) as error:
        raise _no_json(where, error) from error
    if isinstance(document, dict) and document.keys() == {"inputs"}:
        return document["inputs"]
    return document


def _no_json(where: str, error: Exception) -> InputError:
    shown = '[[0.5, 1.0]], {"inputs": [[0.5, 1.0]]} or [{"age": 41}]'
    return wrong_file(where, f"expected JSON such as {shown} ({first_line(error)})")
