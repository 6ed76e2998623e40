"""What a worker may hold for requests at the same time, in bytes: each part of a request takes before it allocates."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thinned.models.errors import MemoryLimitError, OverloadedError
from thinned.service.metrics import Metrics

__all__ = ["Hold", "MemoryBudget", "machine_memory"]

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_MIB = 1 << 20


class MemoryBudget:
    """Counts what requests hold, by kind. Used from one thread, that of the event loop.

    Args:
        limit: Bytes that all requests together may hold.
        metrics: What is told of them.
    """

    def __init__(self, limit: int, metrics: Metrics | None = None) -> None:
        self.limit = limit
        self._metrics = metrics
        self.held: Counter[str] = Counter()
        """Bytes by kind: bodies, inputs, passes, answers."""
        self.own_arriving = 0
        """Bodies that are on their way."""
        self._all = [self]
        self._used = [0]  # The sum of all that they hold, in one place: every request asks for it several times.

    def beside(self, metrics: Metrics) -> MemoryBudget:
        """The same budget for the requests of another model: what either holds is held of the limit."""
        other = MemoryBudget(self.limit, metrics)
        other._all, other._used = self._all, self._used
        self._all.append(other)
        return other

    def hold(self) -> Hold:
        """Nothing yet; to be released when its request has ended."""
        return Hold(self)

    def add(self, kind: str, size: int) -> None:
        """Count bytes of a kind that are taken, or given back where they are negative."""
        self.held[kind] += size
        self._used[0] += size
        if self._metrics is not None:
            self._metrics.memory(kind, self.held[kind])

    @property
    def total(self) -> int:
        """Bytes that are held, for requests of all models."""
        return self._used[0]

    @property
    def arriving(self) -> int:
        """Bodies that are on their way, for all models."""
        return sum(one.own_arriving for one in self._all)


class Hold:
    """What one request holds."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._held: Counter[str] = Counter()

    def take(self, kind: str, size: int) -> None:
        """Take bytes before they are allocated.

        Raises:
            MemoryLimitError: They are more than all requests together may hold.
            OverloadedError: They do not fit beside what others hold.
        """
        budget = self._budget
        if size > budget.limit:
            raise MemoryLimitError(
                f"the request needs about {size / _MIB:.0f} MiB for its {kind}, and all requests together may hold "
                f"{budget.limit / _MIB:.0f} MiB; send fewer rows, ask for fewer passes or leave return_samples out"
            )
        if budget.total + size > budget.limit:
            raise OverloadedError(
                f"the request needs about {size / _MIB:.0f} MiB for its {kind}, and others hold "
                f"{budget.total / _MIB:.0f} of {budget.limit / _MIB:.0f} MiB; try again soon"
            )
        budget.add(kind, size)
        self._held[kind] += size

    @contextmanager
    def arriving(self, most: int) -> Iterator[None]:
        """Count a body that is on its way.

        Raises:
            OverloadedError: As many are as may.
        """
        budget = self._budget
        if budget.arriving >= most:
            raise OverloadedError(
                f"{budget.arriving} bodies are on their way already, the most that may; try again soon"
            )
        budget.own_arriving += 1
        try:
            yield
        finally:
            budget.own_arriving -= 1

    def give(self, kind: str) -> None:
        """Give back what was taken of one kind."""
        if kind in self._held:
            self._budget.add(kind, -self._held.pop(kind))

    def release(self) -> None:
        """Give all back."""
        for kind in list(self._held):
            self.give(kind)


def machine_memory() -> int:
    """Bytes that this process may use: the container's limit where there is one, else the machine's memory."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _CGROUPS:
        try:
            limit = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if limit.isdecimal():
            return min(whole, int(limit))
    return whole
