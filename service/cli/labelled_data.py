"""Files of rows whose answers are known, for `thinned audit`, `evaluate` and `calibrate`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.errors import InputError, Problem
from thinned.service.cli.data_files import read_inputs
from thinned.service.schema.input_arrays import check_inputs

__all__ = ["read_labelled", "read_rows"]

Array = npt.NDArray[Any]
INPUT_NAMES = ("x", "X", "inputs", "x_test")
TARGET_NAMES = ("y", "Y", "target", "targets", "labels", "y_test")


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
        inputs, targets = _csv(path, specs, target)
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


def _csv(path: Path, specs: Sequence[InputSpec], target: str | None) -> tuple[dict[str, Array], Array]:
    if target is None:
        raise _wrong(path, "expected --target COLUMN, the name of the column that holds the targets")
    if len(specs) != 1:
        raise _wrong(path, f"a .csv file holds one input, the model has {len(specs)}; pass a .npz file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if any(map(str.strip, line))]
    except FileNotFoundError:
        raise _wrong(path, "no such file") from None
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise _wrong(path, f"expected numbers separated by commas, in UTF-8 ({error})") from error
    head = [name.strip() for name in lines[0]] if lines else []
    if target not in head:
        raise _wrong(path, f"expected a column {target!r} in its first line, which has {', '.join(head[:20])}")
    column = head.index(target)
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(head):
            raise _wrong(path, f"line {number}: expected {len(head)} values, received {len(line)}")
    words = [line[column].strip() for line in lines[1:]]
    rest = [
        [_number(path, number, cell) for i, cell in enumerate(line) if i != column]
        for number, line in enumerate(lines[1:], 2)
    ]
    shape = [n or -1 for n in specs[0].shape]
    try:
        folded = np.asarray(rest).reshape(len(rest), *shape)
    except ValueError:
        wanted = "×".join(map(str, shape))
        raise _wrong(path, f"expected rows of {wanted} beside the target, received {len(head) - 1} numbers") from None
    try:
        targets = np.asarray([float(word) for word in words])
    except ValueError:
        targets = np.asarray(words)
    return check_inputs(folded, specs, max_rows=None), targets


def _number(path: Path, line: int, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise _wrong(path, f"line {line}: expected a number, received {cell[:20]!r}") from None


def _wrong(path: Path, what: str) -> InputError:
    return InputError([Problem((), f"{path}: {what}")])
