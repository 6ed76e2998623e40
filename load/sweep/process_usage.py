"""Processor time and memory of processes and their children while a cell is measured."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import gevent
import psutil

__all__ = ["ProcessMonitor", "ResourceUsage", "listening_processes", "process_tree"]

_INTERVAL_S = 0.5
_MIB = 1024 * 1024
_GONE = (psutil.NoSuchProcess, psutil.AccessDenied)


@dataclass(frozen=True)
class ResourceUsage:
    """Processor seconds per second (1.0 is one core) and the largest resident memory, over one measurement."""

    cores: float
    memory_mib: float


def process_tree(pid: int) -> list[psutil.Process]:
    """A process and all its descendants; empty if it does not exist."""
    with suppress(*_GONE):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def listening_processes(url: str) -> list[psutil.Process]:
    """Processes of this machine that listen on the port of `url`, with their descendants; empty for another host."""
    parts = urlsplit(url)
    if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        return []
    found: dict[int, psutil.Process] = {}
    with suppress(*_GONE):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == parts.port and connection.pid:
                found |= {process.pid: process for process in process_tree(connection.pid)}
    return list(found.values())


class ProcessMonitor:
    """Measures what processes use between `start` and `stop`; memory is sampled twice a second."""

    def __init__(self, processes: Iterable[psutil.Process]) -> None:
        self._processes = list(processes)
        self._peak_mib = 0.0
        self._sampling: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin."""
        self._began, self._processor_s_before = time.perf_counter(), self._processor_s()
        self._sampling = gevent.spawn(self._sample)

    def stop(self) -> ResourceUsage | None:
        """End and return the usage; None without processes."""
        if self._sampling is not None:
            self._sampling.kill()
        lasted = time.perf_counter() - self._began
        self._sample_memory()
        if not self._processes or lasted <= 0:
            return None
        return ResourceUsage((self._processor_s() - self._processor_s_before) / lasted, self._peak_mib)

    def _sample(self) -> None:
        while True:
            self._sample_memory()
            gevent.sleep(_INTERVAL_S)

    def _sample_memory(self) -> None:
        held = 0
        for process in self._processes:
            with suppress(*_GONE):
                held += process.memory_info().rss
        self._peak_mib = max(self._peak_mib, held / _MIB)

    def _processor_s(self) -> float:
        spent = 0.0
        for process in self._processes:
            with suppress(*_GONE):
                times = process.cpu_times()
                spent += times.user + times.system
        return spent
