"""The simulation beside what was measured: for each load of a results document, the same load simulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from thinned.loadtest.report.tables import too_few
from thinned.loadtest.scaling.costs import CostsError, fit_costs
from thinned.loadtest.scaling.simulation import REQUESTS, Outcome, simulate
from thinned.loadtest.sweep.plan import load_in_words

__all__ = ["Compared", "compare"]


class Compared(NamedTuple):
    """One load: percentiles in ms and answers a second, measured and simulated; None of too few answers."""

    n_samples: int
    load: str
    fitted: bool
    """Whether the costs come from this very load."""
    measured: Mapping[str, float | None]
    simulated: Mapping[str, float]


def compare(
    results: Mapping[str, Any], *, workers: int = 1, requests: int = REQUESTS, seed: int = 1
) -> Iterator[Compared]:
    """Every load of the service, in the order of the document; what cannot be fitted is left out.

    Args:
        results: The document.
        workers: Worker processes that the measured service had. Connections stay with the worker that took them, so
            that requests reach them as at random.
        requests: How many are simulated for each.
        seed: Of the simulation.

    Raises:
        CostsError: Nothing of it can be fitted.
    """
    found = False
    reason: CostsError | None = None
    for cell in results["cells"]:
        if cell["target"] != "service" or not cell["answers"]:
            continue
        try:
            costs = fit_costs(results, cell["n_samples"], workers=workers)
        except CostsError as error:
            reason = error
            continue
        found = True
        outcome = simulate(
            costs.model(),
            rate=cell["rate"],
            clients=cell["clients"],
            replicas=workers,
            routing="random",
            requests=requests,
            seed=seed,
        )
        load = load_in_words(cell["clients"], cell["rate"], per_second="/s")
        yield Compared(cell["n_samples"], load, cell["mode"] == "closed", _measured(cell), _simulated(outcome))
    if not found:
        raise reason or CostsError("expected loads of the service in the document, received none with answers")


def _measured(cell: Mapping[str, Any]) -> dict[str, float | None]:
    told = {name: None if too_few(cell, name) else cell["latency_ms"][name]["value"] for name in ("p50", "p95", "p99")}
    return {**told, "throughput": cell["throughput"]["value"]}


def _simulated(outcome: Outcome) -> dict[str, float]:
    return {**{name: outcome.latency_ms(name) for name in ("p50", "p95", "p99")}, "throughput": outcome.throughput}
