"""CSV files as a data set: looked through once for where parts begin, then read by parts."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import IO, NamedTuple

from thinned.models.card import InputSpec
from thinned.service.cli.column_files import first_line, wrong_file
from thinned.service.cli.frame_inputs import is_head
from thinned.service.cli.scoring.addresses import DataFile, open_file
from thinned.service.cli.scoring.column_choice import choose_inputs
from thinned.service.cli.scoring.data_set import PART_BYTES, DataSet, Part
from thinned.service.cli.scoring.table_rows import TableRows
from thinned.service.schema.records import columns_of

__all__ = ["CsvReader", "csv_set"]

_BOM = b"\xef\xbb\xbf"
_OTHERS = ";\t|"


class _Record(NamedTuple):
    """The cells of a row, the number of its last line, the byte behind it, and what is wrong with it as it is."""

    cells: list[str]
    line: int
    end: int
    wrong: str | None


def csv_set(
    address: str,
    files: Sequence[DataFile],
    specs: Sequence[InputSpec],
    *,
    columns: Sequence[str] | None,
    key: str | None,
    most: int,
) -> DataSet:
    """Read CSV files once, keeping nothing but where their parts begin.

    Raises:
        InputError: One has another first line than the first file, or columns are missing.
        UsageError: The columns or the key that a person named are not there.
    """
    text = any(spec.dtype == "string" for spec in specs)
    head: list[str] | None = None
    named = True
    parts: list[Part] = []
    start = 0
    for place, file in enumerate(files):
        with open_file(address, file) as opened:
            found = _records(opened, 0, 0, text=text)
            first = next(
                (one for one in found if text or one.wrong is not None or any(map(str.strip, one.cells))), None
            )
            if first is None:
                continue
            if first.wrong is not None:
                raise wrong_file(file.path, f"line {first.line}: {first.wrong}")
            if head is None:
                named = columns is not None or key is not None or len(specs) > 1 or is_head([first.cells], specs[0])
                head = [cell.strip() for cell in first.cells] if named else _numbers(len(first.cells))
            elif named and [cell.strip() for cell in first.cells] != head:
                raise wrong_file(file.path, f"expected the first line of {files[0].name}; it has another")
            begins = first if named else _Record([], 0, 0, None)
            rest = found if named else chain([first], found)
            made = list(_parts(rest, begins, place, len(parts), start, most))
            parts += made
            start += sum(part.rows for part in made)
    if head is None:
        raise wrong_file(address, "expected a first line that names the columns, received nothing")
    if len(head) == 1 and (other := next((c for c in _OTHERS if c in head[0]), None)):
        raise wrong_file(files[0].path, f"expected values separated by commas; they are separated by {other!r}")
    inputs, known_as = _chosen(head, specs, columns, key, files[0].path, named=named)
    kept = tuple((name, "string") for name in head if name not in inputs or name == key)
    return DataSet(address, "csv", tuple(files), tuple(parts), tuple(specs), inputs, known_as, kept, head=tuple(head))


def _chosen(
    head: Sequence[str],
    specs: Sequence[InputSpec],
    columns: Sequence[str] | None,
    key: str | None,
    where: str,
    *,
    named: bool,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if named:
        return choose_inputs(head, specs, columns, key, where)
    own = columns_of(specs[0]) or tuple(head)
    if specs[0].numbers not in (None, len(head)) or len(own) != len(head):
        raise wrong_file(where, f"expected {specs[0].numbers} values in each line, its first one has {len(head)}")
    return tuple(head), own


def _parts(found: Iterator[_Record], before: _Record, file: int, number: int, start: int, most: int) -> Iterator[Part]:
    """Parts of the records of one file; `before` is the last one that is no row."""
    rows = first = 0
    begins, last = before, before
    for record in found:
        if rows == most or (rows and record.end - begins.end > PART_BYTES):
            yield Part(number, file, first, rows, start + first, begins.end, begins.line)
            number, first, rows, begins = number + 1, first + rows, 0, last
        rows, last = rows + 1, record
    if rows:
        yield Part(number, file, first, rows, start + first, begins.end, begins.line)


class CsvReader:
    """Reads parts of CSV files, each from its own first byte."""

    def __init__(self, data: DataSet) -> None:
        self._data = data
        self._text = any(spec.dtype == "string" for spec in data.specs)

    def read(self, part: Part) -> TableRows:
        """Read one.

        Raises:
            InputError: The file is shorter than it was.
        """
        import pyarrow

        data, file = self._data, self._data.files[part.file]
        width = len(data.head)
        lines: list[list[str]] = []
        numbers: list[int] = []
        broken: dict[int, str] = {}
        with open_file(data.address, file) as opened:
            opened.seek(part.offset)
            for record in _records(opened, part.offset, part.line, text=self._text):
                wrong = record.wrong
                if wrong is None and len(record.cells) != width:
                    wrong = f"expected {width} values, received {len(record.cells)}"
                if wrong is not None:
                    broken[len(lines)] = f"{file.path}: line {record.line}: {wrong}"
                lines.append(record.cells if wrong is None else [""] * width)
                numbers.append(record.line)
                if len(lines) == part.rows:
                    break
        if len(lines) != part.rows:
            raise wrong_file(file.path, f"expected {part.rows} rows behind byte {part.offset}, it has fewer now")
        columns = dict(zip(data.head, map(list, zip(*lines, strict=True)), strict=True))
        kept = pyarrow.table({name: pyarrow.array(columns[name], pyarrow.string()) for name, _ in data.kept})
        inputs = {known: columns[name] for name, known in zip(data.inputs, data.known_as, strict=True)}
        return TableRows(data, file.path, part.first, inputs, kept, numbers=numbers, broken=broken)


def _records(file: IO[bytes], offset: int, line: int, *, text: bool) -> Iterator[_Record]:
    """The records from a place on, but for empty lines; one of commas alone is a row without values.

    A quote that is never closed takes all lines behind it: strictly read, that is told and not kept quiet.
    """
    lines = _Lines(file, offset, line)
    reader = csv.reader(lines, strict=True)
    while True:
        begins = lines.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            wrong = f"expected values separated by commas ({first_line(error)})"
            if lines.end - begins > csv.field_size_limit() and lines.leave_quotes():
                wrong = f"expected values of at most {csv.field_size_limit():,} characters; is a quote not closed?"
            yield _Record([], lines.number, lines.end, wrong)
            reader = csv.reader(lines, strict=True)
            continue
        if cells and (text or not lines.blank):
            yield _Record(cells, lines.number, lines.end, lines.wrong)


class _Lines(Iterator[str]):
    """The lines of a file as text, with the byte that each ends before."""

    def __init__(self, file: IO[bytes], offset: int, number: int) -> None:
        self._file = file
        self.end, self.number = offset, number
        self.wrong: str | None = None
        self.blank = self._in_quotes = False

    def begin(self) -> int:
        """Begin a record: the byte that it begins at."""
        self.wrong, self._in_quotes = None, False
        return self.end

    def leave_quotes(self) -> bool:
        """Pass over the rest of a quote that the reader gave up in: its lines are no rows. Whether it was in one."""
        inside = self._in_quotes
        while self._in_quotes and next(self, None) is not None:
            pass
        return inside

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        content = line if self.end else line.removeprefix(_BOM)
        self.end += len(line)
        self.number += 1
        self.blank = not content.strip()
        self._in_quotes ^= content.count(b'"') % 2 == 1
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            self.wrong = f"expected text in UTF-8 ({error.reason})"
            return content.decode(errors="replace")


def _numbers(count: int) -> list[str]:
    """Names of columns that have none: their numbers."""
    return [str(number) for number in range(1, count + 1)]
