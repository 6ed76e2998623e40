"""Joined requests: each gets what it would get alone, nobody starves, and one that fails takes nobody with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.service.conftest import Served
from thinned.models.errors import InputError
from thinned.service.inference.engine import Engine
from thinned.service.inference.jobs import Job, PredictJob, SampleJob, answer_alone
from thinned.service.inference.scheduler import AbandonedError, DeadlineError_, Scheduler

BUDGET = 256


class Loop:
    """Stands for the event loop: what it is given runs in the thread of the test, when told."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self._some = threading.Condition()

    def soon(self, call: Callable[[], None]) -> None:
        with self._some:
            self._waiting.append(call)
            self._some.notify()

    def run_until(self, jobs: list[Job]) -> None:
        end = time.monotonic() + 60
        while not all(finished(job) for job in jobs):
            with self._some:
                assert self._some.wait_for(lambda: self._waiting, timeout=max(0.0, end - time.monotonic()))
                calls, self._waiting = self._waiting, []
            for call in calls:
                call()


DONE: set[int] = set()


def finished(job: Job) -> bool:
    return id(job) in DONE


class Bench:
    """A coalescer over one engine, whose calls are recorded and can be held up."""

    def __init__(self, engine: Engine, *, join: bool = True) -> None:
        self.engine = engine
        self.loop = Loop()
        self.calls: list[list[Any]] = []
        self.order: list[Job] = []
        self.go = threading.Event()
        self.go.set()
        real = engine.summarise_together

        def recorded(asks: Any, sampling: Any) -> Any:
            assert self.go.wait(30)
            self.calls.append(list(asks))
            return real(asks, sampling)

        engine.summarise_together = recorded  # type: ignore[method-assign]
        self.coalescer = Scheduler(engine, soon=self.loop.soon, soon_from_elsewhere=self.loop.soon, join=join)

    def submit(self, *jobs: Job) -> list[Job]:
        for job in jobs:
            job.answered = lambda job=job: (self.order.append(job), DONE.add(id(job)))  # type: ignore[misc]
            self.coalescer.submit(job)
        return list(jobs)

    def answer(self, *jobs: Job) -> list[Job]:
        self.loop.run_until(self.submit(*jobs))
        return list(jobs)


@pytest.fixture
def engine(classes: Served) -> Iterator[Engine]:
    """An engine of its own: the real one of `classes`, with a smaller budget and unspoilt methods."""
    yield_ = Engine(classes.host.stored, block_row_passes=BUDGET)
    yield_.warm_up()
    return yield_  # type: ignore[return-value]


@pytest.fixture
def bench(engine: Engine) -> Iterator[Bench]:
    made = Bench(engine)
    yield made
    made.go.set()
    made.coalescer.close()


def rows(count: int, seed: int = 0) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).normal(size=(count, 3)).astype("float32")}


def only(job: SampleJob) -> Any:
    (found,) = job.statistics().values()
    return found


def same(a: Any, b: Any) -> None:
    for name in ("mean", "variance", "standard_error", "predictive_entropy", "mutual_information"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-5, atol=1e-7)
    assert a.standard_error_from == b.standard_error_from


def test_joined_answers_are_those_of_each_request_alone(bench: Bench, engine: Engine) -> None:
    asked = [(1, 30, 5), (3, 20, 6), (2, 31, 5), (1, 16, 9)]
    jobs = [SampleJob(rows(n, i), n_samples=s, seed=seed) for i, (n, s, seed) in enumerate(asked)]
    bench.answer(*jobs)
    assert len(bench.calls) == 1
    assert len(bench.calls[0]) == 4
    for i, (job, (n, s, seed)) in enumerate(zip(jobs, asked, strict=True)):
        (expected,) = engine.predict_mc(rows(n, i), n_samples=s, seed=seed).values()
        assert job.passes == s
        same(only(job), expected)


def test_deterministic_requests_are_joined_too(bench: Bench, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = engine.predict

    def counted(inputs: Any) -> Any:
        sizes.append(len(inputs["x"]))
        return real(inputs)

    monkeypatch.setattr(engine, "predict", counted)
    jobs = [PredictJob(rows(n, n)) for n in (1, 2, 4)]
    bench.answer(*jobs)
    assert sizes == [7]
    for job in jobs:
        (expected,) = real(job.inputs).values()
        (got,) = job.outputs.values()
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


def test_without_joining_each_has_a_call_of_its_own(engine: Engine) -> None:
    bench = Bench(engine, join=False)
    bench.answer(*(SampleJob(rows(1), n_samples=8, seed=None) for _ in range(3)))
    assert [len(call) for call in bench.calls] == [1, 1, 1]
    assert len({call[0].seed for call in bench.calls}) == 3
    bench.coalescer.close()


def test_requests_without_a_seed_share_one_only_within_a_call(bench: Bench) -> None:
    first = [SampleJob(rows(1, i), n_samples=8, seed=None) for i in range(3)]
    named = SampleJob(rows(1), n_samples=8, seed=3)
    bench.answer(*first, named)
    later = SampleJob(rows(1), n_samples=8, seed=None)
    bench.answer(later)
    assert len({job.known_seed for job in first}) == 1
    assert named.known_seed == 3
    assert later.known_seed != first[0].known_seed


def test_requests_of_different_sampling_or_length_do_not_share_calls(bench: Bench) -> None:
    jobs = [
        SampleJob(rows(1), n_samples=8, seed=1),
        SampleJob(rows(1), n_samples=8, seed=1, sampling="independent"),
        SampleJob(rows(1), n_samples=8, seed=1),
    ]
    bench.answer(*jobs)
    assert sorted(len(call) for call in bench.calls) == [1, 2]


def test_a_call_holds_no_more_than_the_budget_nor_twice_what_was_asked(bench: Bench) -> None:
    jobs = [SampleJob(rows(n, n), n_samples=s, seed=None) for n, s in [(4, 30)] * 5 + [(10, 4), (1, 200)]]
    bench.answer(*jobs)
    for call in bench.calls:
        work = sum(ask.rows for ask in call) * max(ask.count for ask in call)
        assert work <= BUDGET
        assert work <= 2 * sum(ask.rows * ask.count for ask in call)
    assert sum(ask.count * ask.rows for call in bench.calls for ask in call) == 5 * 120 + 40 + 200


@pytest.mark.parametrize(("count", "passes"), [(1, 1000), (5, 300), (40, 100), (300, 33)])
def test_a_request_of_many_calls_equals_the_same_in_one(
    bench: Bench, engine: Engine, classes: Served, count: int, passes: int
) -> None:
    job = SampleJob(rows(count), n_samples=passes, seed=4)
    bench.answer(job)
    whole = Engine(classes.host.stored, block_row_passes=10**6)
    (expected,) = whole.predict_mc(rows(count), n_samples=passes, seed=4).values()
    assert job.passes == passes
    assert len(bench.calls) > 1
    same(only(job), expected)


def test_kept_passes_are_those_of_the_seed(bench: Bench, engine: Engine) -> None:
    jobs = [
        SampleJob(rows(2), n_samples=300, seed=4, quantiles=[0.1, 0.9], return_samples=True),
        SampleJob(rows(2), n_samples=20, seed=4, return_samples=True),
    ]
    bench.answer(*jobs)
    for job, count in zip(jobs, (300, 20), strict=True):
        (expected,) = engine.predict_mc(
            rows(2), n_samples=count, seed=4, quantiles=[0.1, 0.9], return_samples=True
        ).values()
        np.testing.assert_allclose(only(job).samples, expected.samples, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(only(jobs[0]).quantiles.shape, (2, 2, 4))


def test_a_big_request_delays_a_small_one_by_one_call(bench: Bench) -> None:
    big = SampleJob(rows(8), n_samples=3000, seed=1)
    bench.go.clear()
    bench.submit(big)
    bench.loop._waiting.pop(0)()  # The loop's next round hands it to the owner of the engine.
    small = SampleJob(rows(1), n_samples=10, seed=1)
    bench.submit(small)
    bench.go.set()
    bench.loop.run_until([small])
    served = next(i for i, call in enumerate(bench.calls) if any(ask.count == 10 for ask in call))
    assert served <= 1
    bench.loop.run_until([big])
    assert bench.order == [small, big]
    assert len(bench.calls) > 50


def test_two_big_requests_advance_side_by_side(bench: Bench) -> None:
    jobs = [SampleJob(rows(1, i), n_samples=2000, seed=i) for i in range(2)]
    bench.answer(*jobs)
    together = sum(len(call) == 2 for call in bench.calls)
    assert together >= 0.8 * len(bench.calls)


def test_one_that_the_model_refuses_takes_nobody_with_it(
    bench: Bench, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, bad = engine.summarise_together, rows(1, 99)

    def refusing(asks: Any, sampling: Any) -> Any:
        if any(ask.inputs is not None and np.array_equal(ask.inputs["x"], bad["x"]) for ask in asks):
            raise InputError([])
        return real(asks, sampling)

    monkeypatch.setattr(engine, "summarise_together", refusing)
    good = [SampleJob(rows(1, i), n_samples=10, seed=i) for i in range(3)]
    wrong = SampleJob(bad, n_samples=10, seed=1)
    bench.answer(good[0], wrong, *good[1:])
    assert isinstance(wrong.error, InputError)
    for i, job in enumerate(good):
        assert job.error is None
        (expected,) = engine.predict_mc(rows(1, i), n_samples=10, seed=i).values()
        same(only(job), expected)


def test_whatever_goes_wrong_the_next_request_is_answered(
    bench: Bench, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(engine), "budget", property(lambda self: 1 / 0))
    broken = SampleJob(rows(1), n_samples=10, seed=1)
    bench.submit(broken)
    with pytest.raises(ZeroDivisionError):
        bench.loop.run_until([broken])
    monkeypatch.undo()
    bench.answer(PredictJob(rows(1)))


def test_a_deadline_ends_the_work_between_calls(bench: Bench) -> None:
    late = SampleJob(rows(1), n_samples=10**7, seed=1, deadline=time.monotonic() + 0.3)
    past = PredictJob(rows(1), deadline=time.monotonic() - 1)
    bench.answer(late, past)
    assert isinstance(late.error, DeadlineError_)
    assert isinstance(past.error, DeadlineError_)
    calls = len(bench.calls)
    bench.answer(PredictJob(rows(1)))
    assert len(bench.calls) == calls


def test_one_that_nobody_waits_for_takes_no_further_call(bench: Bench) -> None:
    gone = SampleJob(rows(1), n_samples=10**7, seed=1)
    bench.submit(gone)
    bench.loop._waiting.pop(0)()
    time.sleep(0.1)
    bench.coalescer.give_up(gone)
    bench.loop.run_until([gone])
    assert isinstance(gone.error, AbandonedError)


def test_a_short_call_is_made_where_it_arrives(bench: Bench, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    made_by: list[str] = []
    real = engine.predict

    def noting(inputs: Any) -> Any:
        made_by.append(threading.current_thread().name)
        return real(inputs)

    monkeypatch.setattr(engine, "predict", noting)
    for _ in range(20):
        bench.answer(PredictJob(rows(1)))
    assert made_by[0] == "thinned-compute"
    assert threading.current_thread().name in made_by


# Adaptive requests


@pytest.mark.parametrize("sampling", ["stratified", "independent"])
@pytest.mark.parametrize("tolerance", [0.02, 0.008, 0.004])
def test_an_adaptive_answer_is_the_fixed_answer_of_its_passes(engine: Engine, sampling: Any, tolerance: float) -> None:
    job = SampleJob(rows(3), n_samples=5000, seed=11, sampling=sampling, tolerance=tolerance)
    answer_alone(job, engine)
    assert job.passes % 32 == 0 or job.passes == 5000
    (expected,) = engine.predict_mc(rows(3), n_samples=job.passes, seed=11, sampling=sampling).values()
    same(only(job), expected)
    converged = job.converged()
    assert converged is not None
    assert converged.tolist() == (expected.standard_error.max(axis=1) < tolerance).tolist()
    if job.passes < 5000:
        assert converged.all()


def test_where_it_stops_does_not_depend_on_company_or_budget(bench: Bench, classes: Served) -> None:
    def asked(i: int) -> SampleJob:
        return SampleJob(rows(1 + i, i), n_samples=4000, seed=i, tolerance=0.01)

    jobs = [asked(i) for i in range(4)]
    bench.answer(*jobs, SampleJob(rows(5), n_samples=400, seed=8))
    for budget in (64, 10_000):
        engine = Engine(classes.host.stored, block_row_passes=budget)
        for i, job in enumerate(jobs):
            alone = answer_alone(asked(i), engine)
            assert alone.passes == job.passes
            same(only(alone), only(job))


def test_a_tolerance_that_is_not_met_ends_at_the_cap(engine: Engine) -> None:
    job = answer_alone(SampleJob(rows(2), n_samples=100, seed=1, tolerance=1e-9), engine)
    assert job.passes == 100
    assert job.converged().tolist() == [False, False]  # type: ignore[union-attr]


def test_a_budget_of_time_stops_at_a_block(engine: Engine) -> None:
    began = time.monotonic()
    job = answer_alone(SampleJob(rows(1), n_samples=10**6, seed=1, budget_ms=200), engine)
    assert time.monotonic() - began < 2
    assert job.passes % 32 == 0
    assert 32 <= job.passes < 10**6
    assert job.converged() is None
    (expected,) = engine.predict_mc(rows(1), n_samples=job.passes, seed=1).values()
    same(only(job), expected)
    assert answer_alone(SampleJob(rows(1), n_samples=1000, seed=1, budget_ms=1e-6), engine).passes == 32


def test_a_budget_of_time_keeps_the_passes_it_had(engine: Engine) -> None:
    job = SampleJob(rows(2), n_samples=500, seed=1, tolerance=0.02, return_samples=True, quantiles=[0.5])
    answer_alone(job, engine)
    assert only(job).samples.shape == (job.passes, 2, 4)
    np.testing.assert_allclose(only(job).samples.mean(axis=0), only(job).mean, rtol=1e-5, atol=1e-7)
