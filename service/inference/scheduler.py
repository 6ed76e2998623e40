"""Computes the requests of one model, a call at a time: what `waiting_line` plans, in the thread that all models share.

The thread owns the engine. It plans a call, makes it, gives each request its own rows back, and turns to the model that
has the next call. A request that waits is told of its end in the event loop, where it came from.

A single request is computed at once, without waiting for others: in the thread that received it where that takes less
than it costs to wake another, in the owner's otherwise.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from thinned.models.errors import NotReadyError
from thinned.models.sampling import BLOCK, draw_seed
from thinned.service.inference.call_costs import CallCosts
from thinned.service.inference.compute_thread import ComputeThread
from thinned.service.inference.jobs import Job, PredictJob, SampleJob, Share
from thinned.service.inference.waiting_line import WaitingLine
from thinned.service.metrics import Metrics

if TYPE_CHECKING:
    from thinned.models.dropout import MonteCarloRun
    from thinned.service.inference.engine import Engine

__all__ = ["Scheduler"]

log = logging.getLogger("thinned")

AT_ONCE_S = 0.003
"""Calls known to be shorter are computed where they arrive. Nothing else that the thread does may wait longer."""
_FRESH_S, _FRESH, _OLD_S = 0.002, 0.005, 0.05
BACKGROUND_S = 0.01
"""What a call in the background may take, where a pass of a row allows it: a request may come while it is made."""


class Scheduler:
    """Computes jobs with one engine. `submit` and `abandon` are called from one thread, that of the event loop.

    Args:
        engine: The loaded and checked model.
        soon: Has the event loop call a function in its next round.
        soon_from_elsewhere: The same, called from another thread.
        join: Whether requests may share graph calls.
        metrics: What is told of calls and of what waits.
        thread: Where it computes; a thread of its own by default.
        background: Whether it computes only where no other wants to.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        soon: Callable[[Callable[[], None]], object],
        soon_from_elsewhere: Callable[[Callable[[], None]], object],
        join: bool = True,
        metrics: Metrics | None = None,
        thread: ComputeThread | None = None,
        background: bool = False,
    ) -> None:
        self.background = background
        self._metrics = metrics
        self._engine = engine
        self._soon = soon
        self._soon_from_elsewhere = soon_from_elsewhere
        self.costs = CallCosts(longest_s=BACKGROUND_S, best_rate=True) if background else CallCosts()
        # What joined calls take would not tell how long one may be.
        self._line = WaitingLine(self.costs, join=join and not background)
        self._arrived: deque[Job] = deque()
        self._under_way: tuple[Share, ...] = ()
        self._closed = False
        self._kicked = False
        self._told_at, self._told_s = 0.0, 0.0
        self.calls = 0
        """Graph calls made for passes or deterministic answers."""
        self.thread = thread or ComputeThread()
        self._wake = self.thread.wake
        self.thread.add(self)

    # In the event loop

    def submit(self, job: Job) -> None:
        """Have a job computed; its `answered` is called when it is, or has failed."""
        with self._wake:
            self._arrived.append(job)
        self._told_s += self.costs.waiting_s([job])
        if not self._kicked:
            self._kicked = True
            # In the next round, so that requests which arrived together are seen together.
            self._soon(self._kick)

    def abandon(self, job: Job) -> None:
        """Nobody waits for this job any longer: it takes no further call."""
        job.abandoned = True

    def waiting_s(self, enough_s: float = 0.0) -> float:
        """How long it will take to compute what waits and what is under way, as far as it is known.

        Under overload it is asked thousands of times a second, so that it may be some milliseconds old, or half a
        hundredth of what it says. What is older counts what came meanwhile and nothing of what was done: it may be too
        much, which is as good to know as the truth to whoever has `enough_s`.
        """
        now = time.monotonic()
        old_s = now - self._told_at
        if old_s > max(_FRESH_S, _FRESH * self._told_s) and (old_s > _OLD_S or self._told_s > enough_s):
            self._told_at, self._told_s = now, self.thread.waiting_s(self)
        return self._told_s

    def stuck_s(self) -> float:
        """For how many seconds the thread that computes has been longer in its call than calls take."""
        return 0.0 if self._closed else self.thread.stuck_s()

    def close(self) -> None:
        """Stop after the call under way; jobs that wait end with `NotReadyError`."""
        self._closed = True
        self.thread.remove(self)

    def _kick(self) -> None:
        self._kicked = False
        for job in self.thread.at_once(self, self._is_quick_alone, self._turn):
            job.answered()

    def _is_quick_alone(self) -> bool:
        alone = len(self._arrived) == 1 and not len(self._line)
        return alone and not self.background and self._is_quick(self._arrived[0])

    def _is_quick(self, job: Job) -> bool:
        if isinstance(job, SampleJob) and (job.run.keeps_passes or not job.run.in_one_call):
            return False
        try:
            share = job.wants(job.row_passes)
        except Exception:  # the plan of its call will say so
            return False
        known = self.costs.seconds(share)
        return share.row_passes == job.left and known is not None and known < AT_ONCE_S

    # Asked by the thread

    def waits(self) -> bool:
        """Whether a request waits for a call."""
        return bool(self._arrived or len(self._line))

    def expected_s(self) -> float:
        """How long the call under way should take; 0 where that is not known."""
        return sum(self.costs.seconds(share) or 0.0 for share in self._under_way)

    def left_s(self) -> float:
        """How long what waits will take, as far as it is known."""
        with self._wake:
            return self.costs.waiting_s([job for job in (*self._line, *self._arrived) if not job.abandoned])

    # In the owner's thread, or in the event loop while the owner rests

    def work(self) -> None:
        """Make one call, and have those told that it ends."""
        self._report(self._turn())

    def end(self) -> None:
        """Let go of what waits: there will be no further call."""
        stopping = NotReadyError("the service is stopping")
        self._report([job.end(stopping) for job in (*self._line, *self._arrived)])

    def _report(self, jobs: Sequence[Job]) -> None:
        def report() -> None:
            for job in jobs:
                job.answered()

        if jobs:
            with suppress(RuntimeError):  # The event loop has ended: nobody is left to be called.
                self._soon_from_elsewhere(report)

    def _turn(self) -> list[Job]:
        """Make one call; the jobs that have ended by it, or before it. Whatever goes wrong, the next turn can be."""
        self._admit()
        with self._wake:
            ended = self._line.drop_ended(time.monotonic())
            try:
                shares = self._line.next_call()
            except Exception as error:  # it could not even be planned; the others can wait for the next call
                head = next(iter(self._line))
                self._line.remove(head)
                return [*ended, head.end(error)]
            self._under_way = tuple(shares)
            if self._metrics is not None:
                under_way = sum(share.row_passes for share in shares)
                self._metrics.queue(len(self._line) + len(shares), under_way + sum(job.left for job in self._line))
        if shares:
            ended += self._call(shares)
        self._under_way = ()
        if self._metrics is not None and not self.waits():
            self._metrics.queue(0, 0)  # No turn follows that would say so.
        return ended

    def _admit(self) -> None:
        with self._wake:
            while self._arrived:
                self._line.add(self._arrived.popleft())

    def _call(self, shares: list[Share]) -> list[Job]:
        """Make a call; one that fails is made again for each of its jobs alone, so that it takes nobody with it."""
        began, traced = time.perf_counter(), self._engine.model.graphs.traced
        try:
            failed = self._predict(shares) if isinstance(shares[0].job, PredictJob) else self._sample(shares)
        except Exception as error:
            if len(shares) == 1:
                return [shares[0].job.end(error)]
            return [job for share in shares for job in self._call([share])]
        self.calls += 1
        took_s = time.perf_counter() - began
        if self._engine.model.graphs.traced == traced:  # Tracing takes a second, and once: it says nothing of the next.
            self.costs.note(shares, took_s)
        if self._metrics is not None:
            held = sum(share.rows for share in shares) * max(share.passes for share in shares)
            self._metrics.called(held, len(shares), took_s)
        ended: list[Job] = []
        self._admit()  # Whoever came during the call goes before those that were served.
        for job in (share.job for share in shares):
            job.compute_s += took_s
            if job in failed:
                ended.append(job.end(failed[job]))
            elif job.left > 0:
                with self._wake:
                    self._line.add(job)
            else:
                ended.append(job.end())
        return ended

    def _predict(self, shares: Sequence[Share]) -> dict[Job, Exception]:
        jobs = [share.job for share in shares if isinstance(share.job, PredictJob)]
        parts = [job.next_rows(share.rows) for job, share in zip(jobs, shares, strict=True)]
        inputs = dict(parts[0])
        if len(parts) > 1:
            inputs = {name: np.concatenate([part[name] for part in parts]) for name in inputs}
        outputs = self._engine.model.predict(inputs)
        failed: dict[Job, Exception] = {}
        start = 0
        for job, share, part in zip(jobs, shares, parts, strict=True):
            try:
                frontier = None if job.ood is None else self._engine.model.prefix(part)
                job.take({name: array[start : start + share.rows] for name, array in outputs.items()}, frontier)
            except Exception as error:
                failed[job] = error
            start += share.rows
        return failed

    def _sample(self, shares: Sequence[Share]) -> dict[Job, Exception]:
        """Draw; jobs that could not take what was drawn, with why."""
        jobs = [share.job for share in shares if isinstance(share.job, SampleJob)]
        self._choose_seed([job.run for job in jobs])
        model = self._engine.model
        items = [job.run.batch_item(model, share.passes) for job, share in zip(jobs, shares, strict=True)]
        failed: dict[Job, Exception] = {}
        first = jobs[0].run
        drawn = model.draw(items, sampling=first.sampling, estimator=first.estimator)
        for job, part in zip(jobs, drawn, strict=True):
            before = job.run.drawn
            try:
                job.run.take(part)
            except Exception as error:
                failed[job] = error
            if self._metrics is not None:
                self._metrics.drew(job.run.drawn - before)
        return failed

    def _choose_seed(self, runs: Sequence[MonteCarloRun]) -> None:
        """One seed for all of a call that named none: it is as fresh as one for each, and cheaper."""
        unnamed = [run for run in runs if run.seed is None]
        if not unnamed:
            return
        ahead, first, noise = self._engine.ahead, runs[0], None
        alike = len(unnamed) == len(runs) and len({run.cap for run in runs}) == 1
        if ahead is not None and alike and all(map(ahead.serves, runs)):
            noise = ahead.take(first.cap if first.in_one_call else min(first.cap, BLOCK))
        seed = draw_seed() if noise is None else noise.seed
        for run in unnamed:
            run.seed, run.noise = seed, noise

    # While nothing waits

    def has_spare_work(self) -> bool:
        """Whether there is noise to be drawn ahead."""
        ahead = self._engine.ahead
        return ahead is not None and not self.background and ahead.wanted

    def do_spare_work(self) -> None:
        """Draw some of it, for about a millisecond. Whatever goes wrong, requests draw their own from then on."""
        ahead = self._engine.ahead
        if ahead is None:
            return
        try:
            ahead.fill()
        except Exception as error:
            self._engine.ahead = None
            log.warning("noise is no longer drawn ahead of requests: %s", error)
