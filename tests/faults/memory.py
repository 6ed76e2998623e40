"""What a worker takes at its peak: for one long row, and when an allocation fails."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults.connection import ask, post
from tests.faults.figures import Figure, Options, at_most
from tests.faults.health import peak_mib
from tests.faults.models import attention_row, small_rows
from tests.serving import Service, start_service

__all__ = ["FAILING", "failed_allocation", "failed_allocation_of", "peaks"]

BUDGET_MIB = 2048


def peaks(options: Options) -> Iterator[Figure]:
    """One row of a length that the model leaves open, with many passes, against the worker's budget."""
    lengths = ((1024, 32),) if options.short else ((2048, 32), (4000, 100))
    for length, passes in lengths:
        with start_service("attention", {"THINNED_MEMORY_MIB": str(BUDGET_MIB)}) as service:
            before = peak_mib(service.pid)
            body = post("/predict_mc", {"inputs": attention_row(length), "n_samples": passes, "timeout_ms": 300_000})
            answer = asyncio.run(ask(service.port, body))
            used = peak_mib(service.pid) - before
            again = asyncio.run(ask(service.port, post("/predict", {"inputs": attention_row(8)})))
        what = f"a row of {length} positions through two heads of attention, {passes} passes"
        yield at_most(f"{what}, answered {answer.status}: peak beyond the model", used, BUDGET_MIB, "MiB")
        told = answer.status == 200 or (answer.status == 413 and b"MiB" in answer.body)
        yield Figure("it is answered, or refused with the figure", str(answer.status), "200 or 413", told)
        yield Figure("the next request", str(again.status), "200", again.status == 200)


FAILING = "tests.faults.failing_service:UncertaintyService"


def failed_allocation(_: Options) -> Iterator[Figure]:
    """`MemoryError` while the rows of a call are put together."""
    with tempfile.TemporaryDirectory() as folder:
        mark = Path(folder) / "fail"
        with start_service("small", {"FAIL_WHEN": str(mark)}, target=FAILING) as service:
            yield from failed_allocation_of(service, mark)


def failed_allocation_of(service: Service, mark: Path) -> Iterator[Figure]:
    """The same of a service that runs, and fails when it finds this file."""
    for path in ("/predict", "/predict_mc"):
        body = post(path, {"inputs": small_rows(2)})
        mark.touch()
        failed = asyncio.run(ask(service.port, body))
        next_one = asyncio.run(ask(service.port, body))
        ready = asyncio.run(ask(service.port, b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n"))
        statuses = (failed.status, next_one.status, ready.status)
        what = f"{path}: an allocation fails, the next request, /readyz"
        logged = "MemoryError" in service.log()
        yield Figure(what, str(statuses), "(500, 200, 200)", statuses == (500, 200, 200) and logged)
        shown = b"MemoryError" in failed.body or b"Traceback" in failed.body
        yield Figure("what failed is told to the client", str(shown), "False", not shown)
