"""`thinned predict --output`: answers written to a table or to arrays, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import ModelCard, OutputSpec
from thinned.models.errors import UsageError
from thinned.service.cli.options import require_extra
from thinned.service.schema.response_body import ClassSets

__all__ = ["answer_columns", "answer_fields", "check_output", "units_of", "write_answers"]

Array = npt.NDArray[Any]
SUFFIXES = (".parquet", ".csv", ".npz")
_MOST_COLUMNS = 16_384
_SET = "prediction_set"


def check_output(path: Path) -> None:
    """Refuse, before anything is computed, a file that could not be written.

    Raises:
        UsageError: Its ending is not known, its folder is not there or may not be written to, or what writes Parquet is
            not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"--output expects a file that ends in {', '.join(SUFFIXES)}, received {path.name!r}")
    if path.is_dir():
        raise UsageError(f"--output {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"--output {path}: there is no folder {path.parent}; make it first")
    if suffix == ".parquet":
        require_extra("data", "pyarrow")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(f"--output {path}: nothing can be written to {path.parent} ({error.strerror})") from error


def write_answers(document: Mapping[str, Any], card: ModelCard, path: Path) -> None:
    """Write what an answer says of each row: to `.npz` arrays by name, else a column for each number.

    A field of one of several outputs is named `output.field`, the numbers of a row `mean_0` and so on, or by the labels
    of its classes.

    Args:
        document: What the service would answer.
        card: The model's card.
        path: Where to; a file that is there is replaced.

    Raises:
        UsageError: A table would have too many columns.
        OSError: It cannot be written; nothing is left of it then.
    """
    fields = dict(answer_fields(document, card))
    if path.suffix.lower() == ".npz":
        content = io.BytesIO()
        arrays: dict[str, Any] = {name: _array(name, values) for name, (values, _) in fields.items()}
        np.savez(content, **arrays)
    else:
        columns = answer_columns(document, card)
        if len(columns) > _MOST_COLUMNS:
            raise UsageError(f"--output {path}: a table would have {len(columns)} columns; write a .npz file")
        content = _parquet(columns) if path.suffix.lower() == ".parquet" else _csv(columns)
    _replace(path, content.getvalue())


def answer_columns(document: Mapping[str, Any], card: ModelCard) -> dict[str, list[Any]]:
    """What an answer says of each row as the columns of a table, by name.

    Args:
        document: What the service would answer.
        card: The model's card.
    """
    return dict(_columns(dict(answer_fields(document, card))))


def answer_fields(document: Mapping[str, Any], card: ModelCard) -> Iterator[tuple[str, tuple[Any, OutputSpec | None]]]:
    """What is said of each row, by name, with the output that it is said of.

    Args:
        document: What the service would answer, of lists or of arrays.
        card: The model's card.
    """
    outputs = {spec.name: spec for spec in card.outputs}
    for field, value in document.items():
        if field in ("model", "quantiles", "samples"):
            continue
        named = isinstance(value, dict) and len(card.outputs) > 1
        for output, part in value.items() if named else [(card.outputs[0].name, value)]:
            prefix = f"{output}." if named else ""
            ends = part.items() if isinstance(part, dict) else [("", part)]  # the lower and upper ends of an interval
            for end, values in ends:
                if isinstance(values, list | np.ndarray | ClassSets):
                    yield f"{prefix}{end or field}", (values, outputs.get(output))


def _array(name: str, values: list[Any]) -> Array:
    return np.array(list(map(_joined, values))) if name.endswith(_SET) else np.asarray(values)


def _joined(members: list[Any]) -> str:
    """A set of classes as text: their names with bars between, or JSON where a row has several sets."""
    nested = any(isinstance(member, list) for member in members)
    return json.dumps(members) if nested else "|".join(map(str, members))


def _columns(fields: Mapping[str, tuple[Any, OutputSpec | None]]) -> Iterator[tuple[str, list[Any]]]:
    """A column for each number of a row."""
    for name, (values, spec) in fields.items():
        if name.endswith(_SET):
            yield name, values
            continue
        array = np.asarray(values)
        flat = array.reshape(len(array), -1)
        if flat.shape[1] == 1 and (array.ndim == 1 or array.shape[1:] == (1,)):
            yield name, flat[:, 0].tolist()
            continue
        for unit, column in zip(units_of(array.shape[1:], spec), flat.T, strict=True):
            yield f"{name}_{unit}", column.tolist()


def units_of(shape: Sequence[int], spec: OutputSpec | None) -> list[str]:
    """What the numbers of a row of this shape are called: the labels of its classes, or their places."""
    labels = spec.labels if spec is not None else None
    if labels and shape == (len(labels),) and len(set(labels)) == len(labels):
        return list(labels)
    return [str(i) for i in range(int(np.prod(shape)))]


def _csv(columns: Mapping[str, list[Any]]) -> io.BytesIO:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([_joined(value) if isinstance(value, list) else value for value in row])
    return io.BytesIO(text.getvalue().encode())


def _parquet(columns: Mapping[str, list[Any]]) -> io.BytesIO:
    import pyarrow
    from pyarrow import parquet

    content = io.BytesIO()
    parquet.write_table(pyarrow.table(dict(columns)), content)
    return content


def _replace(path: Path, content: bytes) -> None:
    """Write beside the file, then put it in its place by one rename."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    written = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        written.chmod(0o666 & ~_umask())
        written.replace(path)
    except BaseException:
        with suppress(OSError):
            written.unlink()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
