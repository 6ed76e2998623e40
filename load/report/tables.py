"""The tables of a report: rows of text, which the terminal, Markdown and the page lay out each in its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from thinned.loadtest.sweep.slo import PERCENTILES

__all__ = ["Sheet", "number", "print_tables", "sheets", "with_error"]

Results = Mapping[str, Any]


class Sheet(NamedTuple):
    """A table: title, heads, rows of cells, and a note on how to read it."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def number(value: float | None) -> str:
    """Three significant digits, without an exponent: 0.412, 3.41, 34.1, 1,230."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 or not value else f"{value:.1g}"


def with_error(estimate: Mapping[str, Any] | None) -> str:
    """A value and half the width of its interval."""
    if estimate is None:
        return "–"
    if estimate["high"] is None:
        return number(estimate["value"])
    return f"{number(estimate['value'])} ± {number(estimate['high'] - estimate['value'])}"


def sheets(results: Results) -> list[Sheet]:
    """All tables that the results have numbers for."""
    made = [
        _latencies(results),
        _rates(results),
        _server(results),
        _fits(results),
        _precision(results),
        _ceilings(results),
    ]
    return [sheet for sheet in made if sheet.rows]


def print_tables(results: Results, console: Console) -> None:
    """The results as a person reads them in a terminal: what each point costs, and the recommendation."""
    heads = ("target", "N", "load", "answers", "failed", "per s", "p50 ms", "p95 ms", "p99 ms", "times faster")
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, head in enumerate(heads):
        drawn.add_column(head, justify="left" if i in (0, 2) else "right", no_wrap=True)
    for cell in results["cells"]:
        latency = [number((cell["latency_ms"][name] or {}).get("value")) for name in ("p50", "p95", "p99")]
        faster = number((cell["speed_up"]["p50"] or {}).get("value")) if cell["speed_up"] else ""
        counts = [f"{cell['answers']:,}", f"{sum(cell['errors'].values()):,}"]
        rate = number((cell["throughput"] or {}).get("value"))
        texts = [cell["target"], str(cell["n_samples"]), _load(cell), *counts, rate, *latency, faster]
        drawn.add_row(*(Text(text) for text in texts))
    console.print(drawn)
    for cell in results["cells"]:
        for kind, text in cell["error_examples"].items():
            console.print(Text(f"{cell['target']} N={cell['n_samples']}, {_load(cell)}: {kind}: {text}", style="red"))
    advice = results["recommendation"]
    if advice:
        console.print(Text(f"Recommended: N = {advice['n_samples'] or 'none'}: {advice['reason']}."))


def _load(cell: Mapping[str, Any]) -> str:
    if cell["mode"] == "open":
        return f"{cell['rate']:g}/s open"
    return f"{cell['clients']} client{'' if cell['clients'] == 1 else 's'}"


def _start(cell: Mapping[str, Any]) -> list[str]:
    return [cell["target"], str(cell["n_samples"]), _load(cell)]


def _latencies(results: Results) -> Sheet:
    rows = []
    for cell in results["cells"]:
        values = []
        for name in PERCENTILES:
            mark = "*" if name in cell["few_beyond"] else ""
            values.append(with_error(cell["latency_ms"][name]) + mark)
        rows.append([*_start(cell), *values, number(cell["largest_ms"])])
    return Sheet(
        "Latency (ms)",
        [
            "target",
            "N",
            "load",
            *(name if name != "max" else "max, mean of repeats" for name in PERCENTILES),
            "largest",
        ],
        rows,
        "Means over repeats ± half the 95 % interval (Student's t). Every latency is kept as it was, none is put in a "
        "bucket. * Fewer than ten answers lie beyond: another run may find another number.",
    )


def _rates(results: Results) -> Sheet:
    heads = [
        "target",
        "N",
        "load",
        "answers",
        "failed",
        "answers/s",
        "passes/s",
        "p50: times faster",
        "p99",
        "throughput",
    ]
    rows = []
    for cell in results["cells"]:
        failed = ", ".join(f"{count:,} × {kind}" for kind, count in cell["errors"].items()) or "0"
        passes = with_error(cell["passes_per_second"]) if cell["n_samples"] else ""
        faster = cell["speed_up"] or {}
        ratios = [with_error(faster[name]) if faster.get(name) else "" for name in ("p50", "p99", "throughput")]
        rows.append([*_start(cell), f"{cell['answers']:,}", failed, with_error(cell["throughput"]), passes, *ratios])
    return Sheet(
        "Throughput and failures",
        heads,
        rows,
        "Times faster: the service against the naive baseline under the same load, in the same repeat.",
    )


def _server(results: Results) -> Sheet:
    names = list(dict.fromkeys(n for cell in results["cells"] for n in cell["server_timing_ms"] or {}))
    heads = ["target", "N", "load", *(f"{name} p50 / p99 (ms)" for name in names), "service cores", "service MiB"]
    heads += ["client cores", "late", "dropped"]
    rows = []
    for cell in results["cells"]:
        timing = cell["server_timing_ms"] or {}
        parts = [
            f"{number(timing[name]['p50'])} / {number(timing[name]['p99'])}" if name in timing else "–"
            for name in names
        ]
        usages = [cell["service"], cell["client"]]
        cores = [with_error(usage["cores"]) if usage else "–" for usage in usages]
        memory = number(cell["service"]["memory_mib"]) if cell["service"] else "–"
        arrivals = cell["arrivals"] or {}
        lost = [f"{arrivals[name]:,}" if arrivals else "" for name in ("late", "dropped")]
        rows.append([*_start(cell), *parts, cores[0], memory, cores[1], *lost])
    return Sheet(
        "The machine, and the service's own account",
        heads,
        rows,
        "Cores: processor time for each second of the measurement; client and service share this machine's. Memory: "
        "the most that all processes of the service held. Late: arrivals that the client sent more than 5 ms after "
        "they were due; their latency counts from when they were due.",
    )


def _fits(results: Results) -> Sheet:
    rows = []
    for line in results["fits"]:
        a = f"{number(line['a_ms'])} ± {number(line['a_error_ms'])}"
        b = f"{number(1e3 * line['b_ms_per_pass'])} ± {number(1e3 * line['b_error_ms_per_pass'])}"
        left = ", ".join(f"{p['residual_ms']:+.2g} at {p['n_samples']}" for p in line["points"])
        rows.append([line["target"], str(line["clients"]), a, b, f"{line['r_squared']:.4f}", left])
    heads = ["target", "clients", "a (ms)", "b (µs a pass)", "R²", "residuals (ms, at N)"]
    return Sheet("Fit: median latency = a + b N", heads, rows, "Least squares; ± one standard error.")


def _precision(results: Results) -> Sheet:
    precision = results["precision"]
    rows = []
    for point in precision["points"] if precision else []:
        mean, variance = point["mean_error"], point["variance_error"]
        worth = (1 / mean["value"]) ** 2 if mean["value"] else None
        rows.append(
            [
                str(point["n_samples"]),
                f"{mean['value']:.4f} ({mean['low']:.4f} to {mean['high']:.4f})",
                f"{point['independent_error']:.4f}",
                number(worth),
                f"{point['reported_error']:.4f}",
                f"{100 * variance['value']:.1f} % ({100 * variance['low']:.1f} to {100 * variance['high']:.1f})",
            ]
        )
    heads = ["N", "error of the mean", "were passes independent", "worth independent passes", "stated standard_error"]
    note = ""
    if precision:
        note = (
            f"{precision['rows']} rows ({precision['rows_from']}), {precision['seeds']} seeds each, against a "
            f"reference of {precision['reference_passes']:,} passes; 95 % bootstrap intervals over seeds. Errors of "
            "the mean are in units of the spread of passes."
        )
    return Sheet("Monte Carlo error", [*heads, "error of the variance"], rows, note)


def _ceilings(results: Results) -> Sheet:
    limits = ", ".join(f"{name} ≤ {limit:g} ms" for name, limit in results["slo_ms"].items())
    rows = []
    for found in results["largest_rates"]:
        missed = number(found["missed_at"]) if found["missed_at"] else "–"
        trials = ", ".join(f"{number(t['rate'])} {'met' if t['met'] else 'missed'}" for t in found["trials"])
        rows.append([found["target"], str(found["n_samples"]), number(found["rate"]), missed, trials])
    heads = ["target", "N", "largest rate that met it (per s)", "missed at (per s)", "rates tried (per s)"]
    return Sheet(
        f"Largest rate with {limits}",
        heads,
        rows,
        "Open load, bisected until within 10 %; a rate is missed when it is missed twice in a row.",
    )
