"""Replicas behind a balancer under an open or a closed load, in simulated time."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import simpy

from thinned.loadtest.scaling.replica import Replica, ReplicaModel
from thinned.loadtest.sweep.slo import percentile

__all__ = ["REQUESTS", "ROUTINGS", "Outcome", "Routing", "simulate"]

Routing: TypeAlias = Literal["least", "random"]
ROUTINGS: tuple[Routing, ...] = ("least", "random")
"""Each request goes to the replica with the fewest that are not answered yet, or to any."""
REQUESTS = 20_000
"""That are simulated where nothing else is said; 200 of them are beyond p99."""
_WARM_UP = 0.1
"""The share of requests at the beginning that is not counted: the replicas begin empty."""


@dataclass(frozen=True)
class Outcome:
    """What a load came to.

    Args:
        latencies_ms: Of each answered request that counts.
        refused: The share of requests that was refused.
        busy: The share of time in which threads were in calls.
        throughput: Answers a second.
        joined: Requests in a call, on average.
    """

    latencies_ms: npt.NDArray[np.float64]
    refused: float
    busy: float
    throughput: float
    joined: float

    def latency_ms(self, name: str) -> float:
        """A percentile by its name, such as p99; NaN without answers."""
        return percentile(self.latencies_ms, name)


def simulate(
    model: ReplicaModel,
    *,
    rate: float | None = None,
    clients: int | None = None,
    replicas: int = 1,
    routing: Routing = "least",
    requests: int = REQUESTS,
    seed: int = 1,
) -> Outcome:
    """Simulate a load on replicas that are alike.

    Args:
        model: Each of the replicas.
        rate: Open load: Poisson arrivals a second, whatever is answered.
        clients: Closed load, in place of `rate`: so many clients, each of which asks again when it is answered.
        replicas: How many.
        routing: Which replica a request goes to.
        requests: How many are simulated.
        seed: Of arrivals, routing and calls; the same seed has the same arrivals however many replicas there are.

    Raises:
        ValueError: Neither `rate` nor `clients` is above 0, or `replicas` or `requests` is not.
    """
    if not (rate or 0) > 0 and not (clients or 0) > 0:
        raise ValueError(f"expected a rate or a number of clients above 0, received {rate} and {clients}")
    if replicas < 1 or requests < 1:
        raise ValueError(f"expected 1 replica and 1 request at least, received {replicas} and {requests}")
    run = _Run(model, replicas, routing, requests, seed)
    if rate:
        run.env.process(run.arrivals(rate))
    else:
        for _ in range(clients or 0):
            run.env.process(run.client())
    run.env.run(run.over)
    return run.outcome()


class _Run:
    def __init__(self, model: ReplicaModel, replicas: int, routing: Routing, requests: int, seed: int) -> None:
        self.env = simpy.Environment()
        arrivals, routes, calls = (np.random.default_rng([seed, stream]) for stream in range(3))
        self._arrivals, self._routes = arrivals, routes
        self._model, self._routing, self._requests = model, routing, requests
        self._replicas = [Replica(self.env, model, calls) for _ in range(replicas)]
        self._under_way = np.zeros(replicas, np.int64)
        self._warm_up = int(_WARM_UP * requests)
        self._begun = self._ended = self._refused = 0
        self._counted_from_s = 0.0
        self._latencies_s: list[float] = []
        self.over = self.env.event()

    def arrivals(self, rate: float) -> Generator[Any, Any, None]:
        for wait_s in self._arrivals.exponential(1 / rate, self._requests):
            yield self.env.timeout(wait_s)
            self.env.process(self._request())

    def client(self) -> Generator[Any, Any, None]:
        while self._begun < self._requests:
            yield self.env.process(self._request())

    def _request(self) -> Generator[Any, Any, None]:
        number, began_s = self._begun, self.env.now
        self._begun += 1
        if number == self._warm_up:
            self._counted_from_s = began_s
        chosen = self._route()
        self._under_way[chosen] += 1
        if self._model.away_s:
            yield self.env.timeout(self._model.away_s)
        answered = yield from self._replicas[chosen].ask()
        self._under_way[chosen] -= 1
        if number >= self._warm_up:
            if answered:
                self._latencies_s.append(self.env.now - began_s)
            else:
                self._refused += 1
        self._ended += 1
        if self._ended == self._requests:
            self.over.succeed()

    def _route(self) -> int:
        if len(self._replicas) == 1:
            return 0
        if self._routing == "random":
            return int(self._routes.integers(len(self._replicas)))
        least = np.flatnonzero(self._under_way == self._under_way.min())
        return int(least[self._routes.integers(len(least))])

    def outcome(self) -> Outcome:
        now = self.env.now
        threads = self._model.threads * len(self._replicas)
        calls = sum(replica.calls for replica in self._replicas)
        counted = self._requests - self._warm_up
        return Outcome(
            latencies_ms=1e3 * np.array(self._latencies_s),
            refused=self._refused / counted,
            busy=min(1.0, sum(replica.busy_s for replica in self._replicas) / (now * threads)),
            throughput=len(self._latencies_s) / max(1e-12, now - self._counted_from_s),
            joined=(self._ended - self._refused) / max(1, calls),
        )
