"""The thread that computes for all models: when it counts as late."""

from __future__ import annotations

import time

from thinned.service.inference.compute_thread import ComputeThread


class Idle:
    """A line in which nothing waits."""

    background = False

    def waits(self) -> bool:
        return False

    def expected_s(self) -> float:
        return 0.0

    def left_s(self) -> float:
        return 0.0

    def work(self) -> None:
        """There is nothing to do."""

    def end(self) -> None:
        """Nobody is to be told."""

    def has_spare_work(self) -> bool:
        return False

    def do_spare_work(self) -> None:
        """There is none."""


def test_a_thread_that_has_just_begun_is_not_late_since_its_model_was_loaded() -> None:
    """A first request is computed while the thread waits to begin; /readyz then said that it was late."""
    thread, line = ComputeThread(), Idle()
    thread.beat = time.monotonic() - 100  # a model that took so long to load
    with thread.wake:  # It cannot turn before this is let go.
        thread.add(line)
        assert thread.stuck_s() < 10
    thread.remove(line)
