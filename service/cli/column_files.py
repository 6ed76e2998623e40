"""Tables in files: CSV, Parquet and JSON records, as columns with names, or as lines where nothing names them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import IO, Any

from thinned.models.errors import InputError, Problem
from thinned.service.cli.options import require_extra
from thinned.service.schema.records import transpose

__all__ = [
    "INDEX",
    "Frame",
    "first_line",
    "plain_value",
    "read_csv",
    "read_lines_of_json",
    "read_parquet",
    "records_frame",
    "wrong_file",
]

INDEX = re.compile(r"__index_level_\d+__")
"""The name of an index that pandas has written."""


@dataclass(frozen=True)
class Frame:
    """A table as it was read.

    Args:
        where: The file, as messages name it.
        names: Of the columns; None where the first line may be one of names or one of values.
        columns: Where there are names, the values of each; else empty.
        lines: Where there are none, the values of each line.
        numbers: The number of each row's line in the file; None where rows are counted from 0.
        text: Whether values are still text, of which numbers are to be made.
        first: The number of its first row, where rows are counted.
    """

    where: str
    names: list[str] | None
    columns: list[list[Any]]
    lines: list[list[str]]
    numbers: list[int] | None = None
    text: bool = False
    first: int = 0

    def place(self, row: int) -> str:
        """Where a row stands, in words."""
        return f"row {self.first + row}" if self.numbers is None else f"line {self.numbers[row]}"

    def with_head(self) -> Frame:
        """The same with the first line as names.

        Raises:
            InputError: A line has more or fewer values than there are names.
        """
        if self.names is not None:
            return self
        head = [name.strip() for name in self.lines[0]] if self.lines else []
        lines, numbers = self.lines[1:], (self.numbers or [])[1:]
        for number, cells in zip(numbers, lines, strict=True):
            if len(cells) != len(head):
                raise wrong_file(self.where, f"line {number}: expected {len(head)} values, received {len(cells)}")
        columns = [list(column) for column in zip(*lines, strict=True)] or [[] for _ in head]
        return Frame(self.where, head, columns, [], numbers, text=True)


def wrong_file(where: object, what: str) -> InputError:
    """The error that a file is not as it should be."""
    return InputError([Problem((), f"{where}: {what}")])


def first_line(error: Exception) -> str:
    """What an error of a reader says, short."""
    return str(error).split("\n")[0][:120]


def read_csv(file: IO[bytes], where: str, *, text: bool) -> Frame:
    """The lines that hold anything; of text (`text`) an empty cell counts.

    Raises:
        InputError: It is no CSV in UTF-8.
    """
    lines: list[list[str]] = []
    numbers: list[int] = []
    decoded = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        reader = csv.reader(decoded)
        for cells in reader:
            if any(map(str.strip, cells)) or (text and cells):
                lines.append(cells)
                numbers.append(reader.line_num)
    except (csv.Error, UnicodeDecodeError) as error:
        kind = "values" if text else "numbers"
        what = f"expected rows of {kind} separated by commas, in UTF-8 ({first_line(error)})"
        raise wrong_file(where, what) from error
    finally:
        decoded.detach()  # The file is closed by whoever opened it.
    return Frame(where, None, [], lines, numbers, text=True)


def read_parquet(file: IO[bytes], where: str) -> Frame:
    """The columns of a Parquet file, but for an index that pandas has written.

    Raises:
        UsageError: What reads it is not installed.
        InputError: It is no Parquet file.
    """
    require_extra("data", "pyarrow")
    import pyarrow
    from pyarrow import parquet

    try:
        read = parquet.read_table(file)
        names = [name for name in read.column_names if not INDEX.fullmatch(name)]
        if len(set(names)) < len(names):
            raise wrong_file(where, "expected columns of different names")
        columns = [list(map(plain_value, read.column(name).to_pylist())) for name in names]
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise wrong_file(where, f"expected a Parquet file ({first_line(error)})") from error
    return Frame(where, names, columns, [])


def plain_value(value: Any) -> Any:
    """A decimal number as a number."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def read_lines_of_json(text: str, where: str) -> list[Any]:
    """One document a line.

    Raises:
        InputError: A line is no JSON.
    """
    documents = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                documents.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                what = f'line {number}: expected JSON such as {{"age": 41}} on each line ({first_line(error)})'
                raise wrong_file(where, what) from error
    return documents


def records_frame(records: Sequence[Any], where: str) -> Frame:
    """Records of JSON as columns.

    Raises:
        InputError: A record has other names than the first, or is none.
    """
    names = list(records[0])
    try:
        columns = transpose(records, names)
    except InputError as error:
        problems = [
            Problem((), f"{where}: row {p.loc[1]}{''.join(f', {name!r}' for name in p.loc[2:])}: {p.msg}")
            for p in error.problems
        ]
        raise InputError(problems) from None
    return Frame(where, names, list(columns.values()), [])
