"""Start a contender, say what memory its processes take, and end all of them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from thinned.loadtest.benchmarks.rivals.contenders import Contender
from thinned.loadtest.service_process import Service, free_port, python_path, serving
from thinned.models.storage.stored_model import MODEL_FILE, StoredModel

__all__ = ["Memory", "memory_of", "running"]

START_WITHIN_S = 120.0
END_WITHIN_S = 5.0


@dataclass(frozen=True)
class Memory:
    """Of a process and all that it started, in MiB.

    Attributes:
        resident: The sum of what each has in memory; what several share counts several times.
        proportional: The same, in which a page that n processes share counts 1 / n for each; None where the system
            does not tell.
        processes: How many they are.
    """

    resident: float
    proportional: float | None
    processes: int


def memory_of(pid: int) -> Memory:
    """Memory of a process and its descendants; those that end meanwhile are left out."""
    resident, proportional, count = 0, 0, 0
    known = True
    for process in _tree(pid):
        with suppress(psutil.NoSuchProcess):
            resident += process.memory_info().rss
            count += 1
            try:
                proportional += process.memory_full_info().pss
            except (psutil.AccessDenied, AttributeError):
                known = False
    return Memory(resident / 2**20, proportional / 2**20 if known else None, count)


@contextmanager
def running(contender: Contender, python: Path, stored: StoredModel) -> Iterator[Service]:
    """Run a contender on a free loopback port until the block ends.

    Args:
        contender: Ours is `thinned serve`.
        python: Of the rival's environment.
        stored: The model that ours serves, and whose file a rival loads.

    Raises:
        ServiceDidNotStartError: It ended, or was not ready in time.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="rival-", ignore_cleanup_errors=True) as folder:
        if contender.rival == "thinned":
            command = [sys.executable, "-P", "-m", "thinned", "serve", stored.tag, "--port", str(port)]
            variables = {"PYTHONPATH": python_path()}
        else:
            command, variables = contender.command(python, port, Path(folder), stored.path / MODEL_FILE)
        started: Sequence[psutil.Process] = ()
        try:
            with serving(
                command,
                port,
                variables,
                cwd=Path(folder),
                ready_within_s=START_WITHIN_S,
                ready_path=contender.asked.ready_path,
            ) as service:
                try:
                    yield service
                finally:
                    started = _tree(service.pid)
        finally:
            _end(started)


def _tree(pid: int) -> Sequence[psutil.Process]:
    try:
        leader = psutil.Process(pid)
        return (leader, *leader.children(recursive=True))
    except psutil.NoSuchProcess:
        return ()


def _end(processes: Sequence[psutil.Process]) -> None:
    """End those that are still there: of another session, the signal to the group of the first does not reach them."""
    there = [process for process in processes if process.is_running()]
    for process in there:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, there = psutil.wait_procs(there, timeout=END_WITHIN_S)
    for process in there:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(there, timeout=END_WITHIN_S)
