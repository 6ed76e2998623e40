"""How many threads TensorFlow computes with in one worker process."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

__all__ = ["give_way", "set_threads", "threads_for"]

_VARIABLE = "TF_NUM_INTRAOP_THREADS"
NICENESS = 5
"""Of the threads that compute. With 10 the event loop took so much that at four times the load less was computed."""


def threads_for(workers: int) -> int:
    """Threads for each of so many worker processes on this machine.

    All cores, shared fairly: joined calls of a network of any size are bound by arithmetic, and two threads made those
    of a small convolutional network 1.6 times as fast on two cores. A single row of a very small network is answered
    sooner by one thread, which wakes no other; an operator who serves nothing else may set one.
    """
    return max(1, _cores() // max(1, workers))


def set_threads(count: int) -> None:
    """Have TensorFlow, which must not have been imported yet, compute with so many threads.

    Args:
        count: 1 or more; 0 for what suits one worker on this machine. TensorFlow's own variable comes first.
    """
    os.environ.setdefault(_VARIABLE, str(count or threads_for(1)))


def give_way() -> None:
    """Have this thread, and those that it starts from now on, compute only where the event loop leaves time.

    Else a machine whose cores all compute would let refusals and health wait for their turn like everything else.
    """
    if sys.platform == "linux":  # Elsewhere priorities are those of processes.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Not on this system.
        return os.cpu_count() or 1
