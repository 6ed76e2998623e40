"""Results of a sweep for tests, made from random latencies of known medians."""

from __future__ import annotations

from typing import Any

import numpy as np

from thinned.loadtest.sweep.plan import Cell
from thinned.loadtest.sweep.precision import MonteCarloError
from thinned.loadtest.sweep.process_usage import ResourceUsage
from thinned.loadtest.sweep.recommend import recommend
from thinned.loadtest.sweep.record import Measurement
from thinned.loadtest.sweep.results_document import assemble

ABOUT: dict[str, Any] = {
    "run": {
        "command": "thinned load small",
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:14:05+00:00",
        "machine": "a machine, 2 cores",
        "versions": "Python 3.11",
    },
    "model": {
        "name": "small",
        "version": "v1",
        "sha256": "0" * 64,
        "sites": 2,
        "prefix_share": 0.9,
        "rows_from": "random numbers",
    },
    "settings": {"samples": [0, 10, 30, 100], "seed": 1, "duration_s": 1.0, "limits": {"max_samples": 1000}},
}


def measurement(cell: Cell, repeat: int, *, scale: float = 1.0, errors: dict[str, int] | None = None) -> Measurement:
    """One repeat with a median near `scale` times 2 ms + 0.02 ms per pass; twenty times that for the baseline."""
    source = np.random.default_rng([repeat, cell.n_samples, cell.clients or 0, int(cell.rate or 0)])
    middle = scale * (2 + 0.02 * cell.n_samples) * (20 if cell.target == "baseline" else 1) * (cell.clients or 1) ** 0.5
    latencies = middle * source.lognormal(0, 0.2, 400)
    return Measurement(
        repeat=repeat,
        seconds=1.0,
        latencies_ms=latencies,
        completed=int(1000 / middle * (cell.clients or 1)),
        errors=errors or {},
        examples=dict.fromkeys(errors or {}, "a message"),
        timings_ms={"queue": latencies * 0.1, "compute": latencies * 0.5},
        offered=400,
        late=3,
        dropped=0,
        worst_late_ms=7.5,
        service=ResourceUsage(0.9, 300.0),
        client=ResourceUsage(0.4, 100.0),
        seeds={"arrivals": [1, repeat, 0, 0, 0], "bodies": 1},
    )


def results(
    *,
    scale: float = 1.0,
    repeats: int = 5,
    baseline: bool = True,
    slo: dict[str, float] | None = None,
    tolerance: float | None = None,
    interrupted: str | None = None,
    errors: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Results with closed and open cells at N = 0, 10, 30, 100."""
    targets = ("service", "baseline") if baseline else ("service",)
    loads: list[dict[str, Any]] = [{"clients": 1}, {"clients": 4}, {"rate": 50.0}]
    cells = [Cell(t, n, 1, **load) for load in loads for n in (0, 10, 30, 100) for t in targets]
    points = [MonteCarloError(n, (0.6 / n**0.5,) * 3, 0.9 / n**0.5, (2 / n**0.5,) * 3).as_json() for n in (10, 30, 100)]
    precision = {"rows": 16, "rows_from": "random numbers", "seeds": 40, "reference_passes": 16000, "points": points}
    rate = {"target": "service", "n_samples": 10, "rate": 220.0, "missed_at": 240.0, "trials": []}
    made = assemble(
        {cell: [measurement(cell, r, scale=scale, errors=errors) for r in range(repeats)] for cell in cells},
        about=ABOUT,
        slo=slo or {},
        precision=precision,
        largest_rates=[rate] if slo else [],
        interrupted=interrupted,
    )
    made["recommendation"] = recommend(made["cells"], precision, slo=slo or {}, tolerance=tolerance)
    return made
