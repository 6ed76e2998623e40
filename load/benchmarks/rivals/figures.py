"""What was measured of one server, and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from thinned.loadtest.benchmarks.http_client import LoadTimes
from thinned.loadtest.benchmarks.rivals.running import Memory

__all__ = ["Figures"]


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

    alone: dict[int, LoadTimes] = field(default_factory=dict)
    loaded: dict[int, LoadTimes] = field(default_factory=dict)
    ours_alone: dict[int, LoadTimes] = field(default_factory=dict)
    ours_loaded: dict[int, LoadTimes] = field(default_factory=dict)
    memory: list[Memory] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    distance: float | None = None
    fault: str | None = None

    def as_json(self) -> dict[str, Any]:
        """All figures, by name."""
        return {
            "one_client": {n: _numbers(times) for n, times in self.alone.items()},
            "many_clients": {n: _numbers(times) for n, times in self.loaded.items()},
            "thinned_in_turns": {
                "one_client": {n: _numbers(times) for n, times in self.ours_alone.items()},
                "many_clients": {n: _numbers(times) for n, times in self.ours_loaded.items()},
            },
            "memory_mib": [vars(memory) for memory in self.memory],
            "starts_s": self.starts_s,
            "standard_errors_from_thinned": self.distance,
            "fault": self.fault,
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
