"""Summarise all repeats of a cell as the entry that the results document holds of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thinned.loadtest.sweep.goodput import goodput
from thinned.loadtest.sweep.intervals import estimate, fit_line
from thinned.loadtest.sweep.plan import Cell
from thinned.loadtest.sweep.quantile_bounds import bounds_of
from thinned.loadtest.sweep.record import LATE_MS, Measurement
from thinned.loadtest.sweep.slo import PERCENTILES, percentile

__all__ = ["FEW_ANSWERS", "add_speed_ups", "fit_latency", "summarise_cell"]

# A percentile with fewer answers beyond it is marked in reports: it varies much from run to run.
FEW_ANSWERS = 10
_SPECTRUM = (0, 10, 25, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 97, 98, 99, 99.5, 99.7, 99.9, 99.95, 99.99, 100)


def summarise_cell(cell: Cell, repeats: Sequence[Measurement], slo: Mapping[str, float]) -> dict[str, Any]:
    """One entry of `cells` in the results.

    Args:
        cell: The cell.
        repeats: Its measurements, at least one.
        slo: Limits on percentiles, in ms.
    """
    every = np.concatenate([one.latencies_ms for one in repeats])
    latency = {name: _json(estimate([percentile(one.latencies_ms, name) for one in repeats])) for name in PERCENTILES}
    throughput = [one.throughput for one in repeats]
    return {
        "target": cell.target,
        "n_samples": cell.n_samples,
        "rows": cell.rows,
        "mode": cell.mode,
        "clients": cell.clients,
        "rate": cell.rate,
        "repeats": len(repeats),
        "seconds": [one.seconds for one in repeats],
        "answers": len(every),
        "throughput": _json(estimate(throughput)),
        "passes_per_second": _json(estimate([value * cell.n_samples for value in throughput])),
        "row_passes_per_second": _json(estimate([value * cell.n_samples * cell.rows for value in throughput])),
        "latency_ms": latency,
        "bounds_ms": bounds_of(every),
        "goodput": goodput(repeats, slo),
        "largest_ms": float(every.max()) if len(every) else None,
        "few_beyond": [name for name, q in PERCENTILES.items() if q < 100 and len(every) * (1 - q / 100) < FEW_ANSWERS],
        "spectrum_ms": _spectrum(every),
        "errors": dict(sum((Counter(one.errors) for one in repeats), Counter())),
        "error_examples": {kind: text for one in reversed(repeats) for kind, text in one.examples.items()},
        "arrivals": _arrivals(repeats) if cell.mode == "open" else None,
        "server_timing_ms": _timings(repeats),
        "service": _usage([one.service for one in repeats]),
        "client": _usage([one.client for one in repeats]),
        "seeds": [one.seeds for one in repeats],
        "slo": _slo(latency, slo) if slo and cell.target == "service" else None,
        "speed_up": None,
    }


def add_speed_ups(cells: list[dict[str, Any]]) -> None:
    """Set `speed_up` of the service's cells: the ratio to the baseline under the same load, repeat by repeat."""
    baselines = {_load_key(cell): cell for cell in cells if cell["target"] == "baseline"}
    for cell in cells:
        other = baselines.get(_load_key(cell))
        if cell["target"] == "service" and other is not None:
            p50, p99 = (_ratio(other["latency_ms"][name], cell["latency_ms"][name]) for name in ("p50", "p99"))
            faster = _ratio(cell["throughput"], other["throughput"])
            cell["speed_up"] = {"p50": p50, "p99": p99, "throughput": faster}


def fit_latency(cells: Sequence[Mapping[str, Any]], target: str) -> dict[str, Any] | None:
    """Fit `p50 = a + b N` over the closed cells with the fewest clients; None for fewer than three cells."""
    closed = [c for c in cells if c["target"] == target and c["mode"] == "closed" and c["n_samples"] and c["answers"]]
    if not closed:
        return None
    clients = min(cell["clients"] for cell in closed)
    points = sorted((c["n_samples"], c["latency_ms"]["p50"]["value"]) for c in closed if c["clients"] == clients)
    line = fit_line([n for n, _ in points], [ms for _, ms in points])
    if line is None:
        return None
    return {
        "target": target,
        "clients": clients,
        "percentile": "p50",
        "a_ms": line.intercept,
        "a_error_ms": line.intercept_error,
        "b_ms_per_pass": line.slope,
        "b_error_ms_per_pass": line.slope_error,
        "r_squared": line.r_squared,
        "points": [
            {"n_samples": n, "measured_ms": ms, "fitted_ms": ms - residual, "residual_ms": residual}
            for (n, ms), residual in zip(points, line.residuals, strict=True)
        ],
    }


def _load_key(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return cell["n_samples"], cell["rows"], cell["clients"], cell["rate"]


def _ratio(numerator: Any, denominator: Any) -> Any:
    if numerator is None or denominator is None:
        return None
    return _json(estimate([a / b for a, b in zip(numerator["each"], denominator["each"], strict=False) if b > 0]))


def _spectrum(latencies_ms: Any) -> list[list[float]]:
    """Percentiles for a plot of the whole distribution, up to the last one with an answer beyond it."""
    shown = [q for q in _SPECTRUM if q == 100 or len(latencies_ms) * (1 - q / 100) >= 1]
    return [[q, float(np.percentile(latencies_ms, q))] for q in shown] if len(latencies_ms) else []


def _arrivals(repeats: Sequence[Measurement]) -> dict[str, Any]:
    return {
        "offered": sum(one.offered for one in repeats),
        "late": sum(one.late for one in repeats),
        "late_after_ms": LATE_MS,
        "worst_late_ms": max(one.worst_late_ms for one in repeats),
        "dropped": sum(one.dropped for one in repeats),
    }


def _timings(repeats: Sequence[Measurement]) -> dict[str, Any] | None:
    names = dict.fromkeys(name for one in repeats for name in one.timings_ms)
    found = {}
    for name in names:
        values = np.concatenate([one.timings_ms[name] for one in repeats if name in one.timings_ms])
        found[name] = {"mean": float(values.mean()), **{q: percentile(values, q) for q in ("p50", "p95", "p99")}}
    return found or None


def _usage(usages: Sequence[Any]) -> dict[str, Any] | None:
    known = [usage for usage in usages if usage is not None]
    if not known:
        return None
    cores = estimate([usage.cores for usage in known])
    return {"cores": _json(cores), "memory_mib": max(usage.memory_mib for usage in known)}


def _slo(latency: Mapping[str, Any], slo: Mapping[str, float]) -> dict[str, Any]:
    return {
        name: {"limit_ms": limit, "met": latency[name] is not None and latency[name]["value"] <= limit}
        for name, limit in slo.items()
    }


def _json(value: Any) -> Any:
    return None if value is None else value.as_json()
