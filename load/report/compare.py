"""`thinned compare A/results.json B/results.json`: changes between two results of a sweep that exceed the noise.

The noise is estimated from the repeats of both. A change counts if Welch's confidence interval for the ratio of means
(of logarithms, with a Bonferroni correction for the number of comparisons) excludes 1, and the change is large enough
to matter.
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

from thinned.loadtest.report.tables import format_number
from thinned.loadtest.sweep.intervals import student_quantile
from thinned.loadtest.sweep.results_document import Results, cell_name, read_results

__all__ = ["Change", "compare_results", "differing_conditions", "main"]

SAME, WORSE, COULD_NOT_COMPARE = 0, 1, 2
PIPED_WIDTH = 160
# The compared measures, and whether a larger value is better. Higher percentiles of short runs are mostly noise.
_MEASURES = {"p50": False, "p95": False, "p99": False, "throughput": True}
_FALSE_ALARM_RATE = 0.05


@dataclass(frozen=True)
class Change:
    """One measure of one cell in A (`before`) and B (`after`), with the interval of their ratio.

    `verdict` is "better", "worse", "no change seen" or "too few repeats".
    """

    cell: str
    measure: str
    before: float
    after: float
    low: float
    high: float
    verdict: str

    @property
    def ratio(self) -> float:
        """B divided by A."""
        return self.after / self.before


def compare_results(before: Results, after: Results, *, matters: float = 0.05) -> list[Change]:
    """Compare the cells that both results hold.

    Args:
        before: Results A.
        after: Results B.
        matters: Smallest relative change that counts as one.
    """
    pairs = list(_pairs(before, after))
    level = 1 - _FALSE_ALARM_RATE / max(1, len(pairs) * len(_MEASURES))
    found = []
    for name, a, b in pairs:
        for measure, more_is_better in _MEASURES.items():
            if measure == "throughput" and a["mode"] == "open":
                continue  # The throughput of an open load is the rate that it was given.
            one, other = (c["throughput"] if measure == "throughput" else c["latency_ms"][measure] for c in (a, b))
            if one and other and min(*one["each"], *other["each"]) > 0:
                found.append(_compare(name, measure, one, other, level, more_is_better, matters))
    return found


def _compare(
    name: str,
    measure: str,
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    level: float,
    more_is_better: bool,
    matters: float,
) -> Change:
    """Welch's t interval for the ratio of the means of b and a, on logarithms."""
    means = a["value"], b["value"]
    if min(len(a["each"]), len(b["each"])) < 2:
        return Change(name, measure, *means, 0.0, float("inf"), "too few repeats")
    logs = np.log(a["each"]), np.log(b["each"])
    variances = [float(np.var(x, ddof=1)) / len(x) for x in logs]  # of the means
    denominator = sum(v**2 / (len(x) - 1) for v, x in zip(variances, logs, strict=True))
    half = 0.0
    if denominator:
        half = student_quantile(sum(variances) ** 2 / denominator, level) * sum(variances) ** 0.5
    difference = float(np.mean(logs[1]) - np.mean(logs[0]))
    low, high = float(np.exp(difference - half)), float(np.exp(difference + half))
    verdict = "no change seen"
    if not low <= 1 <= high and abs(float(np.expm1(difference))) >= matters:
        verdict = "better" if (difference > 0) == more_is_better else "worse"
    return Change(name, measure, *means, low, high, verdict)


def _pairs(before: Results, after: Results) -> Iterator[tuple[str, Any, Any]]:
    others = {cell_name(cell): cell for cell in after["cells"]}
    for cell in before["cells"]:
        if cell_name(cell) in others:
            yield cell_name(cell), cell, others[cell_name(cell)]


def differing_conditions(before: Results, after: Results) -> list[str]:
    """Conditions that differ between two results, in words: machine, versions, model, rows, duration."""
    found = []
    for what, section, key in (
        ("machine", "run", "machine"),
        ("versions", "run", "versions"),
        ("model", "model", "sha256"),
        ("rows", "model", "rows_from"),
        ("seconds a point", "settings", "duration_s"),
    ):
        a, b = before[section][key], after[section][key]
        if a != b:
            found.append(f"{what}: {a} in A, {b} in B")
    for label, results in (("A", before), ("B", after)):
        if results["partial"]:
            found.append(f"{label} is partial: {results['partial_reason']}")
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Print what changed.

    Args:
        given: Arguments of the command line; None for those of this process.

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
    parser.add_argument(
        "--matters", type=float, default=0.05, metavar="SHARE", help="smallest relative change that counts (0.05)"
    )
    parser.add_argument("--all", action="store_true", help="also list what did not change")
    arguments = parser.parse_args(given)
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)
    try:
        before, after = read_results(arguments.before), read_results(arguments.after)
    except ValueError as error:
        print(f"thinned: {error}", file=sys.stderr)
        return COULD_NOT_COMPARE
    found = compare_results(before, after, matters=arguments.matters)
    if not found:
        print("thinned: the two have no measurement in common", file=sys.stderr)
        return COULD_NOT_COMPARE
    for line in differing_conditions(before, after):
        console.print(Text(f"Differs: {line}", style="yellow"))
    listed = [change for change in found if arguments.all or change.verdict in ("better", "worse")]
    if listed:
        console.print(_table(listed))
    counts = {verdict: sum(change.verdict == verdict for change in found) for verdict in ("better", "worse")}
    few = sum(change.verdict == "too few repeats" for change in found)
    tail = f"; {few} had too few repeats" if few else ""
    console.print(f"{len(found)} compared: {counts['better']} better, {counts['worse']} worse beyond noise{tail}.")
    return WORSE if counts["worse"] else SAME


def _table(changes: Sequence[Change]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("cell", "measure", "A", "B", "B / A", "interval", ""):
        table.add_column(head, justify="left" if head in ("cell", "measure", "") else "right", no_wrap=True)
    for change in changes:
        unit = "/s" if change.measure == "throughput" else " ms"
        values = [f"{format_number(value)}{unit}" for value in (change.before, change.after)]
        interval = f"{format_number(change.low)} to {format_number(change.high)}" if change.low else "–"
        table.add_row(change.cell, change.measure, *values, format_number(change.ratio), interval, change.verdict)
    return table


if __name__ == "__main__":
    sys.exit(main())
