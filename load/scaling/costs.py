"""What calls cost, fitted to the closed loads of a results document: alone with few clients, joined with many.

A call takes a + c · requests + b · row-passes. One client never shares a call: what its calls took, by the service's
own `Server-Timing`, is a + c + b · row-passes, a line over N. Many clients keep the thread busy, so that a call held as
many requests as came while it ran: answers a second times the seconds of a call. What it took beyond that of one alone,
for each further request, is c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thinned.loadtest.scaling.replica import ReplicaModel

__all__ = ["Costs", "CostsError", "fit_costs"]

_LONGEST_CALL_S = 0.25
"""The service cuts calls that would take longer (`service/inference/call_costs.py`)."""
_MAX_WAITING, _TIMEOUT_MS = 64, 30_000
"""The service's defaults, where the document does not say."""
_FASTEST = 0.9
"""The fastest call, of the median: what a document does not tell, and no p99 depends on."""


class CostsError(ValueError):
    """The document cannot tell what is asked; the message says what to measure."""


@dataclass(frozen=True)
class Costs:
    """What one worker takes, in seconds.

    Args:
        n_samples: Passes of a request; 0 for the plain answer.
        rows: Rows of a request.
        call_s: Of a call, whatever is in it (a).
        request_s: Of each request in a call (c).
        row_pass_s: Of each row-pass in a call (b).
        loop_s: Of each request, in the event loop.
        away_s: Of each request, in the client and between threads.
        spread: Quantiles in [0, 1] and by how many times a call then takes the median; increasing.
        measured: The numbers of passes that were measured.
        max_waiting: Requests that may wait.
        timeout_s: After which a request is answered 504.
    """

    n_samples: int
    rows: int
    call_s: float
    request_s: float
    row_pass_s: float
    loop_s: float
    away_s: float
    spread: tuple[tuple[float, float], ...]
    measured: tuple[int, ...]
    max_waiting: int = _MAX_WAITING
    timeout_s: float = _TIMEOUT_MS / 1000

    @property
    def row_passes(self) -> int:
        """Of one request; of a plain answer its rows."""
        return self.rows * max(1, self.n_samples)

    @property
    def alone_s(self) -> float:
        """Of a call of one request, at the median."""
        return self.call_s + self.request_s + self.row_pass_s * self.row_passes

    @property
    def each_s(self) -> float:
        """Of each further request of a call."""
        return self.request_s + self.row_pass_s * self.row_passes

    def model(self) -> ReplicaModel:
        """A replica that takes this."""
        at, factors = (np.array(column) for column in zip(*self.spread, strict=True))

        def call_s(generator: np.random.Generator, requests: int, row_passes: int) -> float:
            median_s = self.call_s + self.request_s * requests + self.row_pass_s * row_passes
            return float(median_s * np.interp(generator.random(), at, factors))

        return ReplicaModel(
            call_s=call_s,
            row_passes=self.row_passes,
            loop_s=self.loop_s,
            away_s=self.away_s,
            most_row_passes=max(1.0, _LONGEST_CALL_S * self.row_passes / self.alone_s),
            most_waiting=self.max_waiting,
            timeout_s=self.timeout_s,
        )


def fit_costs(results: Mapping[str, Any], n_samples: int, *, workers: int = 1) -> Costs:
    """Fit the costs of a request for so many passes.

    Args:
        results: A results document of `thinned load`.
        n_samples: Passes; 0 for the plain answer. One that was not measured is interpolated, or follows the line.
        workers: Worker processes that the measured service had.

    Raises:
        CostsError: The document holds too little, or its service would refuse the request.
    """
    limits = results["settings"].get("limits", {})
    most = limits.get("max_samples")
    if n_samples < 0 or n_samples == 1 or (most and n_samples > most):
        raise CostsError(
            f"expected 0, or from 2 to {most or 'so many'} passes, as the measured service answers; got {n_samples}"
        )
    few, many = _closed(results, passes=n_samples > 0)
    if n_samples == 0:
        line = (_ms(few[0], "compute", "p50"), 0.0)
    else:
        row_passes = [cell["rows"] * cell["n_samples"] for cell in few]
        slope, intercept = np.polyfit(row_passes, [_ms(cell, "compute", "p50") for cell in few], 1)
        line = (float(intercept), max(0.0, float(slope)))
    alone_ms, row_pass_ms = line
    counts = [cell["n_samples"] for cell in few]
    each_ms = float(np.interp(n_samples, counts, [_each_ms(f, m, workers) for f, m in zip(few, many, strict=True)]))
    rows = few[0]["rows"]
    request_ms = min(max(0.0, each_ms - row_pass_ms * rows * n_samples), alone_ms)
    loop_ms, away_ms = (float(np.median(column)) for column in zip(*map(_outside_ms, few), strict=True))
    numbers = (alone_ms, row_pass_ms, request_ms, loop_ms, away_ms, *(x for pair in _spread(few) for x in pair))
    if not all(0 <= x < np.inf for x in numbers):
        raise CostsError("expected times of 0 or more in the document, some are not; measure again")
    return Costs(
        n_samples=n_samples,
        rows=rows,
        call_s=(alone_ms - request_ms) / 1e3,
        request_s=request_ms / 1e3,
        row_pass_s=row_pass_ms / 1e3,
        loop_s=loop_ms / 1e3,
        away_s=away_ms / 1e3,
        spread=_spread(few),
        measured=tuple(counts),
        timeout_s=limits.get("timeout_ms", _TIMEOUT_MS) / 1000,
    )


def _closed(results: Mapping[str, Any], *, passes: bool) -> tuple[list[Any], list[Any]]:
    """The cells with the fewest and with the most clients, of each number of passes that has both."""
    cells = [
        cell
        for cell in results["cells"]
        if (cell["target"], cell["mode"]) == ("service", "closed")
        and bool(cell["n_samples"]) == passes
        and cell["answers"]
        and cell["server_timing_ms"]
    ]
    counts = sorted({cell["n_samples"] for cell in cells})
    found: list[tuple[Any, Any]] = []
    for n in counts:
        alike = sorted((c for c in cells if c["n_samples"] == n), key=lambda c: c["clients"])
        if alike[0]["clients"] == 1 and alike[-1]["clients"] >= 4:
            found.append((alike[0], alike[-1]))
    if len(found) < (2 if passes else 1):
        wanted = "two numbers of passes" if passes else "0 passes"
        raise CostsError(
            f"expected a closed load of 1 client and one of 4 or more for {wanted}, received {len(found)} such; "
            "measure again with --clients 1,16 and, for example, --samples 0,30,100"
        )
    return [few for few, _ in found], [many for _, many in found]


def _each_ms(few: Mapping[str, Any], many: Mapping[str, Any], workers: int) -> float:
    """What a further request adds to a call, from one call alone and those of many clients."""
    alone, together = _ms(few, "compute", "p50"), _ms(many, "compute", "p50")
    requests = many["throughput"]["value"] / workers * _ms(many, "compute", "mean") / 1e3
    # A call of no more than one request tells nothing of joining: then it costs what it costs alone.
    return alone if requests < 1.5 else max(0.0, together - alone) / (requests - 1)


def _outside_ms(cell: Mapping[str, Any]) -> tuple[float, float]:
    """Of a lone client's request: in the event loop, and elsewhere."""
    queue = _ms(cell, "queue", "p50")
    rest = max(0.0, cell["latency_ms"]["p50"]["value"] - _ms(cell, "compute", "p50") - queue)
    own = 0.0
    if cell["client"] is not None and cell["throughput"]["value"]:
        own = min(rest, 1e3 * cell["client"]["cores"]["value"] / cell["throughput"]["value"])
    return rest - own, own + queue


def _spread(cells: Sequence[Mapping[str, Any]]) -> tuple[tuple[float, float], ...]:
    p95, p99 = (
        float(np.median([_ms(cell, "compute", q) / _ms(cell, "compute", "p50") for cell in cells]))
        for q in ("p95", "p99")
    )
    return (0.0, _FASTEST), (0.5, 1.0), (0.95, max(1.0, p95)), (0.99, max(1.0, p95, p99)), (1.0, max(1.0, p95, p99))


def _ms(cell: Mapping[str, Any], part: str, name: str) -> float:
    try:
        return float(cell["server_timing_ms"][part][name])
    except KeyError:
        raise CostsError(f"expected the service's own times in the document, {part} {name} is missing") from None
