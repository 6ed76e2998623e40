"""Which columns of a table hold the targets, and which say what its rows belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.service.cli.column_files import Frame, wrong_file
from thinned.service.cli.frame_inputs import number_of
from thinned.service.schema.records import columns_of

__all__ = ["groups_of", "target_columns", "targets_of"]

Array = npt.NDArray[Any]


def target_columns(frame: Frame, target: str | None) -> tuple[Frame, list[str]]:
    """The table with names, and the columns of targets: one of this name, or several with commas between them.

    Raises:
        InputError: There are no such columns.
    """
    if target is None:
        raise wrong_file(frame.where, "expected --target COLUMN, the name of the column that holds the targets")
    frame = frame.with_head()
    names = frame.names or []
    several = [target] if target in names else [name.strip() for name in target.split(",")]
    for name in several:
        if name not in names:
            known = ", ".join(names[:20]) or "none"
            raise wrong_file(frame.where, f"expected a column {name!r} among its columns, which are {known}")
    if len(set(several)) < len(several):
        raise wrong_file(frame.where, f"expected each column of targets once, received {target!r}")
    return frame, several


def targets_of(frame: Frame, columns: Sequence[str]) -> Array:
    """The targets: (B,) of one column, (B, K) of several; text where a lone column holds words.

    Args:
        frame: A table with these columns.
        columns: Their names, one or more.

    Raises:
        InputError: A target is missing, or is neither a number nor a word; names the row and the column.
    """
    found = [_column(frame, name) for name in columns]
    if len(found) == 1:
        return found[0]
    for name, values in zip(columns, found, strict=True):
        if values.dtype.kind not in "biuf":
            raise wrong_file(frame.where, f"column {name!r}: expected numbers in each of several columns of targets")
    return np.stack(found, axis=1)


def _column(frame: Frame, name: str) -> Array:
    values = frame.columns[(frame.names or []).index(name)]
    for row, value in enumerate(values):
        if value is None or (isinstance(value, str) and not value.strip()):
            raise wrong_file(frame.where, f"{frame.place(row)}, column {name!r}: the target is missing")
    if frame.text:
        values = [value.strip() for value in values]
    if any(isinstance(value, str) for value in values):
        try:
            return np.asarray([number_of(value) for value in values])
        except ValueError:
            return np.asarray(list(map(str, values)))
    try:
        targets = np.asarray(values)
    except ValueError:
        targets = np.asarray(None)
    if targets.dtype.kind not in "biuf":
        kind = type(values[0]).__name__ if values else "nothing"
        raise wrong_file(frame.where, f"column {name!r}: expected numbers or words as targets, received {kind}")
    return targets


def groups_of(frame: Frame, group: str, specs: Sequence[InputSpec]) -> tuple[Frame, Array]:
    """The groups in the column of that name, as text, and the table without it, unless it is an input too.

    Args:
        frame: A table with names.
        group: The column.
        specs: The model's inputs.

    Raises:
        InputError: There is no such column, or a row has no group; names the row.
    """
    names = frame.names or []
    if group not in names:
        known = ", ".join(names[:20]) or "none"
        raise wrong_file(frame.where, f"expected a column {group!r} of groups among its columns, which are {known}")
    place = names.index(group)
    values = ["" if value is None else str(value).strip() for value in frame.columns[place]]
    if "" in values:
        raise wrong_file(frame.where, f"{frame.place(values.index(''))}, column {group!r}: the group is missing")
    if not any(group == spec.name or group in (columns_of(spec) or ()) for spec in specs):
        columns = [column for i, column in enumerate(frame.columns) if i != place]
        frame = replace(frame, names=[name for name in names if name != group], columns=columns)
    return frame, np.asarray(values)
