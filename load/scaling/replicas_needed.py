"""Replicas for a rate and an objective: simulated where there are few, by proportion where there are many.

With routing at random each replica sees a Poisson stream of its own, so that so many times the rate needs so many times
the replicas: one is simulated, whatever the number. Where each request goes to the least busy, a replica among many can
bear more than one among few, so that what was found for some is enough for more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thinned.loadtest.scaling.costs import Costs, CostsError
from thinned.loadtest.scaling.simulation import REQUESTS, Outcome, Routing, simulate

__all__ = ["MOST_SIMULATED", "Plan", "UnreachableError", "largest_rate", "meets", "plan", "predict"]

MOST_SIMULATED = 64
"""Replicas that are simulated together; more follow in proportion."""
MAX_REFUSED = 0.001
_EACH = 200
"""Requests that are simulated for each replica, at least."""
_STEPS, _ACCURACY = 12, 1.02


class UnreachableError(ValueError):
    """No number of replicas meets the objective: a lone request takes longer."""


@dataclass(frozen=True)
class Plan:
    """Replicas, and what they come to.

    Args:
        routing: How requests are routed.
        replicas: How many.
        outcome: Of these at the rate, or of `simulated` of them at their share of it.
        simulated: How many were simulated together.
    """

    routing: Routing
    replicas: int
    outcome: Outcome
    simulated: int


def meets(outcome: Outcome, slo: Mapping[str, float]) -> bool:
    """Whether limits in ms on percentiles are kept, and no more than one request in a thousand is refused."""
    return outcome.refused <= MAX_REFUSED and all(outcome.latency_ms(name) <= limit for name, limit in slo.items())


def predict(
    costs: Costs, rate: float, replicas: int, routing: Routing, *, requests: int = REQUESTS, seed: int = 1
) -> Plan:
    """What so many replicas come to at a rate: simulated together, or a share of them at their share of it."""
    together = min(replicas, 1 if routing == "random" else MOST_SIMULATED)
    outcome = simulate(
        costs.model(),
        rate=rate * together / replicas,
        replicas=together,
        routing=routing,
        requests=max(requests, _EACH * together),
        seed=seed,
    )
    return Plan(routing, replicas, outcome, together)


def largest_rate(
    costs: Costs,
    slo: Mapping[str, float],
    *,
    replicas: int = 1,
    routing: Routing = "least",
    requests: int = REQUESTS,
    seed: int = 1,
) -> float:
    """The largest rate, requests a second, at which so many replicas meet the limits, to within 2 %.

    Raises:
        CostsError: A request takes no time.
        UnreachableError: There is none.
    """
    if not costs.alone_s + costs.loop_s > 0:
        raise CostsError("expected a document whose requests take some time, by this one they take no time at all")

    def found(rate: float) -> Outcome:
        return predict(costs, rate, replicas, routing, requests=requests, seed=seed).outcome

    low = 0.01 * replicas / (costs.alone_s + costs.loop_s)
    if not meets(outcome := found(low), slo):
        took = " and ".join(f"{name} = {outcome.latency_ms(name):.3g} ms" for name in slo)
        raise UnreachableError(
            f"no number of replicas is enough: requests that never wait have {took}; allow more, ask for fewer passes, "
            "or measure on a faster machine"
        )
    # No more can be borne: each further request of a call costs this, and the event loop has to see all of them.
    high = 1.1 * replicas / max(costs.each_s, costs.loop_s, 1e-6)
    for _ in range(_STEPS):
        rate = math.sqrt(low * high) if high > 4 * low else (low + high) / 2
        if meets(found(rate), slo):
            low = rate
        else:
            high = rate
        if high <= _ACCURACY * low:
            break
    return low


def plan(
    costs: Costs, rate: float, slo: Mapping[str, float], routing: Routing, *, requests: int = REQUESTS, seed: int = 1
) -> Plan:
    """The fewest replicas that meet the limits at a rate.

    Raises:
        UnreachableError: No number does.
    """
    settings: dict[str, Any] = {"requests": requests, "seed": seed}
    enough = math.ceil(rate / largest_rate(costs, slo, **settings))
    if routing == "random":
        return predict(costs, rate, enough, routing, **settings)
    if enough > MOST_SIMULATED:
        each = largest_rate(costs, slo, replicas=MOST_SIMULATED, routing=routing, **settings) / MOST_SIMULATED
        return predict(costs, rate, min(enough, math.ceil(rate / each)), routing, **settings)
    too_few = 0
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if meets(predict(costs, rate, middle, routing, **settings).outcome, slo):
            enough = middle
        else:
            too_few = middle
    return predict(costs, rate, enough, routing, **settings)
