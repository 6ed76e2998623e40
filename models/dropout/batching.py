"""Several requests in one graph call: their rows one below the other, each with the passes that it would get alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from thinned.models.dropout.noise.draws import DrawnNoise
from thinned.models.sampling import BLOCK

__all__ = ["BatchItem", "Frontier", "GraphArguments", "RowOwners", "block_counts", "graph_arguments", "run_arguments"]

Array = npt.NDArray[Any]
RowOwners = Literal["one", "same draw", "several"]
"""Whose rows are in a graph call: one request's; several's that share seed and first pass; several's, each its own."""


@dataclass(frozen=True)
class Frontier:
    """What the prefix made of the rows of a request: enough to draw its passes from."""

    rows: int
    tensors: tuple[Any, ...]


@dataclass(frozen=True)
class BatchItem:
    """Passes first to first + count - 1 of some rows: what one request wants of one graph call.

    Args:
        rows: B, the number of rows.
        seed: Integer in [0, 2**53).
        first: Index of the first pass; a multiple of 32 where several requests with other seeds share the call.
        count: S >= 1, the number of passes.
        inputs: For each input its array (B, *input_shape); or
        frontier: what the prefix made of them, to draw further passes without running it again.
        keep_passes: Whether the passes themselves are wanted, not their statistics alone.
        noise: What its seed draws, where that has been drawn ahead.

    Raises:
        ValueError: There are not exactly one of `inputs` and `frontier`.
    """

    rows: int
    seed: int
    first: int
    count: int
    inputs: Mapping[str, Array] | None = None
    frontier: Frontier | None = None
    keep_passes: bool = False
    noise: DrawnNoise | None = None

    def __post_init__(self) -> None:
        if (self.inputs is None) == (self.frontier is None):
            raise ValueError("expected inputs or a frontier, received both or neither")


class GraphArguments(NamedTuple):
    """Which graph serves a batch in one call, and what it is given before the rows."""

    owners: RowOwners
    arrays: list[Array]


def graph_arguments(items: Sequence[BatchItem]) -> GraphArguments:
    """The graph for a batch, and its first arguments. Requests that share a draw share its masks, which is cheaper.

    Raises:
        ValueError: Requests with draws of their own do not all start at the first pass of a block.
    """
    rows = sum(item.rows for item in items)
    longest = max(item.count for item in items)
    head = run_arguments(rows, longest, items[0].seed, items[0].first)
    if len({(item.seed, item.first) for item in items}) > 1:
        unaligned = [item.first for item in items if item.first % BLOCK]
        if unaligned:
            raise ValueError(f"expected first passes that are multiples of {BLOCK}, received {unaligned}")
        draws = np.array([[getattr(item, name) for item in items] for name in ("seed", "first", "count")], np.int64)
        owners = np.repeat(np.arange(len(items), dtype=np.int32), [item.rows for item in items])
        return GraphArguments("several", [head, draws, owners])
    if len({item.count for item in items}) > 1:
        limits = np.repeat(np.array([item.count for item in items], np.int32), [item.rows for item in items])
        return GraphArguments("same draw", [head, limits])
    return GraphArguments("one", [head])


def run_arguments(rows: int, count: int, seed: int, first: int) -> npt.NDArray[np.int64]:
    """The first argument of every graph: rows B, passes S, the seed and the first pass (unused for "several")."""
    return np.array([rows, count, seed, first], np.int64)


def block_counts(first: int, count: int) -> npt.NDArray[np.int64]:
    """How many of passes first to first + count - 1 lie in each block of 32 that they touch."""
    end = first + count
    starts = range(first // BLOCK * BLOCK, end, BLOCK)
    return np.array([min(start + BLOCK, end) - max(start, first) for start in starts], np.int64)
