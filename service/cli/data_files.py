"""Files of rows, with or without their answers, read into what a request's "inputs" would hold."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.service.cli.csv_rows import INPUT_NAMES, first_line, read_csv, read_labelled_csv, wrong_file
from thinned.service.schema.input_arrays import check_inputs

__all__ = ["SUFFIXES", "read_inputs", "read_labelled", "read_rows"]

Array = npt.NDArray[Any]
TARGET_NAMES = ("y", "Y", "target", "targets", "labels", "y_test")

SUFFIXES = (".npy", ".npz", ".csv", ".json")


def read_inputs(path: Path, specs: Sequence[InputSpec]) -> object:
    """Read a file of rows; whether they fit the model is checked afterwards, as the service does.

    Args:
        path: `.npy` (an array, rows first), `.npz` (an array for each input, by name), `.csv` (a row a line; a header
            is skipped, and a row is folded into the input's shape if its numbers are as many; or a column for each
            input by name) or `.json` (nested lists, or an object with "inputs").
        specs: The model's inputs.

    Returns:
        Nested lists, an array, or one of these for each input's name.

    Raises:
        InputError: The file cannot be read as what its ending says.
    """
    readers = {".npy": _npy, ".npz": _npy, ".json": _json}
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise wrong_file(path, f"expected a file that ends in {', '.join(SUFFIXES)}, received {path.name!r}")
    try:
        return read_csv(path, specs) if suffix == ".csv" else readers[suffix](path)
    except FileNotFoundError:
        raise wrong_file(path, "no such file; pass one with --input") from None
    except OSError as error:
        raise wrong_file(path, f"it cannot be read ({error.strerror or error}); pass another with --input") from error


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
            `.csv` whose first line names the columns: of one input, or a column for each input by name.
        specs: The model's inputs.
        target: Name of the array or column of targets; for a `.npz` "y" and its like are found.

    Returns:
        The inputs by name, (B, *shape), and the targets, (B, ...).

    Raises:
        InputError: The file cannot be read, does not fit the model, or holds no such targets.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        rows, targets = read_labelled_csv(path, specs, target)
        inputs = check_inputs(rows, specs, max_rows=None)
    elif suffix == ".npz":
        raw = read_inputs(path, specs)
        arrays = raw if isinstance(raw, dict) else {}
        targets = _targets_of(path, arrays, target)
        inputs = check_inputs(_inputs_of(path, arrays, specs), specs, max_rows=None)
    else:
        raise wrong_file(path, "expected a .npz or .csv file that holds rows and their targets")
    count = len(next(iter(inputs.values())))
    if len(targets) != count:
        raise wrong_file(path, f"expected as many targets as rows, received {len(targets)} and {count}")
    return inputs, targets


def _inputs_of(path: Path, arrays: dict[str, Any], specs: Sequence[InputSpec]) -> dict[str, Any]:
    names = [spec.name for spec in specs]
    if all(name in arrays for name in names):
        return {name: arrays[name] for name in names}
    found = [name for name in INPUT_NAMES if name in arrays]
    if len(specs) == 1 and found:
        return {names[0]: arrays[found[0]]}
    either = " (or x)" if len(specs) == 1 else ""
    raise wrong_file(path, f"expected arrays named {', '.join(names)}{either}, received {', '.join(arrays) or 'none'}")


def _targets_of(path: Path, arrays: dict[str, Any], target: str | None) -> Array:
    names = TARGET_NAMES if target is None else (target,)
    found = [name for name in names if name in arrays]
    if not found:
        raise wrong_file(
            path, f"expected an array of targets named {' or '.join(names[:2])}, received {', '.join(arrays) or 'none'}"
        )
    return np.asarray(arrays[found[0]])


def _npy(path: Path) -> object:
    try:
        # Without pickle: an array of objects could run code.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise wrong_file(
            path, f"expected numbers or text saved with numpy.save or numpy.savez ({first_line(error)})"
        ) from error


def _json(path: Path) -> object:
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise wrong_file(
            path, f'expected JSON such as [[0.5, 1.0]] or {{"inputs": [[0.5, 1.0]]}} ({first_line(error)})'
        ) from error
    if isinstance(document, dict) and document.keys() == {"inputs"}:
        return document["inputs"]
    return document
