"""All repeats of a cell put together: what the results hold of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thinned.loadtest.sweep.intervals import estimate, fit_line
from thinned.loadtest.sweep.plan import Cell
from thinned.loadtest.sweep.record import LATE_MS, Run
from thinned.loadtest.sweep.slo import PERCENTILES, percentile

__all__ = ["FEW", "add_speed_ups", "fit", "summarise"]

# A percentile beyond which fewer answers than this lie is told with a mark: the next run may find another.
FEW = 10
_SPECTRUM = (0, 10, 25, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 97, 98, 99, 99.5, 99.7, 99.9, 99.95, 99.99, 100)


def summarise(cell: Cell, runs: Sequence[Run], slo: Mapping[str, float]) -> dict[str, Any]:
    """One entry of `cells` in the results."""
    every = np.concatenate([run.latencies_ms for run in runs])
    latency = {name: _json(estimate([percentile(run.latencies_ms, name) for run in runs])) for name in PERCENTILES}
    throughput = estimate([run.throughput for run in runs])
    return {
        "target": cell.target,
        "n_samples": cell.n_samples,
        "rows": cell.rows,
        "mode": cell.mode,
        "clients": cell.clients,
        "rate": cell.rate,
        "repeats": len(runs),
        "seconds": [run.seconds for run in runs],
        "answers": len(every),
        "throughput": _json(throughput),
        "passes_per_second": _json(estimate([run.throughput * cell.n_samples for run in runs])),
        "row_passes_per_second": _json(estimate([run.throughput * cell.n_samples * cell.rows for run in runs])),
        "latency_ms": latency,
        "largest_ms": float(every.max()) if len(every) else None,
        "few_beyond": [name for name, q in PERCENTILES.items() if q < 100 and len(every) * (1 - q / 100) < FEW],
        "spectrum_ms": _spectrum(every),
        "errors": dict(sum((Counter(run.errors) for run in runs), Counter())),
        "error_examples": {k: text for run in reversed(runs) for k, text in run.examples.items()},
        "arrivals": _arrivals(runs) if cell.mode == "open" else None,
        "server_timing_ms": _timings(runs),
        "service": _usage([run.service for run in runs]),
        "client": _usage([run.client for run in runs]),
        "seeds": [run.seeds for run in runs],
        "slo": _slo(latency, slo) if slo and cell.target == "service" else None,
        "speed_up": None,
    }


def add_speed_ups(cells: list[dict[str, Any]]) -> None:
    """Adds to every cell of the service how many times the baseline under the same load it is, repeat by repeat."""
    baselines = {_load(cell): cell for cell in cells if cell["target"] == "baseline"}
    for cell in cells:
        other = baselines.get(_load(cell))
        if cell["target"] == "service" and other is not None:
            p50, p99 = (_ratio(other["latency_ms"][name], cell["latency_ms"][name]) for name in ("p50", "p99"))
            faster = _ratio(cell["throughput"], other["throughput"])
            cell["speed_up"] = {"p50": p50, "p99": p99, "throughput": faster}


def fit(cells: Sequence[Mapping[str, Any]], target: str) -> dict[str, Any] | None:
    """`p50 = a + b N` over the closed cells with the fewest clients; None where there are fewer than three."""
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
            {"n_samples": n, "measured_ms": ms, "fitted_ms": ms - left, "residual_ms": left}
            for (n, ms), left in zip(points, line.residuals, strict=True)
        ],
    }


def _load(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return cell["n_samples"], cell["rows"], cell["clients"], cell["rate"]


def _ratio(above: Any, below: Any) -> Any:
    if above is None or below is None:
        return None
    return _json(estimate([a / b for a, b in zip(above["each"], below["each"], strict=False) if b > 0]))


def _spectrum(latencies_ms: Any) -> list[list[float]]:
    """Percentiles for a plot of the whole distribution, no further than there are answers to tell them."""
    known = [q for q in _SPECTRUM if q == 100 or len(latencies_ms) * (1 - q / 100) >= 1]
    return [[q, float(np.percentile(latencies_ms, q))] for q in known] if len(latencies_ms) else []


def _arrivals(runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "offered": sum(run.offered for run in runs),
        "late": sum(run.late for run in runs),
        "late_after_ms": LATE_MS,
        "worst_late_ms": max(run.worst_late_ms for run in runs),
        "dropped": sum(run.dropped for run in runs),
    }


def _timings(runs: Sequence[Run]) -> dict[str, Any] | None:
    names = dict.fromkeys(name for run in runs for name in run.timings_ms)
    found = {}
    for name in names:
        values = np.concatenate([run.timings_ms[name] for run in runs if name in run.timings_ms])
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
