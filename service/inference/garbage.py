"""When Python's garbage collector looks at a worker: not at what stays for good, and not once for each request.

Nearly all that a request leaves is freed as soon as nothing refers to it. The collector is for what refers to itself;
it begins whenever there are some hundred lists and objects more than before, and Python stands still for it.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["keep", "look_again", "look_seldom", "no_look"]

_OBJECTS = 50_000
"""Python's own 700 is less than the rows of one picture of 28 x 28 in JSON, and made a look for every such request: a
quarter of what the event loop did. What a connection leaves that refers to itself is 25 objects of some kB together."""


def look_seldom() -> None:
    """Have the collector begin after so many objects that no single request brings it about."""
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])


def keep(*, look: bool = True) -> None:
    """What there is stays for good: the graphs of a model would be walked again and again, 100 ms each time.

    Args:
        look: Whether to free first what nothing uses, which holds up requests that are under way.
    """
    if look:
        gc.collect()
    gc.freeze()


def look_again() -> None:
    """Some of what was kept has been let go: free it, and keep the rest."""
    gc.unfreeze()
    keep()


_resting, _lock = 0, threading.Lock()


@contextmanager
def no_look() -> Iterator[None]:
    """No garbage collection meanwhile: JSON makes no cycles, and its millions of lists would be walked again and again.

    All of Python stands still for it: with 5 million lists 2.6 s instead of 0.5.
    """
    global _resting
    with _lock:
        _resting += 1
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            _resting -= 1
            if not _resting:
                gc.enable()
