"""Which requests make up the next call: a plan without threads and without a clock of its own.

What holds after every step, and is tried step by step in tests/service/inference/test_waiting_line.py:

- A call holds no more row-passes than any of its jobs may have in a call, unless it is one share that cannot be cut.
- A job is in the line once, until it has ended; it ends once.
- A job that was abandoned, or whose time is up, is in no further call.
- The job at the head is in the next call. Whoever is served and wants more goes to the end. So a job waits for at most
  one call for each job that was there before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from thinned.models.errors import ClientGoneError, DeadlineError
from thinned.service.inference.call_costs import CallCosts
from thinned.service.inference.jobs import Job, Share

__all__ = ["WaitingLine"]

_MOST_WASTE = 2
"""Rows of a call all get its largest number of passes; it may hold so many times the row-passes that were asked for."""


class WaitingLine:
    """The jobs that wait, and the plan of the next call.

    Args:
        costs: What calls have taken.
        join: Whether jobs may share calls.
    """

    def __init__(self, costs: CallCosts, *, join: bool = True) -> None:
        self._costs = costs
        self._join = join
        self._line: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._line)

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self._line))

    def add(self, job: Job) -> None:
        """Put a job at the end, new or to be served further."""
        self._line.append(job)

    def remove(self, job: Job) -> None:
        """Take a job out, wherever it stands."""
        self._line.remove(job)

    def drop_ended(self, now: float) -> list[Job]:
        """Take out, and end, what nobody waits for or is too late."""
        dropped = [job for job in self._line if job.abandoned or job.deadline <= now]
        for job in dropped:
            self._line.remove(job)
            job.end(ClientGoneError("the client has gone") if job.abandoned else DeadlineError("too late"))
        return dropped

    def next_call(self) -> list[Share]:
        """Take out the jobs of the next call: the head of the line, and those behind it that may share its call."""
        if not self._line:
            return []
        head = self._line[0]
        alike = [head, *(job for job in self._others() if self._may_join(head, job))]
        most = self._costs.most(head.key, min(job.row_passes for job in alike))
        shares = list(_fitting(alike, most))
        for share in shares:
            self._line.remove(share.job)
        return shares

    def _others(self) -> Iterable[Job]:
        others = iter(self._line)
        next(others)
        return others

    def _may_join(self, head: Job, job: Job) -> bool:
        return self._join and job.key == head.key and self._costs.pays(head, job)


def _fitting(jobs: list[Job], most: int) -> Iterator[Share]:
    """Shares of a call of `most` row-passes: the first job's in any case, and of the others those that fit."""
    each = max(1, most // len(jobs))
    rows, longest, useful = 0, 0, 0
    for job in jobs:
        share = job.wants(each)
        new_rows, new_longest = rows + share.rows, max(longest, share.passes)
        new_useful = useful + share.row_passes
        if rows and new_rows * new_longest > min(most, _MOST_WASTE * new_useful):
            continue
        rows, longest, useful = new_rows, new_longest, new_useful
        yield share
