"""Joined requests: each gets what it would get alone, nobody starves, and one that fails takes nobody with it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.long_trials import some_long
from tests.service.conftest import Served
from thinned.models.dropout import MonteCarloRun, StochasticModel
from thinned.models.errors import ClientGoneError, DeadlineError, InputError
from thinned.models.uncertainty import RunningStatistics
from thinned.service.inference.engine import Engine
from thinned.service.inference.jobs import Job, PredictJob, SampleJob
from thinned.service.inference.scheduler import Scheduler
from thinned.service.metrics import Metrics

BUDGET = 256
OUTPUT = "y"


class Loop:
    """Stands for the event loop: what it is given runs in the thread of the test, when told."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self._some = threading.Condition()

    def soon(self, call: Callable[[], None]) -> None:
        with self._some:
            self._waiting.append(call)
            self._some.notify()

    def take(self) -> list[Callable[[], None]]:
        with self._some:
            calls, self._waiting = self._waiting, []
        return calls

    def run_until(self, jobs: list[Job]) -> None:
        end = time.monotonic() + 60
        while not all(finished(job) for job in jobs):
            with self._some:
                assert self._some.wait_for(lambda: self._waiting, timeout=max(0.0, end - time.monotonic()))
            for call in self.take():
                call()


DONE: set[int] = set()


def finished(job: Job) -> bool:
    return id(job) in DONE


class Recorded:
    """A scheduler over one engine, whose calls are recorded and can be held up."""

    def __init__(self, engine: Engine, *, join: bool = True) -> None:
        self.engine = engine
        self.loop = Loop()
        self.calls: list[list[Any]] = []
        self.order: list[Job] = []
        self.go = threading.Event()
        self.go.set()
        real = engine.model.draw

        def recorded(items: Any, **named: Any) -> Any:
            assert self.go.wait(30)
            self.calls.append(list(items))
            return real(items, **named)

        engine.model.draw = recorded  # type: ignore[method-assign]
        self.metrics = Metrics("m:1")
        self.scheduler = Scheduler(
            engine, soon=self.loop.soon, soon_from_elsewhere=self.loop.soon, join=join, metrics=self.metrics
        )

    def submit(self, *jobs: Job) -> list[Job]:
        for job in jobs:
            job.answered = lambda job=job: (self.order.append(job), DONE.add(id(job)))  # type: ignore[misc]
            self.scheduler.submit(job)
        return list(jobs)

    def answer(self, *jobs: Job) -> list[Job]:
        self.loop.run_until(self.submit(*jobs))
        return list(jobs)


@pytest.fixture
def engine(classes: Served) -> Iterator[Engine]:
    """An engine of its own: the real one of `classes`, with a smaller budget and unspoilt methods."""
    yield_ = Engine(classes.manager.stored, block_row_passes=BUDGET)
    yield_.warm_up()
    return yield_  # type: ignore[return-value]


@pytest.fixture
def bench(engine: Engine) -> Iterator[Recorded]:
    made = Recorded(engine)
    yield made
    made.go.set()
    made.scheduler.close()


def rows(count: int, seed: int = 0) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).normal(size=(count, 3)).astype("float32")}


def sampled(count: int, salt: int = 0, *, inputs: Any = None, deadline: float = math.inf, **drawn: Any) -> SampleJob:
    """A job of `count` rows; its run is what `ModelManager.sample` would make of a request."""
    x = rows(count, salt) if inputs is None else inputs
    run = MonteCarloRun(x, [OUTPUT], row_passes=BUDGET, **{"seed": None, **drawn})
    return SampleJob(x, run, row_passes=BUDGET, deadline=deadline)


def only(job: SampleJob) -> RunningStatistics:
    return job.run.statistics()[OUTPUT]


@pytest.fixture
def alone(classes: Served) -> StochasticModel:
    """The same model in an engine of its own: what each request gets by itself."""
    return classes.manager.engine.model


def same(a: RunningStatistics, b: RunningStatistics) -> None:
    assert a.count == b.count
    for name in ("mean", "variance", "mean_probabilities", "mean_entropy"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-5, atol=1e-7)
    for x, y in zip(a.standard_error("stratified"), b.standard_error("stratified"), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-7) if isinstance(x, np.ndarray) else None
        assert isinstance(x, np.ndarray) or x == y


def test_joined_answers_are_those_of_each_request_alone(bench: Recorded, alone: StochasticModel) -> None:
    asked = [(1, 30, 5), (3, 20, 6), (2, 31, 5), (1, 16, 9)]
    jobs = [sampled(n, i, n_samples=s, seed=seed) for i, (n, s, seed) in enumerate(asked)]
    bench.answer(*jobs)
    assert len(bench.calls) == 1
    assert len(bench.calls[0]) == 4
    for i, (job, (n, s, seed)) in enumerate(zip(jobs, asked, strict=True)):
        (expected,) = alone.summary(rows(n, i), n_samples=s, seed=seed).values()
        assert job.run.drawn == s
        same(only(job), expected)


def test_deterministic_requests_are_joined_too(
    bench: Recorded, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = engine.model.predict

    def counted(inputs: Any) -> Any:
        sizes.append(len(inputs["x"]))
        return real(inputs)

    monkeypatch.setattr(engine.model, "predict", counted)
    jobs = [PredictJob(rows(n, n), row_passes=BUDGET) for n in (1, 2, 4)]
    bench.answer(*jobs)
    assert sizes == [7]
    for job in jobs:
        (expected,) = real(job.inputs).values()
        (got,) = job.outputs.values()
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


def test_without_joining_each_has_a_call_of_its_own(engine: Engine) -> None:
    bench = Recorded(engine, join=False)
    bench.answer(*(sampled(1, n_samples=8, seed=None) for _ in range(3)))
    assert [len(call) for call in bench.calls] == [1, 1, 1]
    assert len({call[0].seed for call in bench.calls}) == 3
    bench.scheduler.close()


def test_requests_without_a_seed_share_one_only_within_a_call(bench: Recorded) -> None:
    first = [sampled(1, i, n_samples=8, seed=None) for i in range(3)]
    named = sampled(1, n_samples=8, seed=3)
    bench.answer(*first, named)
    later = sampled(1, n_samples=8, seed=None)
    bench.answer(later)
    assert len({job.run.seed for job in first}) == 1
    assert named.run.seed == 3
    assert later.run.seed != first[0].run.seed


def test_requests_of_different_sampling_or_length_do_not_share_calls(bench: Recorded) -> None:
    jobs = [
        sampled(1, n_samples=8, seed=1),
        sampled(1, n_samples=8, seed=1, sampling="independent"),
        sampled(1, n_samples=8, seed=1),
    ]
    bench.answer(*jobs)
    assert sorted(len(call) for call in bench.calls) == [1, 2]


def test_a_call_holds_no_more_than_the_budget_nor_twice_what_was_asked(bench: Recorded) -> None:
    jobs = [sampled(n, n, n_samples=s, seed=None) for n, s in [(4, 30)] * 5 + [(10, 4), (1, 200)]]
    bench.answer(*jobs)
    for call in bench.calls:
        work = sum(item.rows for item in call) * max(item.count for item in call)
        assert work <= BUDGET
        assert work <= 2 * sum(item.rows * item.count for item in call)
    assert sum(item.count * item.rows for call in bench.calls for item in call) == 5 * 120 + 40 + 200


@pytest.mark.parametrize(("count", "passes"), [(1, 1000), (5, 300), (40, 100), (300, 33)])
def test_a_request_of_many_calls_equals_the_same_in_one(
    bench: Recorded, alone: StochasticModel, count: int, passes: int
) -> None:
    job = sampled(count, n_samples=passes, seed=4)
    bench.answer(job)
    (expected,) = alone.summary(rows(count), n_samples=passes, seed=4, row_passes=10**6).values()
    assert job.run.drawn == passes
    assert len(bench.calls) > 1
    same(only(job), expected)


def test_kept_passes_are_those_of_the_seed(bench: Recorded, alone: StochasticModel) -> None:
    jobs = [sampled(2, n_samples=300, seed=4, keep_passes=True), sampled(2, n_samples=20, seed=4, keep_passes=True)]
    bench.answer(*jobs)
    for job, count in zip(jobs, (300, 20), strict=True):
        expected = alone.sample(rows(2), n_samples=count, seed=4)[OUTPUT]
        np.testing.assert_allclose(job.run.passes[OUTPUT], expected, rtol=1e-5, atol=1e-7)


def test_a_big_request_delays_a_small_one_by_one_call(bench: Recorded) -> None:
    big = sampled(8, n_samples=3000, seed=1)
    bench.go.clear()
    bench.submit(big)
    bench.loop._waiting.pop(0)()  # The loop's next round hands it to the owner of the engine.
    small = sampled(1, n_samples=10, seed=1)
    bench.submit(small)
    bench.go.set()
    bench.loop.run_until([small])
    served = next(i for i, call in enumerate(bench.calls) if any(item.count == 10 for item in call))
    assert served <= 1
    bench.loop.run_until([big])
    assert bench.order == [small, big]
    assert len(bench.calls) > 50


def test_two_big_requests_advance_side_by_side(bench: Recorded) -> None:
    jobs = [sampled(1, i, n_samples=2000, seed=i) for i in range(2)]
    bench.answer(*jobs)
    together = sum(len(call) == 2 for call in bench.calls)
    assert together >= 0.8 * len(bench.calls)


def test_one_that_the_model_refuses_takes_nobody_with_it(
    bench: Recorded, engine: Engine, alone: StochasticModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, bad = engine.model.draw, rows(1, 99)

    def refusing(items: Any, **named: Any) -> Any:
        if any(item.inputs is not None and np.array_equal(item.inputs["x"], bad["x"]) for item in items):
            raise InputError([])
        return real(items, **named)

    monkeypatch.setattr(engine.model, "draw", refusing)
    good = [sampled(1, i, n_samples=10, seed=i) for i in range(3)]
    wrong = sampled(1, inputs=bad, n_samples=10, seed=1)
    bench.answer(good[0], wrong, *good[1:])
    assert isinstance(wrong.error, InputError)
    for i, job in enumerate(good):
        assert job.error is None
        (expected,) = alone.summary(rows(1, i), n_samples=10, seed=i).values()
        same(only(job), expected)


def test_whatever_goes_wrong_the_next_request_is_answered(
    bench: Recorded, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SampleJob, "wants", lambda self, most: 1 / 0)
    broken = sampled(1, n_samples=10, seed=1)
    bench.answer(broken)
    assert isinstance(broken.error, ZeroDivisionError)
    monkeypatch.undo()
    bench.answer(PredictJob(rows(1), row_passes=BUDGET))


def test_a_deadline_ends_the_work_between_calls(bench: Recorded) -> None:
    late = sampled(1, n_samples=10**7, seed=1, deadline=time.monotonic() + 0.3)
    past = PredictJob(rows(1), row_passes=BUDGET, deadline=time.monotonic() - 1)
    bench.answer(late, past)
    assert isinstance(late.error, DeadlineError)
    assert isinstance(past.error, DeadlineError)
    calls = len(bench.calls)
    bench.answer(PredictJob(rows(1), row_passes=BUDGET))
    assert len(bench.calls) == calls


def test_one_that_nobody_waits_for_takes_no_further_call(bench: Recorded) -> None:
    gone = sampled(1, n_samples=10**7, seed=1)
    bench.submit(gone)
    bench.loop._waiting.pop(0)()
    time.sleep(0.1)
    bench.scheduler.abandon(gone)
    bench.loop.run_until([gone])
    assert isinstance(gone.error, ClientGoneError)


def test_a_short_call_is_made_where_it_arrives(
    bench: Recorded, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by: list[str] = []
    real = engine.model.predict

    def noting(inputs: Any) -> Any:
        made_by.append(threading.current_thread().name)
        return real(inputs)

    monkeypatch.setattr(engine.model, "predict", noting)
    for _ in range(20):
        bench.answer(PredictJob(rows(1), row_passes=BUDGET))
    assert made_by[0] == "thinned-compute"
    assert threading.current_thread().name in made_by


@pytest.fixture
def rested(classes: Served) -> Iterator[Recorded]:
    """A scheduler whose thread has drawn all the noise ahead that it keeps."""
    engine = Engine(classes.manager.stored, block_row_passes=BUDGET, noise_memory=1 << 20)
    engine.warm_up()
    engine.warm_up_rest()
    made = Recorded(engine)
    full(engine)
    yield made
    made.go.set()
    made.scheduler.close()


def full(engine: Engine) -> None:
    """Wait until the thread that computes has nothing more to draw ahead."""
    end = time.monotonic() + 30
    assert engine.ahead is not None
    while engine.ahead.wanted:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_without_a_seed_noise_is_ready_and_the_seed_gives_the_same_numbers(
    rested: Recorded, alone: StochasticModel
) -> None:
    for n_samples, count in ((40, 2), (100, 5)):  # in one call, and in pieces
        unnamed = sampled(count, n_samples=n_samples, seed=None)
        rested.answer(unnamed)
        (item,) = rested.calls[-1 if n_samples == 40 else -2]
        assert (item.noise is None) == (item.first >= 128)
        assert unnamed.run.noise is None  # let go of
        assert unnamed.run.seed is not None
        named = sampled(count, n_samples=n_samples, seed=unnamed.run.seed)
        rested.answer(named)
        assert rested.calls[-1][0].noise is None
        for field in ("mean", "variance", "mean_probabilities", "mean_entropy"):
            np.testing.assert_array_equal(getattr(only(unnamed), field), getattr(only(named), field))
        (expected,) = alone.summary(rows(count), n_samples=n_samples, seed=unnamed.run.seed).values()
        same(only(unnamed), expected)


def test_noise_is_kept_for_those_who_can_take_it(rested: Recorded) -> None:
    ahead = rested.engine.ahead
    assert ahead is not None
    kept = ahead.held_bytes
    for asked in ({"keep_passes": True}, {"sampling": "independent"}, {"estimator": "passes"}):
        rested.answer(sampled(1, n_samples=8, seed=None, **asked))
        assert ahead.held_bytes == kept
    rested.answer(sampled(1, n_samples=8, seed=None), sampled(1, 1, n_samples=9, seed=None))
    assert ahead.held_bytes == kept


def test_requests_never_wait_for_noise_and_never_share_what_they_did_not_ask_for_together(rested: Recorded) -> None:
    jobs = []
    for _ in range(40):  # more than are kept
        jobs.append(sampled(1, n_samples=8, seed=None))
        rested.answer(jobs[-1])
    assert len({job.run.seed for job in jobs}) == 40


def test_noise_that_cannot_be_drawn_ahead_any_longer_costs_no_request(rested: Recorded) -> None:
    ahead = rested.engine.ahead
    assert ahead is not None

    def fail() -> None:
        raise MemoryError("no room")

    ahead.fill = fail  # type: ignore[method-assign]
    for _ in range(3):
        rested.answer(sampled(1, n_samples=8, seed=None))
        time.sleep(0.02)
    assert rested.engine.ahead is None
    rested.answer(sampled(1, n_samples=8, seed=None))


@pytest.mark.parametrize("n_samples", some_long([40, 100], [100]))
def test_passes_that_are_kept_are_drawn_once(rested: Recorded, n_samples: int) -> None:
    """Quantiles and samples are told by the passes that gave mean and variance, not by others."""
    job = sampled(5, n_samples=n_samples, seed=3, keep_passes=True)
    rested.answer(job)
    assert sum(item.count for call in rested.calls for item in call) == n_samples
    assert len(job.run.passes[OUTPUT]) == n_samples


def test_what_is_in_flight_is_told_and_falls_to_nothing(bench: Recorded) -> None:
    def told(name: str) -> float:
        (family,) = (family for family in bench.metrics.families if family.name == name)
        return family.cells()["m:1",][0]

    bench.go.clear()
    jobs = bench.submit(sampled(2, n_samples=40), sampled(3, n_samples=40))
    end = time.monotonic() + 30
    while told("thinned_in_flight_row_passes") == 0:
        assert time.monotonic() < end
        for call in bench.loop.take():
            call()
        time.sleep(0.01)
    assert told("thinned_in_flight_row_passes") == 200
    assert told("thinned_queue_depth") == 2
    bench.go.set()
    bench.loop.run_until(jobs)
    assert told("thinned_in_flight_row_passes") == told("thinned_queue_depth") == 0
    for _ in range(3):  # Where the cost of a call is known, it is made at once.
        bench.answer(sampled(2, n_samples=40))
        assert told("thinned_in_flight_row_passes") == told("thinned_queue_depth") == 0
