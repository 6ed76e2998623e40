"""What an evaluation found, as data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Evaluation", "Series"]

Scores = Mapping[str, float | None]


@dataclass(frozen=True)
class Series:
    """One way to answer: its scores for each number of passes, and its curves at the largest.

    `n_samples` is (0,) for the deterministic answer. A score of None does not apply, or nothing tells it.
    """

    name: str
    n_samples: tuple[int, ...]
    scores: tuple[Scores, ...]
    curves: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """Scores of one output of a model on one set of rows."""

    model: str
    version: str
    output: str
    task: str
    rows: int
    seed: int
    series: tuple[Series, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it, in what JSON can hold."""
        document: dict[str, Any] = _plain(dataclasses.asdict(self))
        return document


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
