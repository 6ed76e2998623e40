"""What was measured of one server, and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from thinned.loadtest.benchmarks.http_client import LoadTimes
from thinned.loadtest.benchmarks.rivals.running import Memory

__all__ = ["Cells", "Figures"]

Cells: TypeAlias = dict[int, LoadTimes]
"""Times by number of passes."""


@dataclass
class Figures:
    """What was measured of one contender.

    Attributes:
        alone: By number of passes, of one client.
        loaded: By number of passes, of many clients.
        ours_alone: Of a rival: what ours got in turns with it, for `alone`.
        ours_loaded: The same for `loaded`.
        memory: At the end of each round.
        starts_s: Seconds until it was ready, of each round.
        distance: Of its answers from Thinned's, in standard errors; None before they were checked.
        fault: Why it is not measured, or no further; in one line.
    """

    alone: Cells = field(default_factory=dict)
    loaded: Cells = field(default_factory=dict)
    ours_alone: Cells = field(default_factory=dict)
    ours_loaded: Cells = field(default_factory=dict)
    memory: list[Memory] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    distance: float | None = None
    fault: str | None = None

    def as_json(self) -> dict[str, Any]:
        """All figures, by name."""
        return {
            **_both(self.alone, self.loaded),
            "thinned_in_turns": _both(self.ours_alone, self.ours_loaded),
            "memory_mib": [vars(memory) for memory in self.memory],
            "starts_s": self.starts_s,
            "standard_errors_from_thinned": self.distance,
            "fault": self.fault,
        }


def _both(alone: Cells, loaded: Cells) -> dict[str, Any]:
    return {
        name: {n: _numbers(times) for n, times in cells.items()}
        for name, cells in (("one_client", alone), ("many_clients", loaded))
    }


def _numbers(times: LoadTimes) -> dict[str, float]:
    if not times.took_s:
        return {"answers": 0, "failed": times.failed}
    return {
        "answers": len(times.took_s),
        "failed": times.failed,
        "per_second": times.per_second,
        "p50_ms": times.quantile_ms(0.5),
        "p99_ms": times.quantile_ms(0.99),
    }
