"""The rows that a caller gives in Python, as arrays that fit a model: by the readers of requests and of files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.errors import InputError, Problem
from thinned.service.cli.column_files import Frame
from thinned.service.cli.frame_inputs import inputs_of
from thinned.service.schema.input_arrays import check_inputs, describe

__all__ = ["DataFrame", "Table", "arrays_of", "is_frame"]

Array = npt.NDArray[Any]
_WHERE = "the DataFrame"


class DataFrame(Protocol):
    """A DataFrame of pandas, as far as it is used here."""

    @property
    def index(self) -> Any:
        """The labels of its rows."""

    @property
    def columns(self) -> Any:
        """The names of its columns."""

    @property
    def iloc(self) -> Any:
        """Its values by place."""


Table = TypeVar("Table", bound=DataFrame)


def is_frame(rows: object) -> bool:
    """Whether rows are a DataFrame of pandas, which is not imported to find out."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(rows, pandas.DataFrame)


def arrays_of(rows: Any, specs: Sequence[InputSpec]) -> dict[str, Array]:
    """Rows as `thinned predict` would read them from a file.

    Args:
        rows: An array or nested lists, rows first; a mapping from the inputs' names to these; a list of records; or a
            DataFrame, whose columns are found by name.
        specs: The model's inputs.

    Returns:
        By the input's name, an array (B, *shape) of the input's dtype.

    Raises:
        InputError: They do not fit; says where and why.
    """
    if is_frame(rows):
        return inputs_of(_table(rows), specs)
    if isinstance(rows, Mapping):
        given: object = {name: _nested(value) for name, value in rows.items()}
    elif hasattr(rows, "columns"):
        what = (
            f"expected arrays, lists or a DataFrame of pandas, received {type(rows).__module__}.{type(rows).__name__}"
        )
        raise InputError([Problem(("inputs",), f"{what}; pass its to_pandas(), or its columns as arrays by name")])
    else:
        given = _nested(rows)
    return check_inputs(given, specs, max_rows=None)


def _nested(value: Any) -> object:
    """An array as it is, and lists as JSON has them: of lists and Python's own numbers."""
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind != "O" else _plain(value)
    if isinstance(value, list | tuple):
        parts = list(map(_nested, value))
        arrays = [part for part in parts if isinstance(part, np.ndarray)]
        if arrays and len(arrays) == len(parts) and len({part.shape for part in arrays}) == 1:
            return np.stack(arrays)
        return [part.tolist() if isinstance(part, np.ndarray) else part for part in parts]
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if not isinstance(value, str | bytes) and hasattr(value, "__array__") and not isinstance(value, np.generic):
        return _nested(np.asarray(value))
    return _plain(value)


def _plain(value: Any) -> Any:
    """A value as JSON would have it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, list | tuple):
        return list(map(_plain, value))
    return value


def _table(frame: Any) -> Frame:
    """A DataFrame as the tables of files are; a missing value is None there."""
    if not len(frame):
        raise InputError([Problem((), f"{_WHERE}: expected at least one row, received none")])
    names = [str(name) for name in frame.columns]
    return Frame(_WHERE, names, [_column(frame.iloc[:, place]) for place in range(len(names))], [])


def _column(column: Any) -> list[Any]:
    if column.dtype.kind == "M":
        raise InputError([Problem((), f"{_WHERE}, column {str(column.name)!r}: {_dates(column)}")])
    missing = column.isna().to_numpy()
    values = column.astype(object).tolist()
    return [None if gone else _plain(value) for value, gone in zip(values, missing, strict=True)]


def _dates(column: Any) -> str:
    return f"expected numbers or text, received dates ({column.dtype}, first {describe(str(column.iloc[0]))})"
