"""The cells of a sweep, one for each target, sample count and load, and the order in which they are measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Cell", "Target", "load_in_words", "measurement_order", "plan_cells"]

Target = Literal["service", "baseline"]


@dataclass(frozen=True)
class Cell:
    """One combination of target, sample count and load, measured once in each repeat.

    Args:
        target: Which service is loaded.
        n_samples: Passes of each request to `/predict_mc`; 0 stands for requests to `/predict`.
        rows: Rows in each request.
        clients: Closed load: concurrent clients, each waiting for its answer.
        rate: Open load: arrivals per second, independent of the answers.
    """

    target: Target
    n_samples: int
    rows: int
    clients: int | None = None
    rate: float | None = None

    @property
    def mode(self) -> Literal["closed", "open"]:
        """Whether clients wait for an answer before they send the next request."""
        return "closed" if self.rate is None else "open"

    @property
    def load(self) -> str:
        """The load in words: "4 clients" or "50/s open"."""
        return load_in_words(self.clients, self.rate)

    @property
    def name(self) -> str:
        """The cell in words, as Locust's statistics list it."""
        return f"{self.target} N={self.n_samples}, {self.load}" + (f", {self.rows} rows" if self.rows > 1 else "")


def load_in_words(clients: int | None, rate: float | None, *, per_second: str = "/s open") -> str:
    """The load of a cell in words.

    Args:
        clients: Concurrent clients of a closed load.
        rate: Arrivals per second of an open load; None or 0 for a closed one.
        per_second: Unit that follows the rate.
    """
    if rate:
        return f"{rate:g}{per_second}"
    return f"{clients} client{'' if clients == 1 else 's'}"


def plan_cells(
    samples: Sequence[int], *, clients: Sequence[int], rates: Sequence[float], rows: int, baseline: bool
) -> list[Cell]:
    """All cells: every sample count under every load, the baseline's next to the service's under the same load.

    Args:
        samples: Sample counts; 0 stands for `/predict`.
        clients: Closed loads.
        rates: Open loads, in arrivals per second.
        rows: Rows in each request.
        baseline: Whether the baseline is measured too.
    """
    targets: tuple[Target, ...] = ("service", "baseline") if baseline else ("service",)
    loads = [{"clients": n} for n in clients], [{"rate": rate} for rate in rates]
    return [Cell(target, n, rows, **load) for group in loads for load in group for n in samples for target in targets]


def measurement_order(cells: Sequence[Cell], repeats: int) -> Iterator[tuple[int, Cell]]:
    """Yield every cell once per repeat, with the repeat's number.

    Every second repeat runs backwards, so that a machine that gets slower or faster does not favour any cell.
    """
    for repeat in range(repeats):
        for cell in cells if repeat % 2 == 0 else reversed(cells):
            yield repeat, cell
