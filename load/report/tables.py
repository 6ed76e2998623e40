"""The tables of a report as rows of text, which the terminal, Markdown and the HTML page each lay out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import Any, NamedTuple

from thinned.loadtest.sweep.plan import load_in_words
from thinned.loadtest.sweep.quantile_bounds import answers_needed
from thinned.loadtest.sweep.results_document import Results
from thinned.loadtest.sweep.slo import PERCENTILES, slo_in_words

__all__ = [
    "ReportTable",
    "bounded",
    "format_estimate",
    "format_number",
    "percentile_value",
    "report_tables",
    "spread_between_runs",
    "too_few",
]


class ReportTable(NamedTuple):
    """A table: its title, the heads of its columns, its rows, and a note on how to read it."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def format_number(value: float | None) -> str:
    """A number with three significant digits and no exponent, such as 0.412, 34.1 or 1,230; a dash for None."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 or not value else f"{value:.1g}"


def format_estimate(estimate: Mapping[str, Any] | None) -> str:
    """An estimate of the results as "value ± half the width of its interval"; a dash for None."""
    if estimate is None:
        return "–"
    if estimate["high"] is None:
        return format_number(estimate["value"])
    return f"{format_number(estimate['value'])} ± {format_number(estimate['high'] - estimate['value'])}"


def report_tables(results: Results) -> list[ReportTable]:
    """All tables that the results hold numbers for."""
    made = [
        _percentiles(results),
        _latencies(results),
        _rates(results),
        _goodput(results),
        _server(results),
        _fits(results),
        _precision(results),
        _largest_rates(results),
    ]
    return [table for table in made if table.rows]


def too_few(cell: Mapping[str, Any], name: str) -> bool:
    """Whether a cell has too few answers to tell a percentile."""
    return name != "max" and cell["answers"] < answers_needed(name)


def percentile_value(cell: Mapping[str, Any], name: str) -> str:
    """A percentile of all answers, or how many answers it needs where there are too few."""
    if too_few(cell, name):
        return f"needs {answers_needed(name):,}"
    found = cell.get("bounds_ms", {}).get(name) or cell["latency_ms"][name] or {}
    return format_number(found.get("value"))


def spread_between_runs(estimate: Mapping[str, Any] | None) -> str:
    """Standard deviation between runs (ddof=1) over their mean, in percent; a dash for one run."""
    if estimate is None or len(estimate["each"]) < 2 or not estimate["value"]:
        return "–"
    return f"{100 * stdev(estimate['each']) / estimate['value']:.2g} %"


def bounded(cell: Mapping[str, Any], name: str) -> str:
    """The same with the interval that holds it."""
    found = cell.get("bounds_ms", {}).get(name) or {}
    if "low" not in found:
        return percentile_value(cell, name)
    return f"{percentile_value(cell, name)} ({format_number(found['low'])}–{format_number(found['high'])})"


def _load(cell: Mapping[str, Any]) -> str:
    return load_in_words(cell["clients"], cell["rate"])


def _start(cell: Mapping[str, Any]) -> list[str]:
    return [cell["target"], str(cell["n_samples"]), _load(cell)]


def _percentiles(results: Results) -> ReportTable:
    names = [name for name in PERCENTILES if name != "max"]
    rows = [
        [*_start(cell), f"{cell['answers']:,}", *(bounded(cell, name) for name in names)]
        for cell in results["cells"]
        if "bounds_ms" in cell
    ]
    return ReportTable(
        "Percentiles of all answers (ms)",
        ["target", "N", "load", "answers", *names],
        rows,
        "(low–high) holds the percentile with a probability of at least 95 %, whatever the distribution: two of the "
        "sorted latencies, by the binomial law, as if answers were independent. Where there are too few answers for "
        "such an interval, no number is given but how many are needed.",
    )


def _latencies(results: Results) -> ReportTable:
    rows = []
    for cell in results["cells"]:
        values = []
        for name in PERCENTILES:
            mark = "*" if name in cell["few_beyond"] else ""
            few = too_few(cell, name)
            values.append(percentile_value(cell, name) if few else format_estimate(cell["latency_ms"][name]) + mark)
        rows.append([*_start(cell), *values, format_number(cell["largest_ms"])])
    return ReportTable(
        "Latency (ms), run by run",
        [
            "target",
            "N",
            "load",
            *(name if name != "max" else "max, mean of repeats" for name in PERCENTILES),
            "largest",
        ],
        rows,
        "Means over repeats ± half the 95 % interval (Student's t). Percentiles are those of "
        "the latencies themselves, not of a histogram. * Fewer than ten answers lie beyond: it varies between runs.",
    )


def _rates(results: Results) -> ReportTable:
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
        passes = format_estimate(cell["passes_per_second"]) if cell["n_samples"] else ""
        faster = cell["speed_up"] or {}
        ratios = [format_estimate(faster[name]) if faster.get(name) else "" for name in ("p50", "p99", "throughput")]
        rows.append(
            [*_start(cell), f"{cell['answers']:,}", failed, format_estimate(cell["throughput"]), passes, *ratios]
        )
    return ReportTable(
        "Throughput and failures",
        heads,
        rows,
        "Times faster: the service against the naive baseline under the same load, in the same repeat.",
    )


def _goodput(results: Results) -> ReportTable:
    rows = []
    for cell in results["cells"]:
        found = cell.get("goodput")
        if not found:
            continue
        share = "–" if found["share"] is None else f"{100 * found['share']:.2f} %"
        spreads = [spread_between_runs(each) for each in (cell["latency_ms"]["p50"], cell["throughput"])]
        good = [f"{found['good']:,}", f"{found['due']:,}", share, format_estimate(found["per_second"])]
        rows.append([*_start(cell), *good, str(cell["repeats"]), *spreads])
    limit = max(results["slo_ms"].values(), default=0)
    return ReportTable(
        f"Goodput: right answers within {limit:g} ms",
        ["target", "N", "load", "good", "due", "share", "good/s", "runs", "p50 between runs", "answers/s between runs"],
        rows,
        "Good: right, to a request that began, or was due, within a window, and no later than the largest limit of the "
        "objectives. Failed, wrong and dropped requests are due too. Between runs: standard deviation over the mean.",
    )


def _server(results: Results) -> ReportTable:
    names = list(dict.fromkeys(n for cell in results["cells"] for n in cell["server_timing_ms"] or {}))
    heads = ["target", "N", "load", *(f"{name} p50 / p99 (ms)" for name in names), "service cores", "service MiB"]
    heads += ["client cores", "late", "dropped"]
    rows = []
    for cell in results["cells"]:
        timing = cell["server_timing_ms"] or {}
        parts = [
            f"{format_number(timing[name]['p50'])} / {format_number(timing[name]['p99'])}" if name in timing else "–"
            for name in names
        ]
        usages = [cell["service"], cell["client"]]
        cores = [format_estimate(usage["cores"]) if usage else "–" for usage in usages]
        memory = format_number(cell["service"]["memory_mib"]) if cell["service"] else "–"
        arrivals = cell["arrivals"] or {}
        lost = [f"{arrivals[name]:,}" if arrivals else "" for name in ("late", "dropped")]
        rows.append([*_start(cell), *parts, cores[0], memory, cores[1], *lost])
    return ReportTable(
        "Resources and server timing",
        heads,
        rows,
        "Cores: processor time for each second of the measurement; client and service share this machine's. Memory: "
        "the largest sum over the processes of the service. Late: arrivals that the client sent more than 5 ms after "
        "they were due; their latency counts from when they were due.",
    )


def _fits(results: Results) -> ReportTable:
    rows = []
    for line in results["fits"]:
        a = f"{format_number(line['a_ms'])} ± {format_number(line['a_error_ms'])}"
        b = f"{format_number(1e3 * line['b_ms_per_pass'])} ± {format_number(1e3 * line['b_error_ms_per_pass'])}"
        residuals = ", ".join(f"{p['residual_ms']:+.2g} at {p['n_samples']}" for p in line["points"])
        rows.append([line["target"], str(line["clients"]), a, b, f"{line['r_squared']:.4f}", residuals])
    heads = ["target", "clients", "a (ms)", "b (µs a pass)", "R²", "residuals (ms, at N)"]
    return ReportTable("Fit: median latency = a + b N", heads, rows, "Least squares; ± one standard error.")


def _precision(results: Results) -> ReportTable:
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
                format_number(worth),
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
    return ReportTable("Monte Carlo error", [*heads, "error of the variance"], rows, note)


def _largest_rates(results: Results) -> ReportTable:
    rows = []
    for found in results["largest_rates"]:
        missed = format_number(found["missed_at"]) if found["missed_at"] else "–"
        trials = ", ".join(f"{format_number(t['rate'])} {'met' if t['met'] else 'missed'}" for t in found["trials"])
        rows.append([found["target"], str(found["n_samples"]), format_number(found["rate"]), missed, trials])
    heads = ["target", "N", "largest rate that met it (per s)", "missed at (per s)", "rates tried (per s)"]
    return ReportTable(
        f"Largest rate with {slo_in_words(results['slo_ms'])}",
        heads,
        rows,
        "Open load, bisected until within 10 %; a rate is missed when it is missed twice in a row.",
    )
