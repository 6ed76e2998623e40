"""The service, with an engine that runs out of memory once, whenever the file named by FAIL_WHEN is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from thinned.service.app import UncertaintyService
from thinned.service.inference.jobs import PredictJob
from thinned.service.inference.scheduler import Scheduler

__all__ = ["UncertaintyService"]

_mark = Path(os.environ["FAIL_WHEN"])


def _fails_once(real: Any) -> Any:
    def method(*arguments: Any) -> Any:
        if _mark.exists():
            _mark.unlink()
            raise MemoryError
        return real(*arguments)

    return method


# Where rows of several requests are put together for a deterministic call, and where a call for passes begins.
PredictJob.next_rows = _fails_once(PredictJob.next_rows)  # type: ignore[method-assign]
Scheduler._sample = _fails_once(Scheduler._sample)  # type: ignore[method-assign]
