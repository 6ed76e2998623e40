"""Counters, gauges and histograms in memory, as lists of numbers that can be added up over processes.

`prometheus_client` has such classes too; with several workers they write to memory-mapped files, and a full disk then
ends the process with a signal at the next request. Here nothing is written, and an observation takes about 1 µs.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Literal, TypeAlias

__all__ = ["Cells", "Family", "Histogram", "Kind", "added", "cumulative"]

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Cells: TypeAlias = dict[tuple[str, ...], list[float]]
"""The numbers of a family by the values of its labels. A histogram's are its buckets, each by itself, then the sum."""


class Family:
    """A counter or a gauge: one number for each combination of labels. Safe to use from several threads.

    Args:
        kind: What it is.
        name: Its name, with the unit; that of a counter ends in `_total`.
        text: One sentence for people.
        labels: Names of its labels.
    """

    bounds: tuple[float, ...] = ()
    """Upper ends of the buckets of a histogram, without infinity."""

    def __init__(self, kind: Kind, name: str, text: str, labels: Sequence[str]) -> None:
        self.kind, self.name, self.text, self.labels = kind, name, text, tuple(labels)
        self._cells: Cells = {}
        self._lock = threading.Lock()

    def add(self, amount: float, *values: str) -> None:
        """Add to the number with these values of the labels."""
        with self._lock:
            cell = self._cells.get(values)
            if cell is None:
                cell = self._cells[values] = [0.0]
            cell[0] += amount

    def put(self, amount: float, *values: str) -> None:
        """Replace the number with these values of the labels."""
        with self._lock:
            self._cells[values] = [amount]

    def move(self, old: str, new: str) -> None:
        """Have what stands under one value of the first label stand under another."""
        with self._lock:
            moved = {values: self._cells.pop(values) for values in list(self._cells) if values[0] == old}
            for (_, *rest), (number,) in moved.items():
                self._cells.setdefault((new, *rest), [0.0])[0] += number

    def cells(self) -> Cells:
        """A copy of the numbers."""
        with self._lock:
            return {values: list(cell) for values, cell in self._cells.items()}


class Histogram(Family):
    """How observations are distributed over buckets."""

    def __init__(self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__("histogram", name, text, labels)
        self.bounds = tuple(bounds)

    def observe(self, amounts: Iterable[float], *values: str) -> None:
        """Count observations, all with these values of the labels."""
        with self._lock:
            cell = self._cells.get(values)
            if cell is None:
                cell = self._cells[values] = [0.0] * (len(self.bounds) + 2)
            for amount in amounts:
                cell[bisect_left(self.bounds, amount)] += 1
                cell[-1] += amount


def added(parts: Sequence[Cells]) -> Cells:
    """The sum of the numbers of several processes. Cells of another length, of another version, are left out."""
    total: Cells = {}
    for part in parts:
        for values, cell in part.items():
            before = total.get(values)
            if before is None:
                total[values] = list(cell)
            elif len(before) == len(cell):
                total[values] = [a + b for a, b in zip(before, cell, strict=True)]
    return total


def cumulative(family: Family, cell: Sequence[float]) -> tuple[Mapping[float, float], float]:
    """A histogram's counts of all up to each upper end, infinity the last, and its sum."""
    ends = (*family.bounds, float("inf"))
    return dict(zip(ends, accumulate(cell[:-1]), strict=True)), cell[-1]
