"""`thinned compare A/results.json B/results.json`: what changed from A to B beyond noise.

Noise is told by the repeats of both: a change counts where Welch's interval for the ratio of means (on logarithms, at a
level that allows for the number of comparisons) leaves out 1, and where it is not too small to matter.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from thinned.loadtest.report.tables import number
from thinned.loadtest.sweep.intervals import student
from thinned.loadtest.sweep.results_document import name_of, read

__all__ = ["Change", "changes", "main"]

SAME, WORSE, COULD_NOT_COMPARE = 0, 1, 2
PIPED_WIDTH = 160
# What is compared, and whether more of it is better. Higher percentiles of short runs are mostly noise.
_MEASURES = {"p50": False, "p95": False, "p99": False, "throughput": True}
_FALSE_ALARMS = 0.05


@dataclass(frozen=True)
class Change:
    """One number of one cell: B by A with its interval, and what it comes to."""

    cell: str
    measure: str
    before: float
    after: float
    low: float
    high: float
    verdict: str  # "better", "worse", "no change seen" or "too few repeats"

    @property
    def ratio(self) -> float:
        """B divided by A."""
        return self.after / self.before


def changes(before: Mapping[str, Any], after: Mapping[str, Any], *, matters: float = 0.05) -> list[Change]:
    """Compares the cells that both hold.

    Args:
        before: Results A.
        after: Results B.
        matters: Changes of a smaller share are told as none.
    """
    pairs = list(_pairs(before, after))
    level = 1 - _FALSE_ALARMS / max(1, len(pairs) * len(_MEASURES))
    found = []
    for name, a, b in pairs:
        for measure, more_is_better in _MEASURES.items():
            if measure == "throughput" and a["mode"] == "open":
                continue  # It is the rate that was asked for.
            one, other = (c["throughput"] if measure == "throughput" else c["latency_ms"][measure] for c in (a, b))
            if one and other and min(*one["each"], *other["each"]) > 0:
                found.append(_compare(name, measure, one, other, level, more_is_better, matters))
    return found


def _compare(
    name: str, measure: str, a: Mapping[str, Any], b: Mapping[str, Any], level: float, up: bool, matters: float
) -> Change:
    means = a["value"], b["value"]
    if min(len(a["each"]), len(b["each"])) < 2:
        return Change(name, measure, *means, 0.0, float("inf"), "too few repeats")
    logs = np.log(a["each"]), np.log(b["each"])
    parts = [float(np.var(x, ddof=1)) / len(x) for x in logs]
    spread = sum(parts) ** 0.5
    weighed = sum(p**2 / (len(x) - 1) for p, x in zip(parts, logs, strict=True))
    half = student(sum(parts) ** 2 / weighed, level) * spread if weighed else 0.0
    middle = float(np.mean(logs[1]) - np.mean(logs[0]))
    low, high = float(np.exp(middle - half)), float(np.exp(middle + half))
    verdict = "no change seen"
    if not low <= 1 <= high and abs(float(np.expm1(middle))) >= matters:
        verdict = "better" if (middle > 0) == up else "worse"
    return Change(name, measure, *means, low, high, verdict)


def _pairs(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    others = {name_of(cell): cell for cell in after["cells"]}
    for cell in before["cells"]:
        if name_of(cell) in others:
            yield name_of(cell), cell, others[name_of(cell)]


def circumstances(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs around the measurement: a change may come from there."""
    found = []
    for what, place, key in (
        ("machine", "run", "machine"),
        ("versions", "run", "versions"),
        ("model", "model", "sha256"),
        ("rows", "model", "rows_from"),
        ("seconds a point", "settings", "duration_s"),
    ):
        a, b = before[place][key], after[place][key]
        if a != b:
            found.append(f"{what}: {a} in A, {b} in B")
    for label, results in (("A", before), ("B", after)):
        if results["partial"]:
            found.append(f"{label} is partial: {results['partial_reason']}")
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Prints what changed.

    Returns:
        0 nothing got worse beyond noise; 1 something did; 2 the files cannot be compared.
    """
    parser = argparse.ArgumentParser(
        prog="thinned compare",
        description="What changed from results A to results B beyond noise.",
        epilog="Exit status: 0 nothing got worse; 1 something did; 2 they cannot be compared.",
    )
    parser.add_argument("before", type=Path, metavar="A/results.json")
    parser.add_argument("after", type=Path, metavar="B/results.json")
    parser.add_argument("--matters", type=float, default=0.05, metavar="SHARE", help="least change to tell (0.05)")
    parser.add_argument("--all", action="store_true", help="also list what did not change")
    arguments = parser.parse_args(given)
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)
    try:
        before, after = read(arguments.before), read(arguments.after)
    except ValueError as error:
        print(f"thinned: {error}", file=sys.stderr)
        return COULD_NOT_COMPARE
    found = changes(before, after, matters=arguments.matters)
    if not found:
        print("thinned: the two have no measurement in common", file=sys.stderr)
        return COULD_NOT_COMPARE
    for line in circumstances(before, after):
        console.print(Text(f"Differs: {line}", style="yellow"))
    told = [change for change in found if arguments.all or change.verdict in ("better", "worse")]
    if told:
        console.print(_table(told))
    counts = {verdict: sum(change.verdict == verdict for change in found) for verdict in ("better", "worse")}
    few = sum(change.verdict == "too few repeats" for change in found)
    tail = f"; {few} had too few repeats to tell" if few else ""
    console.print(f"{len(found)} compared: {counts['better']} better, {counts['worse']} worse beyond noise{tail}.")
    return WORSE if counts["worse"] else SAME


def _table(told: Sequence[Change]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("cell", "measure", "A", "B", "B / A", "interval", ""):
        table.add_column(head, justify="left" if head in ("cell", "measure", "") else "right", no_wrap=True)
    for change in told:
        unit = "/s" if change.measure == "throughput" else " ms"
        values = [f"{number(value)}{unit}" for value in (change.before, change.after)]
        interval = f"{number(change.low)} to {number(change.high)}" if change.low else "–"
        table.add_row(change.cell, change.measure, *values, number(change.ratio), interval, change.verdict)
    return table


if __name__ == "__main__":
    sys.exit(main())
