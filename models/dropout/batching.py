"""Several requests in one call of a graph: their rows side by side, each with the passes that it would get alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from thinned.models.dropout.block_reduction import Summary
from thinned.models.dropout.compiled_graphs import run_arguments
from thinned.models.dropout.noise.samplers import BLOCK

__all__ = ["Ask", "Frontier", "arguments", "block_counts", "parts"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Frontier:
    """What the prefix made of the rows of a request: enough to draw its passes from."""

    rows: int
    tensors: tuple[Any, ...]


@dataclass(frozen=True)
class Ask:
    """Passes first to first + count - 1 of some rows.

    Args:
        rows: B, the number of rows.
        seed: Integer in [0, 2**53).
        first: Index of the first pass, a multiple of 32.
        count: S >= 1, the number of passes.
        inputs: For each input its array (B, *input_shape); or
        frontier: what the prefix made of them, to draw further passes without running it again.

    Raises:
        ValueError: `first` is no multiple of 32, or there are not exactly one of `inputs` and `frontier`.
    """

    rows: int
    seed: int
    first: int
    count: int
    inputs: Mapping[str, Array] | None = None
    frontier: Frontier | None = None

    def __post_init__(self) -> None:
        if self.first % BLOCK:
            raise ValueError(f"expected a first pass that is a multiple of {BLOCK}, received {self.first}")
        if (self.inputs is None) == (self.frontier is None):
            raise ValueError("expected inputs or a frontier, received both or neither")


def arguments(asks: Sequence[Ask]) -> tuple[Literal["alone", "shared", "several"], list[Array]]:
    """Which kind of graph serves these asks in one call, and what it is told before it is given their rows.

    Requests that share seed and first pass share their masks too, which is cheaper than a draw for each.
    """
    rows = sum(ask.rows for ask in asks)
    longest = max(ask.count for ask in asks)
    head = run_arguments(rows, longest, asks[0].seed, asks[0].first)
    if len({(ask.seed, ask.first) for ask in asks}) > 1:
        items = np.array([[getattr(ask, name) for ask in asks] for name in ("seed", "first", "count")], np.int64)
        owners = np.repeat(np.arange(len(asks), dtype=np.int32), [ask.rows for ask in asks])
        return "several", [head, items, owners]
    if len({ask.count for ask in asks}) > 1:
        limits = np.repeat(np.array([ask.count for ask in asks], np.int32), [ask.rows for ask in asks])
        return "shared", [head, limits]
    return "alone", [head]


def parts(asks: Sequence[Ask], outputs: Mapping[str, Summary]) -> list[dict[str, Summary]]:
    """Give each ask its own rows and blocks of what one call gave for all."""
    split: list[dict[str, Summary]] = []
    start = 0
    for ask in asks:
        rows = slice(start, start + ask.rows)
        blocks = slice(0, len(block_counts(ask.first, ask.count)))
        split.append(
            {
                name: Summary(*(None if part is None else part[blocks, rows] for part in summary))
                for name, summary in outputs.items()
            }
        )
        start += ask.rows
    return split


def block_counts(first: int, count: int) -> npt.NDArray[np.int64]:
    """How many of passes first to first + count - 1 lie in each block of 32 that they touch."""
    borders = np.arange(first // BLOCK, -(-(first + count) // BLOCK) + 1) * BLOCK
    inside = np.clip(borders, first, first + count)
    return inside[1:] - inside[:-1]
