"""What a process and its children take of the machine while they are measured: cores and memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import gevent
import psutil

__all__ = ["Usage", "Watch", "family", "listener"]

_EVERY_S = 0.5
_MIB = 1024 * 1024
_GONE = (psutil.NoSuchProcess, psutil.AccessDenied)


@dataclass(frozen=True)
class Usage:
    """Of one stretch of time: processor time by the second of it (1.0 is one core), and the most memory held."""

    cores: float
    memory_mib: float


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it started."""
    with suppress(*_GONE):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def listener(url: str) -> list[psutil.Process]:
    """The processes of this machine that listen where `url` points, with their children; none if it is elsewhere."""
    parts = urlsplit(url)
    if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        return []
    found: dict[int, psutil.Process] = {}
    with suppress(*_GONE):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == parts.port and connection.pid:
                found |= {process.pid: process for process in family(connection.pid)}
    return list(found.values())


class Watch:
    """Looks at processes now and then from `start` to `stop`."""

    def __init__(self, processes: Iterable[psutil.Process]) -> None:
        self._processes = list(processes)
        self._most = 0.0
        self._looking: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin."""
        self._began, self._spent = time.perf_counter(), self._processor_s()
        self._looking = gevent.spawn(self._look)

    def stop(self) -> Usage | None:
        """End; None where there is no process to look at."""
        if self._looking is not None:
            self._looking.kill()
        lasted = time.perf_counter() - self._began
        self._note_memory()
        if not self._processes or lasted <= 0:
            return None
        return Usage((self._processor_s() - self._spent) / lasted, self._most)

    def _look(self) -> None:
        while True:
            self._note_memory()
            gevent.sleep(_EVERY_S)

    def _note_memory(self) -> None:
        held = 0
        for process in self._processes:
            with suppress(*_GONE):
                held += process.memory_info().rss
        self._most = max(self._most, held / _MIB)

    def _processor_s(self) -> float:
        spent = 0.0
        for process in self._processes:
            with suppress(*_GONE):
                times = process.cpu_times()
                spent += times.user + times.system
        return spent
