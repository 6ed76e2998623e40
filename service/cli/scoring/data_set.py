"""A data set as it is scored: its files cut into parts, and what a part holds once it is read."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.service.cli.scoring.addresses import DataFile

__all__ = ["Chunk", "DataSet", "Part", "Reader", "cut", "rows_within"]

Array = npt.NDArray[Any]
PART_BYTES = 1 << 26
"""Bytes of a part's values in its file, beyond which it takes no further row; in memory they are several times that."""


@dataclass(frozen=True)
class Part:
    """Some rows of one file, which are read, answered and written together.

    Args:
        number: Of the part, which names what is written.
        file: Number of the file among those of the data set.
        first: Its first row in the file.
        rows: How many.
        start: Rows of the data set before it.
        offset: Of CSV the byte at which it begins.
        line: Of CSV the lines before it.
    """

    number: int
    file: int
    first: int
    rows: int
    start: int
    offset: int = 0
    line: int = 0


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set before its rows are read; small, and the same for all who read parts of it.

    Args:
        address: As it was given.
        kind: "parquet", "csv", "npz" or "images".
        files: In order.
        parts: In order.
        specs: The model's inputs.
        inputs: Columns, or arrays, that hold the inputs, as the files name them.
        known_as: The names by which the model knows these columns.
        kept: Columns that go into the output beside the answers, with their types.
        head: Of CSV the names of all columns.
    """

    address: str
    kind: str
    files: tuple[DataFile, ...]
    parts: tuple[Part, ...]
    specs: tuple[InputSpec, ...]
    inputs: tuple[str, ...]
    known_as: tuple[str, ...]
    kept: tuple[tuple[str, Any], ...] = ()
    head: tuple[str, ...] = field(default=())

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(part.rows for part in self.parts)


class Chunk(Protocol):
    """The rows of a part, read."""

    broken: dict[int, str]
    """Rows that could not be read at all, by number in the part, and why."""

    @property
    def kept(self) -> Any:
        """A table of Arrow with the columns that are kept."""

    def place(self, row: int) -> str:
        """Where a row of the part stands, in words."""

    def shape(self, row: int) -> Hashable:
        """What is the same for rows that may be in one array."""

    def inputs(self, rows: Sequence[int]) -> dict[str, Array]:
        """Some rows as arrays that the model takes.

        Raises:
            InputError: One of them does not fit; of one row alone the text says why.
        """


class Reader(Protocol):
    """Reads parts of a data set; best in order."""

    def read(self, part: Part) -> Chunk:
        """Read one.

        Raises:
            InputError: The file is not what it was, or is broken.
        """


def rows_within(most: int, rows: int, size: int) -> int:
    """As many rows as a part may have: at most so many, and as long as rows are on average within `PART_BYTES`.

    Args:
        most: Rows.
        rows: Of the data set.
        size: Bytes of their values.
    """
    return max(1, min(most, PART_BYTES * rows // max(1, size)))


def cut(counts: Sequence[int], most: int) -> tuple[Part, ...]:
    """Files of so many rows each in parts of at most `most` rows."""
    parts: list[Part] = []
    start = 0
    for file, count in enumerate(counts):
        for first in range(0, count, most):
            rows = min(most, count - first)
            parts.append(Part(len(parts), file, first, rows, start))
            start += rows
    return tuple(parts)
