"""The metrics of the service: what is told, by whom, and under which name it is answered.

A method is one sentence of the code that calls it. Each takes a few microseconds and may be called from any thread.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from thinned._version import __version__
from thinned.service.metrics.families import Family, Histogram

__all__ = ["REASONS", "Metrics", "resident_bytes"]

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
ROW_PASSES = tuple(float(4**power) for power in range(11))
REQUESTS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0)
UNCERTAINTY = tuple(float(f"{digits}e{power}") for power in range(-4, 4) for digits in (1, 2, 5))

REASONS = ("late", "full", "memory", "slow", "gone", "not_ready", "token", "rate")
"""Why a request that could have been right was not answered."""


class Metrics:
    """Counts and measures one worker. Every name starts with `thinned_`, every unit is a base unit.

    Args:
        model: The model that is served, name:version; the label `model` of every family.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.families: list[Family] = []
        self._duration = self._histogram(
            "request_duration_seconds", "Seconds from a request to its answer.", SECONDS, "route", "status"
        )
        self._running = self._family("gauge", "requests_in_progress", "Requests that are being answered.", "route")
        self._wait = self._histogram("queue_wait_seconds", "Seconds that a request waited for graph calls.", SECONDS)
        self._depth = self._family("gauge", "queue_depth", "Requests that wait for a graph call.")
        self._row_passes = self._family("gauge", "in_flight_row_passes", "Row-passes admitted and not yet answered.")
        self._passes = self._family("counter", "passes_drawn_total", "Monte Carlo passes drawn, over all requests.")
        self._call = self._histogram("call_duration_seconds", "Seconds of a graph call.", SECONDS)
        self._call_row_passes = self._histogram("call_row_passes", "Row-passes of a graph call.", ROW_PASSES)
        self._call_requests = self._histogram("call_requests", "Requests joined in a graph call.", REQUESTS)
        self._refusals = self._family("counter", "refusals_total", "Requests refused, by the reason.", "reason")
        self._stops = self._family("counter", "adaptive_stops_total", "Requests that stopped before n_samples passes.")
        self._uncertainty = self._histogram(
            "uncertainty", "Predictive entropy in nats, or standard deviation, of a row.", UNCERTAINTY, "output", "kind"
        )
        self._shadow = self._family(
            "counter", "shadow_rows_total", "Rows that a shadow was to answer, by what became of them.", "fate"
        )
        self._memory = self._family("gauge", "memory_bytes", "Memory in use, by what it is used for.", "kind")
        self._ready = self._family("gauge", "ready_workers", "Workers whose model is loaded and checked.", "version")
        self.serve(model)

    def beside(self, model: str) -> Metrics:
        """Those of another model of the same worker: the families are the same, and so is who tells them."""
        other = copy.copy(self)
        other.model = model
        other.serve(model)
        return other

    def serve(self, model: str) -> None:
        """Tell of this model from now on: what is the case is the case of this one, what was counted stays."""
        for family in self.families:
            if family.kind == "gauge" and model != self.model:
                family.move(self.model, model)
        self.model = model
        # What stands at 0 is there from the start: a rule over what is not there never fires.
        for family in (self._depth, self._row_passes, self._passes, self._stops):
            family.add(0.0, model)
        for reason in REASONS:
            self._refusals.add(0.0, model, reason)
        self._ready.put(0.0, model, __version__)

    # By the HTTP side

    def began(self, route: str) -> None:
        """A request has come."""
        self._running.add(1.0, self.model, route)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request that had `began` was answered with this status, so many seconds after it came."""
        self._running.add(-1.0, self.model, route)
        self._duration.observe((seconds,), self.model, route, str(status))

    def refused(self, reason: str) -> None:
        """A request was refused for one of `REASONS`."""
        self._refusals.add(1.0, self.model, reason)

    def uncertainty(self, output: str, kind: str, values: Iterable[float]) -> None:
        """The uncertainty of rows that were answered: `predictive_entropy`, or `standard_deviation`."""
        self._uncertainty.observe(values, self.model, output, kind)

    # By the inference side

    def ready(self, loaded: bool = True) -> None:
        """The model is loaded and checked, or is no longer served."""
        self._ready.put(float(loaded), self.model, __version__)

    def queue(self, depth: int, row_passes: int) -> None:
        """So many requests wait, and so many row-passes are admitted and not answered."""
        self._depth.put(depth, self.model)
        self._row_passes.put(row_passes, self.model)

    def waited(self, seconds: float) -> None:
        """A request that is answered spent so many seconds in which no graph call worked for it."""
        self._wait.observe((seconds,), self.model)

    def called(self, row_passes: int, requests: int, seconds: float) -> None:
        """A graph call was made for so many requests."""
        self._call.observe((seconds,), self.model)
        self._call_row_passes.observe((row_passes,), self.model)
        self._call_requests.observe((requests,), self.model)

    def drew(self, passes: int) -> None:
        """A request got so many passes."""
        self._passes.add(passes, self.model)

    def stopped_early(self) -> None:
        """A request with a tolerance or a budget was answered from fewer passes than it allowed."""
        self._stops.add(1.0, self.model)

    def memory(self, kind: str, size: int) -> None:
        """So many bytes are in use for this."""
        self._memory.put(size, self.model, kind)

    def shadowed(self, fate: str, rows: int) -> None:
        """So many rows that this model answered were `compared` with its shadow's answers, `dropped`, or `failed`."""
        self._shadow.add(rows, self.model, fate)

    def look(self) -> None:
        """Measure what nobody reports: the memory of the whole process."""
        resident = resident_bytes()
        if resident is not None:
            self.memory("resident", resident)

    def _family(self, kind: str, name: str, text: str, *labels: str) -> Family:
        family = Family("counter" if kind == "counter" else "gauge", f"thinned_{name}", text, ("model", *labels))
        self.families.append(family)
        return family

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        family = Histogram(f"thinned_{name}", text, ("model", *labels), bounds)
        self.families.append(family)
        return family


def resident_bytes() -> int | None:
    """Memory that this process holds; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        if sys.platform == "win32":
            return None
        import resource

        # The most so far. macOS tells bytes, others kibibytes.
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
