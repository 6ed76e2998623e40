"""A worker whose event loop or compute thread stands still says that it is not ready, and ends."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.service.conftest import Served
from thinned.models.errors import NotReadyError
from thinned.service.http.watchdog import STATUS, Watchdog

Serve = Callable[..., Served]
ROWS = [[1.0, 2.0, 3.0]]


def ended(limit_s: float, stuck_s: Callable[[], float], *, beat: bool = False, within_s: float = 5) -> int | None:
    ends: queue.Queue[int] = queue.Queue()
    watchdog = Watchdog(limit_s, stuck_s, ends.put)
    if beat:
        watchdog.beat()
    watchdog.start()
    try:
        return ends.get(timeout=within_s)
    except queue.Empty:
        return None
    finally:
        watchdog.close()


def test_it_ends_what_stands_still_and_nothing_else() -> None:
    assert ended(0.2, lambda: 0.3) == STATUS
    assert ended(60, lambda: math.inf) == STATUS
    assert ended(0.2, lambda: 0.0, beat=True) == STATUS  # The loop turned once, and then never.
    assert ended(0.2, lambda: 0.1, within_s=0.6) is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_compute_thread_that_has_ended_is_seen(
    serve: Serve, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends it: an error outside of what is guarded, as when memory runs out between two calls."""
    broken = serve(models["classes"])
    assert broken.ask("POST", "/predict", json={"inputs": ROWS}).status_code == 200
    broken.manager.check_ready()
    scheduler: Any = broken.manager.served._scheduler

    def no_memory() -> None:
        raise MemoryError

    monkeypatch.setattr(scheduler, "_turn", no_memory)
    broken.begin("POST", "/predict_mc", json={"inputs": ROWS, "n_samples": 300, "timeout_ms": 2000})
    scheduler.thread._thread.join(10)
    assert not scheduler.thread._thread.is_alive()
    assert broken.manager.stuck_s() == math.inf
    assert not broken.manager.is_ready()
    with pytest.raises(NotReadyError, match="has ended"):
        broken.manager.check_ready()


def test_a_call_that_takes_far_too_long_is_seen(
    serve: Serve, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = serve(models["classes"])
    assert slow.ask("POST", "/predict_mc", json={"inputs": ROWS, "n_samples": 300}).status_code == 200
    began, go = threading.Event(), threading.Event()
    real = slow.manager.engine.model.draw

    def waits(*arguments: Any, **named: Any) -> Any:
        began.set()
        assert go.wait(30)
        return real(*arguments, **named)

    monkeypatch.setattr(slow.manager.engine.model, "draw", waits)
    monkeypatch.setattr("thinned.service.inference.model_manager.LATE_S", 1.0)
    # What is known of calls holds the time that the first one took to be traced.
    monkeypatch.setattr(slow.manager.served._scheduler.costs, "seconds", lambda _: 0.01)
    asked = slow.begin("POST", "/predict_mc", json={"inputs": ROWS, "n_samples": 300})
    assert began.wait(10)
    assert slow.manager.is_ready()
    time.sleep(2)
    assert not slow.manager.is_ready()
    go.set()
    assert asked.result(30).status_code == 200
    time.sleep(1)  # The thread turns twice a second.
    assert slow.manager.is_ready()
