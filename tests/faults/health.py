"""Watches `/livez` from a process of its own, so that what a trial does delays the service and not the watch.

`python -m tests.faults.health PORT` asks every 10 ms until its input ends, and prints how long each answer took.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.faults.figures import quantile

__all__ = ["Health", "peak_mib", "resident_mib"]

EVERY_S = 0.01
GET = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"


class Health:
    """Watches while the block runs; then `took_s` has the seconds of every answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.took_s: list[float] = []

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.faults.health", str(self._port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # It has begun.
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        out, _ = self._process.communicate(timeout=120)
        if kind is None:
            self.took_s = json.loads(out)

    @property
    def worst_ms(self) -> float:
        """Of the slowest answer."""
        return 1e3 * max(self.took_s)

    @property
    def p99_ms(self) -> float:
        """99 of 100 answers took no longer."""
        return 1e3 * quantile(self.took_s, 0.99)


def resident_mib(pid: int) -> float:
    """Memory that a process and its children hold now."""
    return sum(process.memory_info().rss for process in _family(pid)) / 2**20


def peak_mib(pid: int) -> float:
    """The most that the largest process among this one and its children has held."""
    peaks = [Path(f"/proc/{process.pid}/status").read_text() for process in _family(pid)]
    return max(int(text.partition("VmHWM:")[2].split()[0]) for text in peaks) / 1024


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _watch(port: int) -> list[float]:
    took_s: list[float] = []
    connection: socket.socket | None = None
    print("begun", flush=True)
    while not select.select([sys.stdin], [], [], EVERY_S)[0]:
        began = time.perf_counter()
        try:
            if connection is None:
                connection = socket.create_connection(("127.0.0.1", port), timeout=100)
            connection.sendall(GET)
            if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
                raise OSError("no answer")
        except OSError:  # It was closed between two requests, or to make room: the time of the next one counts as well.
            connection = None
            if time.perf_counter() - began < EVERY_S:
                continue
        took_s.append(time.perf_counter() - began)
    return took_s


if __name__ == "__main__":
    print(json.dumps(_watch(int(sys.argv[1]))))
