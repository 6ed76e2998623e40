"""Passes of many rows, drawn in slices that fit into memory: each number of passes is the first of the most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from thinned.models.card import OutputSpec
from thinned.models.evaluation.rows import ClassRows, ValueRows

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["Inputs", "OnRows", "gather"]

_AT_ONCE = 20_000_000
"""Numbers of passes held at a time."""
Inputs = Mapping[str, npt.NDArray[Any]]
OnRows = Callable[[int, int], None]
Rows = TypeVar("Rows", ClassRows, ValueRows, npt.NDArray[Any])


def gather(
    model: StochasticModel,
    spec: OutputSpec,
    inputs: Inputs,
    counts: Sequence[int],
    seed: int,
    keep: Callable[[npt.NDArray[Any], slice], Rows],
    on_rows: OnRows | None = None,
) -> list[list[Rows]]:
    """For each number of passes, what `keep` makes of the passes (S, B, ...) of each slice of rows."""
    total, most = len(next(iter(inputs.values()))), max(counts)
    size = int(np.prod([n or 1 for n in spec.shape]))
    step = max(1, _AT_ONCE // (most * spec.members * size))
    found: list[list[Rows]] = [[] for _ in counts]
    for rows in (slice(start, min(start + step, total)) for start in range(0, total, step)):
        some = {name: x[rows] for name, x in inputs.items()}
        passes = model.sample(some, n_samples=most, seed=seed)[spec.name]
        for parts, count in zip(found, counts, strict=True):
            parts.append(keep(passes[: count * spec.members], rows))
        if on_rows is not None:
            on_rows(rows.stop, total)
    return found
