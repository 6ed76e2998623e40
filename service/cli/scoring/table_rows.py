"""Rows of a table: the columns of its inputs as arrays that the model takes, by the reader of all other commands."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.service.cli.column_files import Frame, plain_value
from thinned.service.cli.frame_inputs import inputs_of
from thinned.service.cli.scoring.data_set import DataSet
from thinned.service.schema.input_arrays import check_inputs
from thinned.service.schema.input_values import numpy_dtype
from thinned.service.schema.records import columns_of, numbered

__all__ = ["TableRows"]

Array = npt.NDArray[Any]


class TableRows:
    """The rows of a part of a table.

    Args:
        data: The data set.
        where: The file, for messages.
        first: Number of its first row in the file.
        columns: The inputs' columns, under the model's names: columns of Arrow, or lists of text.
        kept: The columns that are kept, as a table of Arrow.
        numbers: Of CSV the line of each row.
        broken: Rows that are no rows, and why.
    """

    def __init__(
        self,
        data: DataSet,
        where: str,
        first: int,
        columns: Mapping[str, Any],
        kept: Any,
        *,
        numbers: list[int] | None = None,
        broken: dict[int, str] | None = None,
    ) -> None:
        self.broken: dict[int, str] = broken or {}
        self.kept = kept
        self._data, self._where, self._first, self._numbers = data, where, first, numbers
        self._columns = columns
        self._varies = any(None in spec.shape for spec in data.specs)

    def place(self, row: int) -> str:
        """Where a row stands."""
        what = f"row {self._first + row}" if self._numbers is None else f"line {self._numbers[row]}"
        return f"{self._where}: {what}"

    def shape(self, row: int) -> Hashable:
        """The lengths of the lists in a row, where an input has a length that varies."""
        if not self._varies:
            return None
        return tuple(_lengths(values[row]) for values in self._values.values())

    def inputs(self, rows: Sequence[int]) -> dict[str, Array]:
        """Some rows as arrays.

        Raises:
            InputError: One does not fit.
        """
        if self._numeric and len(rows) > 1:
            return self._stacked(np.asarray(rows))
        columns = [[values[row] for row in rows] for values in self._values.values()]
        numbers = None if self._numbers is None else [self._numbers[row] for row in rows]
        text = self._numbers is not None
        frame = Frame(self._where, list(self._columns), columns, [], numbers, text=text, first=self._first + rows[0])
        return inputs_of(frame, self._data.specs)

    @cached_property
    def _values(self) -> dict[str, list[Any]]:
        """The columns as lists of Python's own values."""
        return {
            name: column if isinstance(column, list) else list(map(plain_value, column.to_pylist()))
            for name, column in self._columns.items()
        }

    @cached_property
    def _layout(self) -> list[tuple[InputSpec, tuple[str, ...]]]:
        """The columns of each input."""
        names = tuple(self._columns)
        lone = len(self._data.specs) == 1
        return [(s, names if lone else columns_of(s) or (s.name,)) for s in self._data.specs]

    @cached_property
    def _numeric(self) -> bool:
        """Whether there is nothing but numbers, which need not be looked at one by one."""
        if self._numbers is not None or self._varies:
            return False
        for spec, names in self._layout:
            own = columns_of(spec) or numbered(spec) or ()
            if numpy_dtype(spec.dtype).kind not in "fiu" or (len(self._data.specs) > 1 and names != own):
                return False
            columns = [self._columns[name] for name in names]
            kinds = {column.type.to_pandas_dtype() for column in columns if _is_number(column.type)}
            if not all(_is_number(column.type) and not column.null_count for column in columns):
                return False
            if numpy_dtype(spec.dtype).kind != "f" and len(kinds) > 1:
                return False
        return True

    def _stacked(self, rows: npt.NDArray[Any]) -> dict[str, Array]:
        arrays: dict[str, Array] = {}
        for spec, names in self._layout:
            stacked = np.stack([self._arrays[name][rows] for name in names], axis=1)
            arrays[spec.name] = stacked.reshape(len(rows), *(n or 1 for n in spec.shape))
        return check_inputs(arrays, self._data.specs, max_rows=None)

    @cached_property
    def _arrays(self) -> dict[str, Array]:
        return {name: column.to_numpy() for name, column in self._columns.items()}


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_float32(kind) or types.is_float64(kind))


def _lengths(value: Any) -> tuple[int, ...]:
    """The length of a list, of the first list in it, and so on."""
    found = []
    while isinstance(value, list):
        found.append(len(value))
        value = value[0] if value else None
    return tuple(found)
