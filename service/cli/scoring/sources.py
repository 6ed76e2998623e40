"""Data sets of every kind: looked at before anything is read, and opened to read their parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from thinned.models.card import InputSpec
from thinned.service.cli.column_files import wrong_file
from thinned.service.cli.scoring.addresses import files_of, kind_of
from thinned.service.cli.scoring.array_source import ArrayReader, array_set
from thinned.service.cli.scoring.csv_source import CsvReader, csv_set
from thinned.service.cli.scoring.data_set import DataSet, Reader
from thinned.service.cli.scoring.image_source import ImageReader, image_set
from thinned.service.cli.scoring.parquet_source import ParquetReader, parquet_set

__all__ = ["look_at", "open_data"]

_SETS: dict[str, Callable[..., DataSet]] = {
    "parquet": parquet_set,
    "csv": csv_set,
    "npz": array_set,
    "images": image_set,
}
_READERS: dict[str, Callable[[DataSet], Reader]] = {
    "parquet": ParquetReader,
    "csv": CsvReader,
    "npz": ArrayReader,
    "images": ImageReader,
}


def look_at(
    address: str, specs: Sequence[InputSpec], *, columns: Sequence[str] | None, key: str | None, most: int
) -> DataSet:
    """What a data set holds, and the parts that it is scored in.

    Args:
        address: A path, or an address of fsspec, of a file or a folder.
        specs: The model's inputs.
        columns: The columns, or arrays, of the inputs, where a person named them.
        key: The column that names rows.
        most: Rows of a part at most.

    Raises:
        InputError: It cannot be read, does not fit the model, or has no rows.
        UsageError: What a person named is not there, or what reads it is not installed.
    """
    files = files_of(address)
    data = _SETS[kind_of(address, files)](address, files, specs, columns=columns, key=key, most=most)
    if not data.parts:
        raise wrong_file(address, "expected at least one row, received none")
    return data


def open_data(data: DataSet) -> Reader:
    """What reads the parts of a data set."""
    return _READERS[data.kind](data)
