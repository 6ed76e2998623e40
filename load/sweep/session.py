"""A sweep in progress: the measured services, the planned cells, and what has been measured so far."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import count
from typing import Any

from thinned.loadtest.request_bodies import WrongAnswerError, post_json
from thinned.loadtest.sweep.locust_stats import LocustStats
from thinned.loadtest.sweep.measure import MeasuredService, MeasurementSettings, measure_cell
from thinned.loadtest.sweep.options import SweepOptions
from thinned.loadtest.sweep.plan import Cell, measurement_order, plan_cells
from thinned.loadtest.sweep.precision import measure_precision, requests_needed, service_answers
from thinned.loadtest.sweep.record import Measurement
from thinned.loadtest.sweep.slo import RateTrial, find_largest_rate, percentile

__all__ = ["SweepSession"]

OnProgress = Callable[[str, float], None]
"""Called with what is being done, and how many seconds of the plan were just completed."""
# A trial of a rate is not repeated, so its window is longer than a cell's by this factor.
_TRIAL_LENGTH = 2
_EXPECTED_TRIALS = 8
_MIN_ARRIVALS = 10
_WARM_UP_REQUESTS = 3
_REFERENCE_SAMPLES = 1000
_REQUEST_S = 0.01
_TIMEOUT_S = 120


class SweepSession:
    """Measures what the options ask for.

    Args:
        options: Of the command line.
        services: The service, and the baseline if it is measured, by target.

    Attributes:
        measurements: By cell, in the order of repeats.
        precision: The Monte Carlo errors as the results document holds them; None until they are measured.
        largest_rates: Results of the searches for the largest rate.
    """

    def __init__(self, options: SweepOptions, services: Mapping[str, MeasuredService]) -> None:
        self.options = options
        self.services = services
        self.cells = plan_cells(
            options.samples,
            clients=options.clients,
            rates=options.rates,
            rows=options.rows,
            baseline="baseline" in services,
        )
        self.measurements: dict[Cell, list[Measurement]] = {cell: [] for cell in self.cells}
        self.precision: dict[str, Any] | None = None
        self.largest_rates: list[dict[str, Any]] = []
        self._settings = MeasurementSettings(
            options.duration_s, options.warm_up_s, options.seed, max_in_flight=options.max_in_flight
        )
        self._trial_settings = replace(self._settings, seconds=_TRIAL_LENGTH * options.duration_s)
        self._locust_stats = LocustStats(services["service"].url, options.out)

    @property
    def planned_measurements(self) -> int:
        """How many measurements are planned."""
        return len(self.cells) * self.options.repeats

    @property
    def planned_s(self) -> float:
        """Expected duration of the whole sweep, in seconds."""
        searches = len(self._searches) * _EXPECTED_TRIALS * self._trial_settings.per_cell_s
        return self.planned_measurements * self._settings.per_cell_s + self._precision_s + searches

    @property
    def _searches(self) -> list[tuple[str, int]]:
        wanted = self.options.slo and self.options.bisect
        return [(target, n) for n in self.options.samples for target in self.services] if wanted else []

    @property
    def _mc_samples(self) -> list[int]:
        return [n for n in self.options.samples if n]

    @property
    def _precision_s(self) -> float:
        counts, seeds = self._mc_samples, self.options.error_seeds
        return _REQUEST_S * requests_needed(counts, seeds) if counts and seeds else 0

    def run(self, on_progress: OnProgress) -> None:
        """Do all measurements. It may be interrupted at any time; what is measured by then is kept."""
        self._warm_up(on_progress)
        for repeat, cell in measurement_order(self.cells, self.options.repeats):
            on_progress(f"{cell.name} ({repeat + 1} of {self.options.repeats})", 0)
            # The baseline gets the number of the service's cell, and with it the same arrivals and rows.
            number = self.cells.index(replace(cell, target="service"))
            self.measurements[cell].append(self._measure(cell, self._settings, repeat, number))
            on_progress(cell.name, self._settings.per_cell_s)
        self._measure_precision(on_progress)
        for target, n in self._searches:
            on_progress(f"{target} N={n}, largest rate", 0)
            self._search_largest_rate(target, n)
            on_progress(f"{target} N={n}, largest rate", _EXPECTED_TRIALS * self._trial_settings.per_cell_s)

    def close(self) -> None:
        """Write Locust's own page and tables."""
        self._locust_stats.close()

    def _measure(self, cell: Cell, settings: MeasurementSettings, repeat: int, number: int) -> Measurement:
        service = self.services[cell.target]
        listeners = (self._locust_stats.listener(cell),)
        measured = measure_cell(cell, service, settings, repeat=repeat, number=number, listeners=listeners)
        if cell.mode == "open" and measured.errors:
            # The service may still compute requests that were given up: wait until it answers again.
            self._post(service, 0)
        return measured

    def _post(self, service: MeasuredService, n_samples: int) -> None:
        """Send one request and ignore its answer, refusals too: they are counted while cells are measured."""
        body: dict[str, Any] = {"inputs": service.data.first(self.options.rows)}
        if n_samples:
            body |= {"n_samples": n_samples, "seed": 0}
        with suppress(urllib.error.HTTPError):
            post_json(service.url + ("/predict_mc" if n_samples else "/predict"), body, timeout_s=_TIMEOUT_S)

    def _warm_up(self, on_progress: OnProgress) -> None:
        """Send a few requests of every kind: the service may trace a graph at the first one."""
        for target, service in self.services.items():
            for n in self.options.samples:
                on_progress(f"{target} N={n}, warm-up", 0)
                for _ in range(_WARM_UP_REQUESTS):
                    self._post(service, n)

    def _measure_precision(self, on_progress: OnProgress) -> None:
        counts = self._mc_samples
        if not counts or not self.options.error_seeds:
            return
        on_progress("Monte Carlo error of the service", 0)
        service, options = self.services["service"], self.options
        limits = service.card.get("limits", {})
        rows = min(options.error_rows, limits.get("max_rows", options.error_rows))
        longest = min(_REFERENCE_SAMPLES, limits.get("max_samples", _REFERENCE_SAMPLES))
        longest = min(longest, limits.get("max_row_passes", rows * longest) // rows)
        each_s = self._precision_s / requests_needed(counts, options.error_seeds)
        try:
            points, reference_passes = measure_precision(
                service_answers(service.url, service.card, service.data, rows),
                counts,
                seeds=options.error_seeds,
                seed=options.seed,
                reference_samples=longest,
                tick=lambda: on_progress("Monte Carlo error of the service", each_s),
            )
        except (OSError, WrongAnswerError) as error:
            on_progress(f"The Monte Carlo error could not be measured: {error}", 0)
            return
        self.precision = {
            "rows": rows,
            "rows_from": service.data.origin,
            "seeds": options.error_seeds,
            "reference_passes": reference_passes,
            "points": [point.as_json() for point in points],
        }

    def _search_largest_rate(self, target: Any, n_samples: int) -> None:
        """Add the largest rate at which a target meets the limits with this sample count."""
        own = [runs for cell, runs in self.measurements.items() if (cell.target, cell.n_samples) == (target, n_samples)]
        fastest = max((one.throughput for runs in own for one in runs), default=0.0)
        numbers = count()

        def attempt(rate: float) -> RateTrial:
            trial = self._try_rate(target, n_samples, rate, next(numbers))
            # A single stall of the machine can cause one miss: a rate without failures is tried a second time.
            return trial if trial.met or trial.failed else self._try_rate(target, n_samples, rate, next(numbers))

        least = _MIN_ARRIVALS / self._trial_settings.seconds
        found = find_largest_rate(attempt, 0.7 * max(fastest, 1.0), least=least)
        self.largest_rates.append({"target": target, "n_samples": n_samples, **asdict(found)})

    def _try_rate(self, target: Any, n_samples: int, rate: float, number: int) -> RateTrial:
        cell = Cell(target, n_samples, self.options.rows, rate=rate)
        measured = self._measure(cell, self._trial_settings, self.options.repeats, number)
        slo = self.options.slo
        found = {name: percentile(measured.latencies_ms, name) for name in slo}
        met = not measured.errors and all(found[name] <= limit for name, limit in slo.items())
        return RateTrial(rate, found, sum(measured.errors.values()), met)
