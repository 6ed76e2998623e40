"""Joins requests that wait into one graph call, and gives each its own rows back.

One thread owns the engine. Requests wait in a ring. For every call the request at its head is taken, and with it those
behind that can share a graph call with it, until the call holds as many row-passes as the engine computes at once;
a request that needs more than one call then goes to the end of the ring. From this follows how fair it is: a request
that arrives waits for the call under way, and then for at most one call for each kind of request that was there before
it (deterministic; passes in one call; passes in several calls) as long as those that wait fit one call together. A
request of a million row-passes delays one of a hundred by the time of one call, never by its own length.

A single request is computed at once, without waiting for others: in the thread that received it where that takes less
than it costs to wake another, in the owner's otherwise.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from thinned.models.errors import ClientGoneError, DeadlineError, NotReadyError
from thinned.models.sampling import BLOCK, draw_seed
from thinned.service.inference.jobs import Job, PredictJob, SampleJob

if TYPE_CHECKING:
    from thinned.service.inference.engine import Engine

__all__ = ["Scheduler"]

log = logging.getLogger("bentoml.thinned")

AT_ONCE_S = 0.003
"""Calls known to be shorter are computed where they arrive. Nothing else that the thread does may wait longer."""
_MOST_WASTE = 2
"""Rows of a call all get its largest number of passes; it may hold so many times the row-passes that were asked for."""


class Scheduler:
    """Computes jobs with one engine. `submit` and `abandon` are called from one thread, that of the event loop.

    Args:
        engine: The loaded and checked model.
        soon: Has the event loop call a function in its next round.
        soon_from_elsewhere: The same, called from another thread.
        join: Whether requests may share graph calls.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        soon: Callable[[Callable[[], None]], object],
        soon_from_elsewhere: Callable[[Callable[[], None]], object],
        join: bool = True,
    ) -> None:
        self._engine = engine
        self._soon = soon
        self._soon_from_elsewhere = soon_from_elsewhere
        self._join = join
        self._arrived: deque[Job] = deque()
        self._ring: deque[Job] = deque()
        self._took_s: dict[tuple[Any, ...], float] = {}
        self._wake = threading.Condition()
        self._busy = False
        self._closed = False
        self._kicked = False
        self.calls = 0
        """Graph calls made for passes or deterministic answers."""
        self._thread = threading.Thread(target=self._work, name="thinned-compute", daemon=True)
        self._thread.start()

    # In the event loop

    def submit(self, job: Job) -> None:
        """Have a job computed; its `answered` is called when it is, or has failed."""
        with self._wake:
            self._arrived.append(job)
        if not self._kicked:
            self._kicked = True
            # In the next round, so that requests which arrived together are seen together.
            self._soon(self._kick)

    def abandon(self, job: Job) -> None:
        """Nobody waits for this job any longer: it takes no further call."""
        job.abandoned = True

    def close(self) -> None:
        """Stop after the call under way; jobs that wait end with `NotReadyError`."""
        with self._wake:
            self._closed = True
            self._wake.notify()

    def _kick(self) -> None:
        self._kicked = False
        with self._wake:
            arrived = list(self._arrived)
            at_once = not self._busy and len(arrived) == 1 and not self._ring and self._is_quick(arrived[0])
            if at_once:
                self._busy = True
            elif not self._busy:
                self._wake.notify()
        if at_once:
            ended = self._serve()
            self._rest()
            for job in ended:
                job.answered()
        else:
            for job in arrived:
                job.waiting()

    def _is_quick(self, job: Job) -> bool:
        count = 1
        if isinstance(job, SampleJob):
            if job.run.keeps_passes or not job.run.in_one_call:
                return False
            count = job.run.cap
        return self._took_s.get(self._size([job], job.rows, count), 1.0) < AT_ONCE_S

    # In the owner's thread, or in the event loop while the owner rests

    def _work(self) -> None:
        # Answers that are not finite are refused when they are written; NumPy need not warn of them in the log.
        np.seterr(over="ignore", invalid="ignore")
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or (not self._busy and (self._arrived or self._ring)))
                if self._closed:
                    break
                self._busy = True
            self._report(self._serve())
            self._rest()
        self._report([_failed(job, NotReadyError("the service is stopping")) for job in (*self._ring, *self._arrived)])

    def _rest(self) -> None:
        with self._wake:
            self._busy = False
            if self._ring or self._arrived:
                self._wake.notify()

    def _report(self, jobs: Sequence[Job]) -> None:
        def report() -> None:
            for job in jobs:
                job.answered()

        if jobs:
            with suppress(RuntimeError):  # The event loop has ended: nobody is left to be called.
                self._soon_from_elsewhere(report)

    def _serve(self) -> list[Job]:
        """Make one call; the jobs that it, or their deadline, has ended."""
        self._admit()
        ended = self._drop_late()
        if not self._ring:
            return ended
        head = self._ring[0]
        try:
            batch = self._select_batch(head)
        except Exception as error:  # It could not even be planned; the others in the ring can wait for the next call.
            self._ring.popleft()
            return [*ended, _failed(head, error)]
        return ended + (self._predict(batch) if isinstance(head, PredictJob) else self._sample(batch))

    def _admit(self) -> None:
        with self._wake:
            self._ring.extend(self._arrived)
            self._arrived.clear()

    def _drop_late(self) -> list[Job]:
        """Take out of the ring what nobody waits for, or will not be there in time."""
        now = time.monotonic()
        late = [job for job in self._ring if job.abandoned or job.deadline <= now]
        for job in late:
            self._ring.remove(job)
            _failed(job, ClientGoneError("the client has gone") if job.abandoned else DeadlineError("too late"))
        return late

    def _select_batch(self, head: Job) -> list[Job]:
        """The jobs of the next call, taken out of the ring: the head, and those behind that may share its call."""
        key = self._batch_key(head)
        rows, longest, useful = 0, 0, 0
        most = self._engine.row_passes
        share = max(1, most // max(1, sum(self._batch_key(job) == key for job in self._ring)))
        batch: list[Job] = []
        for job in self._ring:
            if self._batch_key(job) != key or (batch and not self._join):
                continue
            height, count = self._wanted(job, share)
            new_rows, new_longest, new_useful = rows + height, max(longest, count), useful + height * count
            work = new_rows * new_longest
            if batch and (work > most or work > _MOST_WASTE * new_useful):
                continue
            rows, longest, useful = new_rows, new_longest, new_useful
            batch.append(job)
        for job in batch:
            self._ring.remove(job)
        return batch

    def _batch_key(self, job: Job) -> tuple[Any, ...]:
        """Jobs with the same key may share a call."""
        if not isinstance(job, SampleJob):
            return ("predict", job.shapes)
        return ("whole" if job.run.in_one_call else "chunks", job.shapes, job.run.sampling)

    def _wanted(self, job: Job, share: int) -> tuple[int, int]:
        """Rows and passes of a job in a call in which it is to take `share` row-passes, where it can be cut."""
        if not isinstance(job, SampleJob) or job.run.item is None:
            return job.rows, 1
        item = job.run.item
        if item.whole:
            return item.rows, item.count
        blocks = max(1, share // item.rows // BLOCK)
        return item.rows, min(item.count, blocks * BLOCK)

    def _predict(self, jobs: Sequence[Job]) -> list[Job]:
        rows = [job.rows for job in jobs]
        inputs = dict(jobs[0].inputs)
        if len(jobs) > 1:
            inputs = {name: np.concatenate([job.inputs[name] for job in jobs]) for name in inputs}
        began = time.perf_counter()
        try:
            outputs = self._engine.model.predict(inputs)
        except Exception as error:
            if len(jobs) == 1:
                return [_failed(jobs[0], error)]
            return [ended for job in jobs for ended in self._predict([job])]
        self._note(jobs, self._size(jobs, sum(rows), 1), began)
        start = 0
        for job in jobs:
            if isinstance(job, PredictJob):
                job.outputs = {name: array[start : start + job.rows] for name, array in outputs.items()}
            start += job.rows
        return list(jobs)

    def _sample(self, jobs: Sequence[Job]) -> list[Job]:
        samples = [job for job in jobs if isinstance(job, SampleJob)]
        share = self._engine.row_passes // len(samples)
        self._choose_seeds(samples)
        counts = [self._wanted(job, share)[1] for job in samples]
        model = self._engine.model
        began = time.perf_counter()
        try:
            items = [job.run.batch_item(model, count) for job, count in zip(samples, counts, strict=True)]
            parts = model.draw(items, sampling=samples[0].run.sampling)
        except Exception as error:
            if len(samples) == 1:
                return [_failed(samples[0], error)]
            return [ended for job in samples for ended in self._sample([job])]
        self._note(jobs, self._size(jobs, sum(item.rows for item in items), max(counts)), began)
        return [ended for job, part in zip(samples, parts, strict=True) for ended in self._take(job, part)]

    def _take(self, job: SampleJob, part: Any) -> Iterable[Job]:
        try:
            job.run.take(part)
        except Exception as error:
            yield _failed(job, error)
            return
        if job.run.item is None:
            yield job
            return
        self._admit()  # Whoever came during the call goes before it.
        self._ring.append(job)

    def _choose_seeds(self, jobs: Sequence[SampleJob]) -> None:
        """One draw for all of a call that named no seed: it is as fresh as one for each, and cheaper."""
        seed = draw_seed()
        for job in jobs:
            if job.run.seed is None:
                job.run.seed = seed

    def _size(self, jobs: Sequence[Job], rows: int, count: int) -> tuple[Any, ...]:
        """Calls that take about as long."""
        return (*self._batch_key(jobs[0]), len(jobs) > 1, (rows * count).bit_length(), rows.bit_length())

    def _note(self, jobs: Sequence[Job], size: tuple[Any, ...], began: float) -> None:
        self.calls += 1
        took = time.perf_counter() - began
        for job in jobs:
            job.compute_s += took
        self._took_s[size] = 0.75 * self._took_s.get(size, took) + 0.25 * took


def _failed(job: Job, error: Exception) -> Job:
    job.error = error
    return job
