"""The plan of calls, step by step: whatever comes, leaves, is late or fails, what is promised holds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from thinned.models.dropout import MonteCarloRun
from thinned.models.errors import ClientGoneError, DeadlineError
from thinned.models.sampling import BLOCK
from thinned.models.uncertainty import BlockStatistics
from thinned.service.inference.call_costs import CallCosts
from thinned.service.inference.jobs import Job, PredictJob, SampleJob, Share
from thinned.service.inference.waiting_line import WaitingLine

BUDGET = 160
WIDTHS = st.sampled_from([2, 3])


def part(job: SampleJob, share: Share) -> dict[str, BlockStatistics]:
    """What a call would give: passes of zeros."""
    item = job.run.item
    assert item is not None
    assert share.rows == item.rows
    assert share.passes <= item.count
    return {"y": BlockStatistics.of_passes(np.zeros((share.passes, share.rows, 1)), first=item.first)}


class Line(RuleBasedStateMachine):
    """A clock, arrivals, clients that leave, calls that succeed or fail, of any duration."""

    def __init__(self) -> None:
        super().__init__()
        self.costs = CallCosts()
        self.line = WaitingLine(self.costs)
        self.now = 0.0
        self.jobs: list[Job] = []
        self.ended: list[Job] = []
        self.behind: dict[int, int] = {}
        """By job: calls that may be made before it must be in one."""

    def _arrive(self, job: Job) -> None:
        self.jobs.append(job)
        self.behind[id(job)] = len(self.line) + 1
        self.line.add(job)

    @rule(rows=st.integers(1, 400), width=WIDTHS, time=st.floats(0.1, 50))
    def predict(self, rows: int, width: int, time: float) -> None:
        x = {"x": np.zeros((rows, width), np.float32)}
        self._arrive(PredictJob(x, row_passes=BUDGET, deadline=self.now + time))

    @rule(
        rows=st.integers(1, 12),
        width=WIDTHS,
        passes=st.integers(2, 300),
        seed=st.sampled_from([None, 1, 2]),
        most=st.sampled_from([1, 7, 40, BUDGET]),
        time=st.one_of(st.just(math.inf), st.floats(0.1, 50)),
    )
    def sample(self, rows: int, width: int, passes: int, seed: int | None, most: int, time: float) -> None:
        x = {"x": np.zeros((rows, width), np.float32)}
        run = MonteCarloRun(x, ["y"], row_passes=most, n_samples=passes, seed=seed)
        self._arrive(SampleJob(x, run, row_passes=most, deadline=self.now + time))

    @precondition(lambda self: len(self.line))
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        data.draw(st.sampled_from(list(self.line))).abandoned = True

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.floats(1e-4, 2), fails=st.booleans())
    def turn(self, seconds: float, fails: bool) -> None:
        before = list(self.line)
        dropped = self.line.drop_ended(self.now)
        for job in dropped:
            assert job.abandoned or job.deadline <= self.now
            assert isinstance(job.error, ClientGoneError if job.abandoned else DeadlineError)
            self._end(job)
        left = [job for job in before if job not in dropped]
        shares = self.line.next_call()
        assert bool(shares) == bool(left)
        if not shares:
            return
        self._check(shares, left)
        self.now += seconds
        if fails:
            for share in shares:
                share.job.ended = True
                self._end(share.job)
            return
        self.costs.note(shares, seconds)
        for share in shares:
            self._take(share)

    def _check(self, shares: list[Share], left: list[Job]) -> None:
        jobs = [share.job for share in shares]
        assert jobs[0] is left[0]  # the head goes first
        assert len(set(map(id, jobs))) == len(jobs)
        assert all(not job.abandoned and job.deadline > self.now for job in jobs)
        assert len({job.key for job in jobs}) == 1
        held = sum(share.rows for share in shares) * max(share.passes for share in shares)
        assert held <= max(jobs[0].row_passes, shares[0].row_passes)
        if len(shares) > 1:
            assert held <= min(job.row_passes for job in jobs)
            assert held <= 2 * sum(share.row_passes for share in shares)
        whole = not isinstance(jobs[0], SampleJob) or jobs[0].run.in_one_call
        assert shares[0].row_passes <= jobs[0].row_passes or not whole
        for job in left:
            self.behind[id(job)] -= 1
            assert job in jobs or self.behind[id(job)] > 0, "it waits longer than for one call of each before it"

    def _take(self, share: Share) -> None:
        job = share.job
        if isinstance(job, PredictJob):
            job.take({"y": np.zeros((share.rows, 1))})
        elif isinstance(job, SampleJob):
            job.run.seed = 0
            job.run.take(part(job, share))
        if job.left:
            self.behind[id(job)] = len(self.line) + 1
            self.line.add(job)
        else:
            job.ended = True
            self._end(job)

    def _end(self, job: Job) -> None:
        assert job.ended
        assert job not in self.ended, "it ends once"
        self.ended.append(job)

    @invariant()
    def every_job_is_in_the_line_once_or_has_ended(self) -> None:
        waiting = list(self.line)
        assert len(set(map(id, waiting))) == len(waiting)
        assert {id(job) for job in self.jobs} == {id(job) for job in (*waiting, *self.ended)}
        assert not {id(job) for job in waiting} & {id(job) for job in self.ended}

    @invariant()
    def what_is_known_is_bounded(self) -> None:
        assert all(len(known) <= 512 for known in (self.costs._alone, self.costs._joined, self.costs._rate))
        assert self.costs.waiting_s(list(self.line)) >= 0


Line.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestLine = Line.TestCase


def sampled(rows: int, passes: int, *, seed: int | None = None, most: int = BUDGET) -> SampleJob:
    x = {"x": np.zeros((rows, 2), np.float32)}
    return SampleJob(x, MonteCarloRun(x, ["y"], row_passes=most, n_samples=passes, seed=seed), row_passes=most)


def test_sixteen_that_are_joined_stay_within_the_budget() -> None:
    """14 times the budget was computed where the shares were cut again after the jobs had been chosen."""
    line = WaitingLine(CallCosts())
    for i in range(16):
        line.add(sampled(1 + i % 3, 1000, most=8192, seed=None))
    while line:
        shares = line.next_call()
        assert sum(s.rows for s in shares) * max(s.passes for s in shares) <= 8192


def test_what_is_slower_together_is_computed_apart_and_tried_again() -> None:
    costs = CallCosts()
    line = WaitingLine(costs)
    joined = 0
    for turn in range(400):
        for seed in (1, 2):
            line.add(sampled(1, BLOCK, seed=seed))
        while line:
            shares = line.next_call()
            joined += len(shares) == 2
            costs.note(shares, 0.01 if len(shares) == 1 else 0.05)
        if turn == 20:
            early = joined
    assert early > 0
    assert joined - early < 0.06 * 380, "two together take five times as long as one"
    assert joined > early, "what was found once is found again"


def test_what_is_faster_together_is_joined() -> None:
    costs = CallCosts()
    line = WaitingLine(costs)
    joined = 0
    for _ in range(200):
        for seed in (1, 2):
            line.add(sampled(1, BLOCK, seed=seed))
        while line:
            shares = line.next_call()
            joined += len(shares) == 2
            costs.note(shares, 0.01 if len(shares) == 1 else 0.012)
    assert joined > 180


def test_a_call_is_cut_to_what_takes_a_quarter_of_a_second() -> None:
    costs = CallCosts()
    job = PredictJob({"x": np.zeros((1000, 2), np.float32)}, row_passes=8192)
    costs.note([Share(job, 100, 1)], 1.0)
    line = WaitingLine(costs)
    line.add(job)
    (share,) = line.next_call()
    assert share.rows == 25
    assert costs.seconds(Share(job, 400, 1)) == 4.0
    assert costs.waiting_s([job]) == 10.0
