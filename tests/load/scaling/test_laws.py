"""The simulation against queues whose waits are known in closed form."""

from __future__ import annotations

from itertools import pairwise
from math import factorial

import numpy as np
import pytest

from thinned.loadtest.scaling.replica import ReplicaModel
from thinned.loadtest.scaling.simulation import ROUTINGS, Outcome, Routing, simulate

CALL_S = 0.01
REQUESTS = 30_000


def exponential(generator: np.random.Generator, _: int, __: int) -> float:
    return float(generator.exponential(CALL_S))


def fixed(_: np.random.Generator, requests: int, row_passes: int) -> float:
    return CALL_S


def mean_s(outcome: Outcome) -> float:
    return float(outcome.latencies_ms.mean()) / 1e3


def erlang_c(servers: int, offered: float) -> float:
    """Probability that a request waits for one of the servers."""
    last = offered**servers / factorial(servers) * servers / (servers - offered)
    return last / (sum(offered**k / factorial(k) for k in range(servers)) + last)


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.8])
def test_exponential_calls_that_are_not_joined_are_m_m_1(busy: float) -> None:
    outcome = simulate(ReplicaModel(exponential, join=False), rate=busy / CALL_S, requests=REQUESTS)
    assert mean_s(outcome) == pytest.approx(CALL_S / (1 - busy), rel=0.06)
    assert outcome.busy == pytest.approx(busy, rel=0.03)
    # The whole distribution is known: times are exponential.
    assert outcome.latency_ms("p95") == pytest.approx(1e3 * CALL_S / (1 - busy) * np.log(20), rel=0.08)


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.8])
def test_calls_of_one_length_are_m_d_1(busy: float) -> None:
    outcome = simulate(ReplicaModel(fixed, join=False), rate=busy / CALL_S, requests=REQUESTS)
    assert mean_s(outcome) == pytest.approx(CALL_S * (1 + busy / (2 * (1 - busy))), rel=0.04)


@pytest.mark.parametrize(("threads", "busy"), [(2, 0.7), (4, 0.8)])
def test_threads_behind_one_line_meet_erlang_c(threads: int, busy: float) -> None:
    model = ReplicaModel(exponential, join=False, threads=threads)
    outcome = simulate(model, rate=threads * busy / CALL_S, requests=REQUESTS)
    wait_s = erlang_c(threads, threads * busy) * CALL_S / (threads * (1 - busy))
    assert mean_s(outcome) - CALL_S == pytest.approx(wait_s, rel=0.1)


def test_replicas_that_are_picked_at_random_are_as_many_queues_of_their_own() -> None:
    many = simulate(ReplicaModel(exponential, join=False), rate=20 * 0.6 / CALL_S, replicas=20, routing="random")
    assert mean_s(many) == pytest.approx(CALL_S / 0.4, rel=0.08)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("routing", ROUTINGS)
def test_more_replicas_are_never_worse(routing: Routing, joined: bool) -> None:
    model = ReplicaModel(exponential, join=joined)
    means = [
        mean_s(simulate(model, rate=1.6 / CALL_S, replicas=replicas, routing=routing, requests=8_000))
        for replicas in (2, 3, 4, 8)
    ]
    assert all(after <= 1.02 * before for before, after in pairwise(means))


def test_the_fewest_is_never_worse_than_any() -> None:
    model = ReplicaModel(exponential, join=False)
    least, any_one = (simulate(model, rate=2.4 / CALL_S, replicas=4, routing=routing) for routing in ROUTINGS)
    assert mean_s(least) < 0.7 * mean_s(any_one)


def test_a_fixed_cost_is_shared_by_those_who_wait() -> None:
    """Twice what calls of one request could bear; as many as wait share one."""
    outcome = simulate(ReplicaModel(fixed), rate=2 / CALL_S)
    assert outcome.joined > 2
    assert outcome.latency_ms("p95") < 1e3 * 3 * CALL_S
    assert outcome.throughput == pytest.approx(2 / CALL_S, rel=0.03)


def test_a_large_request_is_cut_and_delays_a_small_one_by_one_call() -> None:
    def call_s(_: np.random.Generator, __: int, row_passes: int) -> float:
        return 1e-4 * row_passes

    outcome = simulate(ReplicaModel(call_s, row_passes=1000, most_row_passes=100), rate=1.0, requests=500)
    assert outcome.latency_ms("p50") == pytest.approx(100, rel=0.05)
    assert outcome.joined == pytest.approx(0.1, rel=0.2)  # ten calls for a request


def test_what_is_too_much_is_refused_and_the_rest_waits_no_longer_than_its_line() -> None:
    model = ReplicaModel(fixed, join=False, most_waiting=8)
    outcome = simulate(model, rate=4 / CALL_S)
    assert outcome.refused == pytest.approx(0.75, abs=0.03)
    assert outcome.latency_ms("max") <= 1e3 * CALL_S * 9.001
    timed = simulate(ReplicaModel(fixed, join=False, timeout_s=0.1), rate=4 / CALL_S)
    assert timed.refused == pytest.approx(0.75, abs=0.03)
    assert timed.latency_ms("max") <= 1e3 * (0.1 + CALL_S)


def test_the_event_loop_bounds_what_joining_could_bear() -> None:
    outcome = simulate(ReplicaModel(fixed, loop_s=CALL_S / 4), clients=64, requests=5000)
    assert outcome.throughput == pytest.approx(4 / CALL_S, rel=0.15)


def test_clients_that_wait_obey_littles_law() -> None:
    outcome = simulate(ReplicaModel(exponential, away_s=0.02), clients=5, requests=20_000)
    assert outcome.throughput * mean_s(outcome) == pytest.approx(5, rel=0.03)


def test_a_seed_is_all_that_it_depends_on() -> None:
    model = ReplicaModel(exponential)
    one, same, other = (simulate(model, rate=80, replicas=2, requests=500, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.latencies_ms, same.latencies_ms)
    assert not np.array_equal(one.latencies_ms, other.latencies_ms)


@pytest.mark.parametrize("given", [{}, {"rate": 0}, {"rate": -1}, {"clients": 0}, {"rate": float("nan")}])
def test_a_load_is_above_0(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        simulate(ReplicaModel(fixed), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{"replicas": 0}, {"requests": 0}])
def test_there_is_something_to_simulate(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        simulate(ReplicaModel(fixed), rate=1.0, **given)  # type: ignore[arg-type]
