"""Archives of arrays (.npz) as a data set: read by ranges of rows, without holding an array whole."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.errors import InputError, Problem, UsageError
from thinned.service.cli.column_files import first_line, wrong_file
from thinned.service.cli.frame_inputs import INPUT_NAMES
from thinned.service.cli.scoring.addresses import DataFile, open_file
from thinned.service.cli.scoring.data_set import DataSet, Part, cut, rows_within
from thinned.service.schema.input_arrays import check_inputs, check_shape

__all__ = ["ArrayReader", "array_set"]

Array = npt.NDArray[Any]
_NUMBERS_AND_TEXT = "biufU"
_KEPT = _NUMBERS_AND_TEXT + "SmM"
_UNITS_OF_ARROW = ("s", "ms", "us", "ns")
_BROKEN = (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


def array_set(
    address: str,
    files: Sequence[DataFile],
    specs: Sequence[InputSpec],
    *,
    columns: Sequence[str] | None,
    key: str | None,
    most: int,
) -> DataSet:
    """Look at the headers of the arrays.

    Raises:
        InputError: A file is no such archive, has other arrays than the first, or its arrays do not fit the model.
        UsageError: The arrays that a person named are not there.
    """
    counts: list[int] = []
    chosen: tuple[str, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()
    for place, file in enumerate(files):
        archive = _Archive(address, file)
        names = _inputs(archive, specs, columns)
        rows = _rows(archive, names, specs)
        beside = tuple(
            (name, head.dtype.str)
            for name, head in archive.heads.items()
            if (name not in names or name == key) and head.shape == (rows,) and head.dtype.kind in _KEPT
        )
        if key is not None and key not in dict(beside):
            raise UsageError(f"--key {key}: expected an array of that name with one value a row in {file.path}")
        if place and (names, [n for n, _ in beside]) != (chosen, [n for n, _ in kept]):
            raise wrong_file(file.path, f"expected the arrays of {files[0].name}; it has others")
        chosen, kept = names, beside if not place else kept
        counts.append(rows)
        archive.close()
    known_as = tuple(spec.name for spec in specs)
    width = sum(np.dtype(kind).itemsize for _, kind in kept)
    parts = cut(counts, rows_within(most, 1, width))
    return DataSet(address, "npz", tuple(files), parts, tuple(specs), chosen, known_as, kept)


@dataclass(frozen=True)
class _Head:
    """What the header of an array says, and the bytes before its values."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    begins: int


class _Archive:
    """An open archive of which rows are read."""

    def __init__(self, address: str, file: DataFile) -> None:
        self.path = file.path
        self._file = open_file(address, file)
        try:
            self._archive = zipfile.ZipFile(self._file)
            self._open = {name.removesuffix(".npy"): self._archive.open(name) for name in self._archive.namelist()}
            self.heads = {name: self._head(name) for name in self._open}
        except _BROKEN as error:
            what = f"expected numbers or text saved with numpy.savez ({first_line(error)})"
            raise wrong_file(file.path, what) from error

    def read(self, name: str, first: int, rows: int) -> Array:
        """Rows of an array."""
        head, stream = self.heads[name], self._open[name]
        width = head.dtype.itemsize * int(np.prod(head.shape[1:], dtype=np.int64))
        try:
            stream.seek(head.begins + first * width)
            data = stream.read(rows * width)
        except _BROKEN as error:
            raise wrong_file(self.path, f"the array {name} cannot be read ({first_line(error)})") from error
        if len(data) != rows * width:
            raise wrong_file(self.path, f"the array {name} ends before its row {first + rows - 1}")
        return np.frombuffer(data, head.dtype).reshape(rows, *head.shape[1:])

    def close(self) -> None:
        """Close it."""
        self._archive.close()
        self._file.close()

    def _head(self, name: str) -> _Head:
        stream = self._open[name]
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(stream)
        if by_columns and len(shape) > 1:
            raise ValueError(f"{name} is saved by columns; save numpy.ascontiguousarray({name})")
        return _Head(shape, dtype, stream.tell())


def _inputs(archive: _Archive, specs: Sequence[InputSpec], columns: Sequence[str] | None) -> tuple[str, ...]:
    """The array of each input."""
    names, there = tuple(spec.name for spec in specs), archive.heads
    if columns is not None:
        if len(columns) != len(specs) or not set(columns) <= set(there):
            raise UsageError(f"--columns expects {len(specs)} of the arrays {', '.join(there)} for {', '.join(names)}")
        return tuple(columns)
    if set(names) <= set(there):
        return names
    found = next((name for name in INPUT_NAMES if name in there), None)
    if len(specs) == 1 and found is not None:
        return (found,)
    either = " (or x)" if len(specs) == 1 and names != ("x",) else ""
    received = ", ".join(there) or "none"
    raise wrong_file(archive.path, f"expected arrays named {', '.join(names)}{either}, received {received}")


def _rows(archive: _Archive, names: Sequence[str], specs: Sequence[InputSpec]) -> int:
    """How many rows they have, where they fit the model."""
    for name, spec in zip(names, specs, strict=True):
        head = archive.heads[name]
        if not head.shape:
            raise wrong_file(archive.path, f"expected an array {name} of rows, it is a single value")
        if head.dtype.kind not in _NUMBERS_AND_TEXT or (head.dtype.kind == "U") != (spec.dtype == "string"):
            expected = "text" if spec.dtype == "string" else "numbers"
            raise wrong_file(archive.path, f"expected {expected} in the array {name}, it holds {head.dtype}")
        try:
            check_shape((max(1, head.shape[0]), *head.shape[1:]), spec, (), None, None)
        except InputError as error:
            raise wrong_file(archive.path, f"the array {name}: {error}") from None
    counts = {archive.heads[name].shape[0] for name in names}
    if len(counts) > 1:
        told = ", ".join(f"{name} {archive.heads[name].shape[0]}" for name in names)
        raise wrong_file(archive.path, f"expected as many rows in each array of inputs, received {told}")
    return int(counts.pop())


class ArrayReader:
    """Reads parts of archives; a packed one is unpacked as far as is needed, once where parts come in order."""

    def __init__(self, data: DataSet) -> None:
        self._data = data
        self._at: tuple[int, _Archive] | None = None

    def read(self, part: Part) -> _ArrayRows:
        """Read one.

        Raises:
            InputError: The file is broken.
        """
        import pyarrow

        if self._at is None or self._at[0] != part.file:
            if self._at is not None:
                self._at[1].close()
            self._at = part.file, _Archive(self._data.address, self._data.files[part.file])
        archive = self._at[1]
        arrays = {
            known: archive.read(name, part.first, part.rows)
            for name, known in zip(self._data.inputs, self._data.known_as, strict=True)
        }
        kept = {
            name: pyarrow.array(_as_arrow_takes(archive.read(name, part.first, part.rows)))
            for name, _ in self._data.kept
        }
        return _ArrayRows(archive.path, part.first, arrays, pyarrow.table(kept), self._data.specs)


def _as_arrow_takes(values: Array) -> Array:
    """Values of a kept array: in the bytes' order of this machine, and with a unit of time that Arrow has."""
    kind = values.dtype.newbyteorder("=")
    if kind.char == "g":
        kind = np.dtype(np.float64)
    elif kind.kind in "mM" and np.datetime_data(kind)[0] not in _UNITS_OF_ARROW:
        kind = np.dtype(f"{kind.kind}8[s]")
    return values.astype(kind, copy=False)


class _ArrayRows:
    """The rows of a part of an archive."""

    def __init__(self, where: str, first: int, arrays: dict[str, Array], kept: Any, specs: Sequence[InputSpec]) -> None:
        self.broken: dict[int, str] = {}
        self.kept = kept
        self._where, self._first, self._arrays, self._specs = where, first, arrays, specs

    def place(self, row: int) -> str:
        """Where a row stands."""
        return f"{self._where}: row {self._first + row}"

    def shape(self, row: int) -> Hashable:
        """All rows of an array have one."""
        return None

    def inputs(self, rows: Sequence[int]) -> dict[str, Array]:
        """Some rows as arrays.

        Raises:
            InputError: One does not fit.
        """
        picked = np.asarray(rows)
        try:
            return check_inputs({n: x[picked] for n, x in self._arrays.items()}, self._specs, max_rows=None)
        except InputError as error:
            raise InputError([self._told(problem, rows[0]) for problem in error.problems]) from None

    def _told(self, problem: Problem, first: int) -> Problem:
        """A problem of one row in words."""
        name, _, *rest = (*problem.loc[1:], "", "")[: max(2, len(problem.loc) - 1)]
        at = f", value {'.'.join(map(str, rest))}" if rest else ""
        return Problem((), f"{self.place(first)}, {name}{at}: {problem.msg}")
