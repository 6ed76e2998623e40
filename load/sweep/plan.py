"""What a sweep measures: one cell for each target, sample count and load, and the order in which they take turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Cell", "plan", "turns"]

Target = Literal["service", "baseline"]


@dataclass(frozen=True)
class Cell:
    """One point of the sweep. Closed cells have `clients`, open ones a `rate` in arrivals a second."""

    target: Target
    n_samples: int
    rows: int
    clients: int | None = None
    rate: float | None = None

    @property
    def mode(self) -> Literal["closed", "open"]:
        """Whether clients wait for each other's answers."""
        return "closed" if self.rate is None else "open"

    @property
    def load(self) -> str:
        """The load in words."""
        if self.rate is not None:
            return f"{self.rate:g}/s open"
        return f"{self.clients} client{'' if self.clients == 1 else 's'}"

    @property
    def name(self) -> str:
        """The cell in words, as Locust's statistics list it."""
        return f"{self.target} N={self.n_samples}, {self.load}" + (f", {self.rows} rows" if self.rows > 1 else "")


def plan(
    samples: Sequence[int], *, clients: Sequence[int], rates: Sequence[float], rows: int, baseline: bool
) -> list[Cell]:
    """All cells, those of the service beside those of the baseline with the same load."""
    targets: tuple[Target, ...] = ("service", "baseline") if baseline else ("service",)
    loads = [{"clients": n} for n in clients], [{"rate": rate} for rate in rates]
    return [
        Cell(target, n, rows, **load)  # type: ignore[arg-type]
        for group in loads
        for load in group
        for n in samples
        for target in targets
    ]


def turns(cells: Sequence[Cell], repeats: int) -> Iterator[tuple[int, Cell]]:
    """Every cell once in each repeat; every other repeat backwards, so that a drift of the machine favours none."""
    for repeat in range(repeats):
        for cell in cells if repeat % 2 == 0 else reversed(cells):
            yield repeat, cell
