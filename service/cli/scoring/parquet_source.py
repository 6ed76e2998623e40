"""Parquet files as a data set: columns by name, read by ranges of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from thinned.models.card import InputSpec
from thinned.service.cli.column_files import INDEX, first_line, wrong_file
from thinned.service.cli.scoring.addresses import DataFile, open_file, shown
from thinned.service.cli.scoring.column_choice import choose_inputs
from thinned.service.cli.scoring.data_set import DataSet, Part, cut, rows_within
from thinned.service.cli.scoring.table_rows import TableRows

__all__ = ["ParquetReader", "parquet_set"]

_BUFFER = 1 << 20
"""Bytes of a column that are read at a time."""
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def parquet_set(
    address: str,
    files: Sequence[DataFile],
    specs: Sequence[InputSpec],
    *,
    columns: Sequence[str] | None,
    key: str | None,
    most: int,
) -> DataSet:
    """Look at the footers of Parquet files.

    Raises:
        InputError: One is none, has other columns than the first, or a column cannot be what the model takes.
        UsageError: The columns or the key that a person named are not there.
    """
    schemas, counts, size = [], [], 0
    for file in files:
        with open_file(address, file) as opened:
            read = _file(opened, file)
            schemas.append(_known(read.schema_arrow))
            counts.append(read.metadata.num_rows)
            size += sum(read.metadata.row_group(group).total_byte_size for group in range(read.num_row_groups))
    first = schemas[0]
    for file, schema in zip(files, schemas, strict=True):
        if not schema.equals(first):
            raise wrong_file(file.path, f"expected the columns, and their types, of {files[0].name}; it has others")
    told = _told_by_folders(files[0]).keys()
    for file in files:
        if _told_by_folders(file).keys() != told:
            raise wrong_file(file.path, f"expected folders of the same names (NAME=VALUE) as of {files[0].name}")
    inputs, known_as = choose_inputs(first.names, specs, columns, key, files[0].path)
    for name, spec in _owners(inputs, known_as, specs):
        _check_type(name, first.field(name).type, spec, files[0].path)
    kept = tuple((one.name, one.type) for one in first if one.name not in inputs or one.name == key)
    parts = cut(counts, rows_within(most, sum(counts), size))
    return DataSet(address, "parquet", tuple(files), parts, tuple(specs), inputs, known_as, kept)


class ParquetReader:
    """Reads parts of Parquet files; one that follows the last begins where that ended."""

    def __init__(self, data: DataSet) -> None:
        self._data = data
        self._names = list(dict.fromkeys((*data.inputs, *(name for name, _ in data.kept))))
        self._at: tuple[int, int] | None = None
        self._batches: Iterator[Any] = iter(())
        self._rest: Any = None
        self._open: Any = None

    def read(self, part: Part) -> TableRows:
        """Read one.

        Raises:
            InputError: The file is broken, or shorter than it was.
        """
        import pyarrow

        file = self._data.files[part.file]
        try:
            if self._at != (part.file, part.first):
                self._begin(part)
            table = self._take(part.rows)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise wrong_file(file.path, f"expected a Parquet file ({first_line(error)})") from error
        if table.num_rows != part.rows:
            raise wrong_file(file.path, f"expected {part.first + part.rows} rows or more, it has fewer now")
        self._at = (part.file, part.first + part.rows)
        columns = {
            known: table.column(name).combine_chunks()
            for name, known in zip(self._data.inputs, self._data.known_as, strict=True)
        }
        kept = _without_views(table.select([n for n, _ in self._data.kept]))
        for name, value in _told_by_folders(file).items():
            if name not in table.column_names:
                kept = kept.append_column(name, pyarrow.array([value] * part.rows, pyarrow.string()))
        return TableRows(self._data, file.path, part.first, columns, kept)

    def _begin(self, part: Part) -> None:
        """Open the file at the first row group that holds rows of the part, and skip those before them."""
        if self._open is not None:
            self._open.close()
        self._open = open_file(self._data.address, self._data.files[part.file])
        read = _file(self._open, self._data.files[part.file])
        groups, before = list(range(read.num_row_groups)), 0
        while groups and before + read.metadata.row_group(groups[0]).num_rows <= part.first:
            before += read.metadata.row_group(groups.pop(0)).num_rows
        size = min(part.rows, 1 << 16)
        self._batches = read.iter_batches(batch_size=size, row_groups=groups, columns=self._names, use_threads=False)
        self._rest = read.schema_arrow.empty_table().select(self._names)
        self._take(part.first - before)

    def _take(self, rows: int) -> Any:
        import pyarrow

        tables, held = [self._rest], self._rest.num_rows
        while held < rows and (batch := next(self._batches, None)) is not None:
            table = pyarrow.Table.from_batches([batch]).select(self._names)
            tables.append(table)
            held += table.num_rows
        whole = pyarrow.concat_tables(tables)
        self._rest = whole.slice(rows)
        return whole.slice(0, rows)


def _file(opened: Any, file: DataFile) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise wrong_file(file.path, f"expected a Parquet file ({first_line(error)})") from error


def _known(schema: Any) -> Any:
    """The columns, but for an index that pandas has written, and without notes of whoever wrote them."""
    import pyarrow

    return pyarrow.schema([pyarrow.field(one.name, one.type) for one in schema if not INDEX.fullmatch(one.name)])


def _told_by_folders(file: DataFile) -> dict[str, str | None]:
    """Columns that the names of folders tell, as writers of partitioned data sets leave them there (year=2020)."""
    pairs = (part.partition("=") for part in PurePosixPath(file.name).parts[:-1] if "=" in part)
    return {shown(name): None if value == _NO_VALUE else unquote(shown(value)) for name, _, value in pairs}


def _without_views(table: Any) -> Any:
    """The same with text and bytes as Arrow can pick rows of: of views of them it cannot."""
    for place, one in enumerate(table.schema):
        kind = _without_view(one.type)
        if kind != one.type:
            table = table.set_column(place, one.name, table.column(place).cast(kind))
    return table


def _without_view(kind: Any) -> Any:
    import pyarrow
    from pyarrow import types

    if types.is_string_view(kind):
        return pyarrow.large_string()
    if types.is_binary_view(kind):
        return pyarrow.large_binary()
    if types.is_list(kind):
        return pyarrow.list_(_without_view(kind.value_type))
    if types.is_large_list(kind):
        return pyarrow.large_list(_without_view(kind.value_type))
    if types.is_struct(kind):
        return pyarrow.struct([pyarrow.field(one.name, _without_view(one.type)) for one in kind])
    return kind


def _owners(
    inputs: Sequence[str], known_as: Sequence[str], specs: Sequence[InputSpec]
) -> Iterator[tuple[str, InputSpec]]:
    """Each column with the input that it is of."""
    for name, known in zip(inputs, known_as, strict=True):
        own = [spec for spec in specs if known == spec.name or known in (spec.columns or ())]
        numbered = [spec for spec in specs if known.startswith(f"{spec.name}_")]
        yield name, (own or numbered or list(specs))[0]


def _check_type(name: str, kind: Any, spec: InputSpec, where: str) -> None:
    """Refuse a column none of whose values can be what the input takes.

    Raises:
        InputError: It holds text, dates or binary data where numbers are due, or numbers where text is.
    """
    from pyarrow import types

    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind = kind.value_type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_null(kind):
        return
    text = types.is_string(kind) or types.is_large_string(kind) or str(kind) == "string_view"
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    fits = text if spec.dtype == "string" else types.is_boolean(kind) if spec.dtype == "bool" else number
    if not fits:
        expected = {"string": "text", "bool": "true or false"}.get(spec.dtype, "numbers")
        raise wrong_file(where, f"expected {expected} in the column {name!r}, it holds {kind}")
