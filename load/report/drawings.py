"""Draw each plot of a report on Matplotlib axes.

Each function returns False, and draws nothing, if the results hold no data for its plot. Series differ in marker and
line style as well as in colour, so that they differ in grey, too; the colours are those of Okabe and Ito, chosen
for colour-blind readers (https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from thinned.loadtest.sweep.plan import load_in_words
from thinned.loadtest.sweep.results_document import Results

__all__ = ["draw_error", "draw_frontier", "draw_latency", "draw_latency_parts", "draw_tail", "draw_throughput"]

BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000",
)  # fmt: skip
_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, BLACK)
GREY = "#555555"
_HATCHES = ("", "///", "...", "xxx", "\\\\")
_MARKERS = "osD^vPX"
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 1)))


def _style(i: int, *, hollow: bool = False) -> dict[str, Any]:
    colour = _COLOURS[i % len(_COLOURS)]
    return {
        "color": colour,
        "marker": _MARKERS[i % len(_MARKERS)],
        "linestyle": _LINES[i % len(_LINES)],
        "markerfacecolor": "white" if hollow else colour,
        "markersize": 6,
        "linewidth": 1.6,
    }


def _decimal_ticks(axis: Any, ticks: Sequence[float] | None = None) -> None:
    """Label a logarithmic axis with decimal numbers such as 0.5, 1, 2, 5, 10, at `ticks` if they are given."""
    axis.set_major_locator(FixedLocator(list(ticks)) if ticks else LogLocator(subs=(1, 2, 5), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if ticks:
        axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _error_bars(points: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Lengths of error bars below and above each value."""
    low = [p["value"] - (p["value"] if p["low"] is None else max(p["low"], 0.02 * p["value"])) for p in points]
    return [low, [(p["value"] if p["high"] is None else p["high"]) - p["value"] for p in points]]


def _plot_estimates(
    axes: Axes, x: Sequence[float], points: Sequence[Mapping[str, Any]], label: str, style: Any
) -> None:
    axes.errorbar(x, [p["value"] for p in points], _error_bars(points), label=label, capsize=3, **style)


def _limit_to_values(axes: Axes, values: Sequence[float]) -> None:
    """Set the y limits by the values alone: the intervals over few repeats may be far wider."""
    axes.set_ylim(min(values) / 1.7, max(values) * 1.7)


def _legend_below(axes: Axes) -> None:
    axes.legend(fontsize=8.5, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16))


def _closed(results: Results, target: str, clients: int | None = None) -> list[Mapping[str, Any]]:
    """Cells of a closed load with answers, sorted by sample count; by default those with the fewest clients."""
    cells = [c for c in results["cells"] if c["target"] == target and c["mode"] == "closed" and c["answers"]]
    if not cells:
        return []
    wanted = min(cell["clients"] for cell in cells) if clients is None else clients
    return sorted((c for c in cells if c["clients"] == wanted), key=lambda cell: cell["n_samples"])


def draw_latency(axes: Axes, results: Results) -> bool:
    """Draw the latency of one client against the sample count, with the fitted lines."""
    values: list[float] = []
    ticks: set[int] = set()
    for i, (target, name) in enumerate((t, p) for t in ("service", "baseline") for p in ("p50", "p99")):
        cells = [cell for cell in _closed(results, target) if cell["n_samples"]]
        points = [cell["latency_ms"][name] for cell in cells]
        if points:
            counts = [cell["n_samples"] for cell in cells]
            style = _style(i, hollow=name == "p99") | {"linestyle": "none"}
            _plot_estimates(axes, counts, points, f"{target}, {name}", style)
            values, ticks = values + [p["value"] for p in points], ticks | set(counts)
    if not values:
        return False
    for line in results["fits"]:
        counts = [point["n_samples"] for point in line["points"]]
        fine = [counts[0] * (counts[-1] / counts[0]) ** (k / 100) for k in range(101)]
        label = f"{line['target']}: {line['a_ms']:.3g} ms + {1e3 * line['b_ms_per_pass']:.3g} µs × N"
        stroke = "-" if line["target"] == "service" else "--"
        fitted = [line["a_ms"] + line["b_ms_per_pass"] * n for n in fine]
        axes.plot(fine, fitted, color=BLACK, linewidth=1, linestyle=stroke, label=label)
    for cell in _closed(results, "service"):
        if not cell["n_samples"]:
            p50 = cell["latency_ms"]["p50"]["value"]
            axes.axhline(
                p50, color=GREY, linewidth=1, linestyle=":", label=f"service, p50 without passes: {p50:.3g} ms"
            )
            values.append(p50)
    axes.set(xlabel="sample count N (passes)", ylabel="latency (ms)", xscale="log", yscale="log")
    _decimal_ticks(axes.xaxis, sorted(ticks))
    _decimal_ticks(axes.yaxis)
    _limit_to_values(axes, values)
    _legend_below(axes)
    return True


def draw_throughput(axes: Axes, results: Results) -> bool:
    """Draw answers per second against the number of clients."""
    counts = sorted({c["n_samples"] for c in results["cells"] if c["mode"] == "closed"})
    ticks: set[int] = set()
    values: list[float] = []
    for target in ("service", "baseline"):
        for i, n in enumerate(counts):
            cells = [c for c in results["cells"] if (c["target"], c["mode"], c["n_samples"]) == (target, "closed", n)]
            cells = sorted((c for c in cells if c["answers"]), key=lambda cell: cell["clients"])
            points = [cell["throughput"] for cell in cells]
            if points:
                style = _style(i, hollow=target == "baseline") | ({"linewidth": 0.9} if target == "baseline" else {})
                _plot_estimates(axes, [cell["clients"] for cell in cells], points, f"{target}, N = {n}", style)
                values += [point["value"] for point in points]
                ticks |= {cell["clients"] for cell in cells}
    if values:
        axes.set(xlabel="clients at once (closed load)", ylabel="right answers per second", xscale="log", yscale="log")
        _decimal_ticks(axes.xaxis, sorted(ticks))
        _decimal_ticks(axes.yaxis)
        _limit_to_values(axes, values)
        axes.margins(x=0.08)
        axes.legend(fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return bool(values)


def draw_tail(axes: Axes, results: Results) -> bool:
    """Draw latency at every percentile q, on an axis that is logarithmic in 1 / (1 - q)."""
    cells = [c for c in results["cells"] if c["target"] == "service" and c["answers"]]
    opened = [cell for cell in cells if cell["mode"] == "open"]
    shown = opened or _closed(results, "service")
    for i, cell in enumerate(sorted(shown, key=lambda cell: (cell["rate"] or 0, cell["n_samples"]))):
        points = [(1 / (1 - q / 100), ms) for q, ms in cell["spectrum_ms"] if q < 100]
        label = f"N = {cell['n_samples']}, " + _short_load(cell)
        style = _style(i) | {"markevery": (i % 3, 3), "markersize": 5}
        axes.plot([x for x, _ in points], [y for _, y in points], label=label, **style)
    if not shown:
        return False
    beyond = [1, 2, 10, 20, 100, 1000, 10000]
    axes.set(xscale="log", yscale="log", xlabel="percentile of latency (%)", ylabel="latency (ms)")
    right = axes.get_xlim()[1]
    axes.xaxis.set_major_locator(FixedLocator([b for b in beyond if b <= right]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * (1 - 1 / x):.6g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    _decimal_ticks(axes.yaxis)
    axes.legend(fontsize=8.5, title="open load" if opened else "closed load", loc="upper left")
    return True


def draw_error(axes: Axes, results: Results) -> bool:
    """Draw the measured and the stated Monte Carlo error, and that of independent passes, against the sample count."""
    precision = results["precision"]
    if not precision:
        return False
    points = precision["points"]
    n = [point["n_samples"] for point in points]
    independent = [point["independent_error"] for point in points]
    axes.plot(n, independent, color=GREY, linestyle=":", linewidth=1.4, label="mean, were passes independent: 1/√N")
    reported = [point["reported_error"] for point in points]
    axes.plot(n, reported, label="mean, as answers state it (standard_error)", **_style(1, hollow=True))
    for i, (name, label) in enumerate((("mean_error", "mean"), ("variance_error", "variance"))):
        _plot_estimates(axes, n, [point[name] for point in points], f"{label}, measured", _style(2 * i))
    axes.set(xscale="log", yscale="log", xlabel="sample count N (passes)")
    axes.set_ylabel("Monte Carlo error\n(mean: of the spread; variance: of the variance)")
    _decimal_ticks(axes.xaxis, n)
    _decimal_ticks(axes.yaxis)
    axes.legend(fontsize=8.5, loc="lower left")
    return True


def draw_frontier(axes: Axes, results: Results) -> bool:
    """Draw error against latency, one point for each sample count, with the recommended one marked."""
    precision = results["precision"]
    if not precision:
        return False
    errors = {point["n_samples"]: point for point in precision["points"]}
    values: list[float] = []
    for i, (target, name) in enumerate((("service", "mean_error"), ("baseline", "independent_error"))):
        cells = [cell for cell in _closed(results, target) if cell["n_samples"] in errors]
        if not cells:
            continue
        x = [cell["latency_ms"]["p50"] for cell in cells]
        y = [errors[cell["n_samples"]][name] for cell in cells]
        y = [one["value"] if isinstance(one, Mapping) else one for one in y]
        label = "service, p50" if target == "service" else "baseline, p50 (passes are independent: 1/√N)"
        style = _style(i, hollow=target == "baseline")
        axes.errorbar([p["value"] for p in x], y, xerr=_error_bars(x), label=label, capsize=3, **style)
        values += [p["value"] for p in x]
        for cell, p, error in zip(cells, x, y, strict=True):
            label = f"N = {cell['n_samples']}"
            axes.annotate(label, (p["value"], error), textcoords="offset points", xytext=(8, 6), fontsize=8.5)
    if not values:
        return False
    _mark_recommendation(axes, results, errors)
    axes.set(xscale="log", yscale="log", xlabel="median latency of one client (ms)")
    axes.set_ylabel("Monte Carlo error of the mean\n(share of the spread of passes)")
    _decimal_ticks(axes.xaxis)
    _decimal_ticks(axes.yaxis)
    axes.set_xlim(min(values) / 1.6, max(values) * 1.8)
    axes.margins(y=0.1)
    _legend_below(axes)
    return True


def _mark_recommendation(axes: Axes, results: Results, errors: Mapping[int, Any]) -> None:
    recommendation = results["recommendation"] or {}
    for cell in _closed(results, "service"):
        if cell["n_samples"] == recommendation.get("n_samples") and cell["n_samples"] in errors:
            point = cell["latency_ms"]["p50"]["value"], errors[cell["n_samples"]]["mean_error"]["value"]
            ring = {"markersize": 15, "markerfacecolor": "none", "markeredgecolor": BLACK, "linestyle": "none"}
            axes.plot(*point, marker="o", label=f"recommended: N = {cell['n_samples']}", **ring)
    tolerance = recommendation.get("tolerance")
    if tolerance:
        axes.axhline(tolerance, color=GREY, linestyle=":", linewidth=1.2, label=f"tolerance: {tolerance:g}")


def draw_latency_parts(axes: Axes, results: Results) -> bool:
    """Draw the mean latency by load, split into the times that the service states and the rest."""
    cells = [c for c in results["cells"] if c["target"] == "service" and c["server_timing_ms"] and c["answers"]]
    counts = sorted({cell["n_samples"] for cell in cells})
    if not counts:
        return False
    few = {counts[0], counts[len(counts) // 2], counts[-1]}
    shown = sorted(
        (cell for cell in cells if cell["n_samples"] in few),
        key=lambda cell: (cell["n_samples"], cell["mode"], cell["clients"] or cell["rate"]),
    )
    labels = [f"N = {cell['n_samples']}, {_short_load(cell)}" for cell in shown]
    left = [0.0] * len(shown)
    for i, name in enumerate(dict.fromkeys(name for cell in shown for name in cell["server_timing_ms"])):
        width = [cell["server_timing_ms"].get(name, {}).get("mean", 0.0) for cell in shown]
        hatch = _HATCHES[i % len(_HATCHES)]
        axes.barh(labels, width, left=left, label=name, color=_COLOURS[i], edgecolor="white", hatch=hatch)
        left = [a + b for a, b in zip(left, width, strict=True)]
    rest = [max(_mean_latency(cell) - inside, 0.0) for cell, inside in zip(shown, left, strict=True)]
    axes.barh(labels, rest, left=left, label="all else: HTTP, the client", color="#dddddd", edgecolor="#777777")
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(xlabel="mean latency (ms)", ylabel="sample count and load")
    axes.legend(fontsize=8.5)
    return True


def _short_load(cell: Mapping[str, Any]) -> str:
    return load_in_words(cell["clients"], cell["rate"], per_second="/s")


def _mean_latency(cell: Mapping[str, Any]) -> float:
    """Mean latency in ms, as the area under the percentile curve."""
    return float(sum((b[0] - a[0]) / 100 * (a[1] + b[1]) / 2 for a, b in pairwise(cell["spectrum_ms"])))
