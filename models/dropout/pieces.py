"""Cutting the work of many passes of many rows into pieces, and what a piece gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from thinned.models.dropout.block_reduction import Summary
from thinned.models.dropout.noise.samplers import BLOCK

__all__ = ["Passes", "Piece", "Summaries", "cut"]

Array = npt.NDArray[Any]


class Piece(NamedTuple):
    """Which rows and passes one call of a graph is for."""

    rows: slice
    first: int
    drawn: int


class Passes(NamedTuple):
    """Passes `first` and on of the rows in `rows`: for each output an array (S, B, *output_shape)."""

    rows: slice
    first: int
    outputs: dict[str, Array]


class Summaries(NamedTuple):
    """Summaries of passes `first` and on of the rows in `rows`; `counts` (G,) tells the passes in each block."""

    rows: slice
    first: int
    counts: npt.NDArray[np.int64]
    outputs: dict[str, Summary]


def cut(first: int, count: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut passes first to first + count - 1 into runs of at most `most`, at borders of blocks where possible."""
    end = first + count
    while first < end:
        stop = min(first + most, end)
        if stop < end and stop // BLOCK * BLOCK > first:
            stop = stop // BLOCK * BLOCK
        yield first, stop - first
        first = stop
