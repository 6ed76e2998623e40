"""One sweep under way: the services on the bench, what is planned, and what has come of it so far."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import count
from typing import Any

from thinned.loadtest.request_bodies import WrongAnswerError
from thinned.loadtest.sweep.locust_stats import Book
from thinned.loadtest.sweep.measure import Place, Rhythm, measure
from thinned.loadtest.sweep.options import Options
from thinned.loadtest.sweep.plan import Cell, plan, turns
from thinned.loadtest.sweep.precision import asker, measure_precision, requests_needed
from thinned.loadtest.sweep.record import Run
from thinned.loadtest.sweep.slo import Trial, find_ceiling, percentile

__all__ = ["Bench"]

Tell = Callable[[str, float], None]  # (what is done now, seconds of the plan that are behind)
# A trial has no repeats, so it is longer than one of a cell's.
_TRIAL_LENGTH = 2
_LIKELY_TRIALS = 8
_LEAST_ARRIVALS = 10
_WARM_UP_REQUESTS = 3
_REFERENCE_SAMPLES = 1000


class Bench:
    """Measures what the options ask for. What is done stays in `runs`, `precision` and `ceilings`."""

    def __init__(self, options: Options, places: Mapping[str, Place]) -> None:
        self.options = options
        self.places = places
        self.cells = plan(
            options.samples,
            clients=options.clients,
            rates=options.rates,
            rows=options.rows,
            baseline="baseline" in places,
        )
        self.runs: dict[Cell, list[Run]] = {cell: [] for cell in self.cells}
        self.precision: dict[str, Any] | None = None
        self.ceilings: list[dict[str, Any]] = []
        self._rhythm = Rhythm(options.duration_s, options.warm_up_s, options.seed, max_in_flight=options.max_in_flight)
        self._trial = Rhythm(
            _TRIAL_LENGTH * options.duration_s, options.warm_up_s, options.seed, max_in_flight=options.max_in_flight
        )
        self._book = Book(places["service"].url, options.out)

    @property
    def planned_runs(self) -> int:
        """How many measurements there are to be."""
        return len(self.cells) * self.options.repeats

    @property
    def planned_s(self) -> float:
        """How long it all takes, roughly."""
        searches = len(self._searched) * _LIKELY_TRIALS * self._trial.per_cell_s
        return self.planned_runs * self._rhythm.per_cell_s + self._precision_s + searches

    @property
    def _searched(self) -> list[tuple[str, int]]:
        wanted = self.options.slo and self.options.bisect
        return [(target, n) for n in self.options.samples for target in self.places] if wanted else []

    @property
    def _precision_s(self) -> float:
        counts = [n for n in self.options.samples if n]
        return 0.01 * requests_needed(counts, self.options.error_seeds) if counts and self.options.error_seeds else 0

    def run(self, tell: Tell) -> None:
        """Measures all of it. May be interrupted at any moment."""
        self._warm_up(tell)
        for repeat, cell in turns(self.cells, self.options.repeats):
            tell(f"{cell.name} ({repeat + 1} of {self.options.repeats})", 0)
            # The same arrivals and rows for the baseline as for the service.
            number = self.cells.index(replace(cell, target="service"))
            self.runs[cell].append(self._load(cell, self._rhythm, repeat, number))
            tell(cell.name, self._rhythm.per_cell_s)
        self._measure_precision(tell)
        for target, n in self._searched:
            tell(f"{target} N={n}, largest rate", 0)
            self._search(target, n)
            tell(f"{target} N={n}, largest rate", _LIKELY_TRIALS * self._trial.per_cell_s)

    def close(self) -> None:
        """Writes Locust's own page and tables."""
        self._book.close()

    def _load(self, cell: Cell, rhythm: Rhythm, repeat: int, number: int) -> Run:
        place = self.places[cell.target]
        run = measure(cell, place, rhythm, repeat=repeat, number=number, listeners=(self._book.listener(cell),))
        if cell.mode == "open" and run.errors:
            # What nobody waits for any longer may still be under way: the next measurement is not to pay for it.
            _post(place.url + "/predict", self._body(place, 0))
        return run

    def _body(self, place: Place, n_samples: int) -> dict[str, Any]:
        body: dict[str, Any] = {"inputs": place.data.pick([i % len(place.data) for i in range(self.options.rows)])}
        return {**body, "n_samples": n_samples, "seed": 0} if n_samples else body

    def _warm_up(self, tell: Tell) -> None:
        """Every kind of request some times: the first of a kind may find the service still tracing its graph."""
        for target, place in self.places.items():
            for n in self.options.samples:
                tell(f"{target} N={n}, warm-up", 0)
                path = "/predict_mc" if n else "/predict"
                for _ in range(_WARM_UP_REQUESTS):
                    _post(place.url + path, self._body(place, n))

    def _measure_precision(self, tell: Tell) -> None:
        counts = [n for n in self.options.samples if n]
        if not counts or not self.options.error_seeds:
            return
        tell("Monte Carlo error of the service", 0)
        place, options = self.places["service"], self.options
        limits = place.card.get("limits", {})
        rows = min(options.error_rows, limits.get("max_rows", options.error_rows))
        longest = min(_REFERENCE_SAMPLES, limits.get("max_samples", _REFERENCE_SAMPLES))
        longest = min(longest, limits.get("max_row_passes", rows * longest) // rows)
        each_s = self._precision_s / requests_needed(counts, options.error_seeds)
        try:
            points, reference = measure_precision(
                asker(place.url, place.card, place.data, rows),
                counts,
                seeds=options.error_seeds,
                seed=options.seed,
                reference_samples=longest,
                tick=lambda: tell("Monte Carlo error of the service", each_s),
            )
        except (OSError, WrongAnswerError) as error:
            tell(f"The Monte Carlo error could not be measured: {error}", 0)
            return
        self.precision = {
            "rows": rows,
            "rows_from": place.data.origin,
            "seeds": options.error_seeds,
            "reference_passes": reference,
            "points": [point.as_json() for point in points],
        }

    def _search(self, target: Any, n: int) -> None:
        """Adds the largest rate at which this target meets the objectives with this sample count."""
        alike = [runs for cell, runs in self.runs.items() if (cell.target, cell.n_samples) == (target, n)]
        fastest = max((run.throughput for runs in alike for run in runs), default=0.0)
        numbers = count()

        def attempt(rate: float) -> Trial:
            trial = self._try(target, n, rate, next(numbers))
            # One hiccup of the machine is no miss of the service: a near miss has to be one twice.
            return trial if trial.met or trial.failed else self._try(target, n, rate, next(numbers))

        ceiling = find_ceiling(attempt, 0.7 * max(fastest, 1.0), least=_LEAST_ARRIVALS / self._trial.seconds)
        self.ceilings.append({"target": target, "n_samples": n, **asdict(ceiling)})

    def _try(self, target: Any, n: int, rate: float, number: int) -> Trial:
        run = self._load(Cell(target, n, self.options.rows, rate=rate), self._trial, self.options.repeats, number)
        slo = self.options.slo
        found = {name: percentile(run.latencies_ms, name) for name in slo}
        met = not run.errors and all(found[name] <= limit for name, limit in slo.items())
        return Trial(rate, found, sum(run.errors.values()), met)


def _post(url: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    # A refusal is not for the warm-up to judge: it is counted where answers are.
    with suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=120) as response:
        response.read()
