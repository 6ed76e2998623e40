"""What a trial found: a figure, the bar that it must keep, and whether it did."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

__all__ = ["Figure", "Options", "Trial", "at_least", "at_most", "quantile"]


class Figure(NamedTuple):
    """One line of a report."""

    what: str
    measured: str
    bar: str
    held: bool


@dataclass(frozen=True)
class Options:
    """How long trials may be."""

    short: bool = False
    """Seconds instead of minutes: what `make test` runs."""
    soak_minutes: float = 30.0
    cases: int = 10_000
    """Requests that schemathesis makes, at least."""
    overload_s: float = 60.0


Trial: TypeAlias = Callable[[Options], Iterator[Figure]]
"""Starts its own services, and yields what it finds."""


def at_most(what: str, measured: float, bar: float, unit: str = "") -> Figure:
    """A figure that may not be larger than its bar."""
    return Figure(what, _said(measured, unit), f"<= {_said(bar, unit)}", measured <= bar)


def at_least(what: str, measured: float, bar: float, unit: str = "") -> Figure:
    """A figure that may not be smaller than its bar."""
    return Figure(what, _said(measured, unit), f">= {_said(bar, unit)}", measured >= bar)


def quantile(values: Sequence[float], q: float) -> float:
    """The quantile q in [0, 1] of values; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


def _said(number: float, unit: str) -> str:
    whole = not math.isfinite(number) or abs(number) >= 100 or number == int(number)
    digits = f"{number:,.0f}" if whole else f"{number:.3g}"
    return f"{digits}{unit if unit == '%' else ' ' * bool(unit) + unit}"
