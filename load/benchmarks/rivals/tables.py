"""What a run tells: a table of all contenders, and Thinned beside the best of its rivals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

from rich import box
from rich.table import Table

from thinned.loadtest.benchmarks.http_client import LoadTimes
from thinned.loadtest.benchmarks.rivals.contenders import Contender
from thinned.loadtest.benchmarks.rivals.figures import Cells, Figures
from thinned.loadtest.sweep.quantile_bounds import answers_needed

__all__ = ["Bar", "aims_in_words", "as_json", "bars", "contenders_table"]

FROM_SAMPLES = 100
LATENCY_SHARE = 0.5
THROUGHPUT_TIMES = 4.0
BY_HAND = "split"
"""The way that is measured and is no rival: the network cut by hand, as Thinned cuts any network."""


@dataclass(frozen=True)
class Bar:
    """Thinned beside the best of its rivals, for one number of passes.

    Attributes:
        what: `p50_ms` of one client, or `per_second` of many.
        n_samples: Passes.
        ours: Thinned's figure.
        best: That of the best rival in turns with it, and its title.
        aim: Ours over the best's: at most this for `p50_ms`, at least this for `per_second`.
    """

    what: str
    n_samples: int
    ours: float
    best: tuple[float, str]
    aim: float | None

    @property
    def ratio(self) -> float:
        """Ours over the best's."""
        return self.ours / self.best[0]

    @property
    def met(self) -> bool:
        """Whether the aim is met; where there is none it is."""
        if self.aim is None:
            return True
        return self.ratio <= self.aim if self.what == "p50_ms" else self.ratio >= self.aim


class _Kind(NamedTuple):
    """Something that is compared: where it stands, of a rival and of ours in turns with it, and its figure."""

    what: str
    own: Callable[[Figures], Cells]
    ours: Callable[[Figures], Cells]
    figure: Callable[[LoadTimes], float]


_KINDS = (
    _Kind("p50_ms", lambda f: f.alone, lambda f: f.ours_alone, lambda times: times.quantile_ms(0.5)),
    _Kind("per_second", lambda f: f.loaded, lambda f: f.ours_loaded, lambda times: times.per_second),
)


def bars(figures: Mapping[str, Figures], contenders: Mapping[str, Contender]) -> list[Bar]:
    """Ours beside the best rival, by number of passes; none where ours or all rivals were not measured.

    The best is the one that comes nearest to ours, or is furthest ahead of it, in turns with it.

    Args:
        figures: By name of contender.
        contenders: The same.
    """
    ours = figures.get("thinned", Figures())
    found: list[Bar] = []
    for kind in _KINDS:
        lowest = kind.what == "p50_ms"
        for n in kind.own(ours):
            told = [
                (kind.figure(own), kind.figure(times), contenders[name].title)
                for name, other in figures.items()
                if contenders[name].way not in ("", BY_HAND) and _right(other)
                if _answered(times := kind.own(other).get(n))
                if _answered(own := kind.ours(other).get(n) or kind.own(ours)[n])
            ]
            if not told:
                continue
            nearest = max(told, key=lambda one: one[0] / one[1] if lowest else one[1] / one[0])
            aim = (LATENCY_SHARE if lowest else THROUGHPUT_TIMES) if n >= FROM_SAMPLES else None
            found.append(Bar(kind.what, n, nearest[0], nearest[1:], aim))
    return found


def contenders_table(figures: Mapping[str, Figures], contenders: Mapping[str, Contender], clients: int) -> Table:
    """All contenders: p50 and p99 of one client, answers a second of many, memory.

    Args:
        figures: By name of contender.
        contenders: The same.
        clients: How many the many were.
    """
    alone = sorted({n for one in figures.values() for n in one.alone})
    loaded = sorted({n for one in figures.values() for n in one.loaded})
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("server")
    for n in alone:
        table.add_column(f"N = {n}\np50, p99 (ms)", justify="right")
    for n in loaded:
        table.add_column(f"N = {n}\nanswers/s, {clients} clients", justify="right")
    for name in ("RSS (MiB)", "PSS (MiB)", "processes", "from ours\n(std. errors)"):
        table.add_column(name, justify="right")
    for name, one in figures.items():
        cells = [_latency(one.alone.get(n)) for n in alone] + [_rate(one.loaded.get(n)) for n in loaded]
        table.add_row(contenders[name].title, *cells, *_memory(one), _distance(name, one))
    return table


def _right(figures: Figures) -> bool:
    return figures.distance is not None and figures.fault is None


def _answered(times: LoadTimes | None) -> TypeGuard[LoadTimes]:
    return times is not None and bool(times.took_s)


def _latency(times: LoadTimes | None) -> str:
    """The median, and the p99 where there are answers enough to tell it."""
    if times is None or not times.took_s:
        return "–"
    p99 = f"{times.quantile_ms(0.99):.3g}" if len(times.took_s) >= answers_needed("p99") else "–"
    return f"{times.quantile_ms(0.5):.3g}, {p99}{_failures(times)}"


def _rate(times: LoadTimes | None) -> str:
    return f"{times.per_second:,.3g}{_failures(times)}" if times is not None and times.took_s else "–"


def _failures(times: LoadTimes) -> str:
    return f" ({times.failed} failed)" if times.failed else ""


def _memory(figures: Figures) -> list[str]:
    if not figures.memory:
        return ["–"] * 3
    largest = max(figures.memory, key=lambda memory: memory.resident)
    shared = "–" if largest.proportional is None else f"{largest.proportional:,.0f}"
    return [f"{largest.resident:,.0f}", shared, str(largest.processes)]


def _distance(name: str, figures: Figures) -> str:
    if name == "thinned":
        return ""
    return "–" if figures.distance is None else f"{figures.distance:.1f}"


def as_json(bar: Bar) -> dict[str, Any]:
    """A bar's fields, its ratio, and whether its aim is met; None where it has none."""
    return {**vars(bar), "ratio": bar.ratio, "met": bar.met if bar.aim is not None else None}


def aims_in_words(bar: Mapping[str, Any]) -> str:
    """One line of what `as_json` gives."""
    ours, (best, title), ratio, aim, n = bar["ours"], bar["best"], bar["ratio"], bar["aim"], bar["n_samples"]
    if bar["what"] == "p50_ms":
        told = f"p50, N = {n}: {ours:.2f} ms, {ratio:.2f} of the best rival's {best:.2f} ms ({title})"
        side = "at most"
    else:
        told = f"Answers a second, N = {n}: {ours:,.0f}, {ratio:.1f} times the best rival's {best:,.0f} ({title})"
        side = "at least"
    if aim is None:
        return f"{told}."
    return f"{told}; aim: {side} {aim:g}, {'met' if bar['met'] else '**missed**'}."
