"""Two replicas behind nginx by the commands of docs/replicas.md: one killed and one drained under load."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.deploy.nginx import NGINX, Balancer, balanced
from tests.faults.clients import Clients, Told
from tests.faults.figures import Figure, Options, at_least, at_most, quantile
from tests.serving import ROOT, free_port
from tests.test_readme import bash, blocks, path_with_thinned

__all__ = ["replicas"]

PAGE = ROOT / "docs" / "replicas.md"
MODEL = "cnn"
ROUNDING = 1e-5
CLIENTS = 6


class Replica:
    """One service on a port of its own, started, drained and killed as the page says."""

    def __init__(self, tag: str, folder: Path, path: str) -> None:
        self.port = free_port()
        self._tag, self._folder, self._path = tag, folder, path

    @property
    def pid(self) -> int:
        """Of the first process, whose group all others belong to."""
        return int((self._folder / f"{self.port}.pid").read_text())

    def start(self) -> None:
        """Have it started; it is ready later."""
        self._run(0)

    def wait(self) -> None:
        """Wait until it is ready."""
        self._run(1)

    def drain(self) -> int:
        """Have it drained; the status that it ended with."""
        pid = self.pid
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(_reaped, pid)
            self._run(2)
            return ended.result()

    def kill(self) -> None:
        """End all its processes without a word."""
        os.killpg(self.pid, signal.SIGKILL)
        _reaped(self.pid)

    def _run(self, number: int) -> None:
        """Run a block of the page."""
        text = blocks(PAGE.read_text())[number].text
        bash(text.replace("3001", str(self.port)).replace("house:VERSION", self._tag), self._folder, self._path)


def _reaped(pid: int) -> int:
    """Wait for a process that a shell has left behind; its status. It is ours by `_adopt`, or nobody's."""
    with suppress(ChildProcessError):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return 0


def _adopt() -> None:
    """Become the parent of what the shells leave behind: the first process of a container may leave it a zombie."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def replicas(options: Options) -> Iterator[Figure]:
    """A replica killed and one drained, each started again, while clients ask both through nginx."""
    if NGINX is None:
        yield Figure("left out", "nginx is not installed", "apt-get install nginx-light", True)
        return
    from thinned.models.storage import model_store

    tag = model_store.find(MODEL).tag
    _adopt()
    with tempfile.TemporaryDirectory(prefix="thinned-replicas-") as name:
        folder = Path(name)
        with _running(tag, folder) as both, balanced(folder, [one.port for one in both]) as balancer:
            yield from _under_load(both, balancer, 3.0 if options.short else 20.0)


@contextmanager
def _running(tag: str, folder: Path) -> Iterator[list[Replica]]:
    path = path_with_thinned(folder)
    both = [Replica(tag, folder, path) for _ in range(2)]
    try:
        for one in both:
            one.start()
        for one in both:
            one.wait()
        yield both
    finally:
        for one in both:
            with suppress(OSError, ValueError):  # never started, or ended already
                one.kill()


def _under_load(both: Sequence[Replica], balancer: Balancer, pause_s: float) -> Iterator[Figure]:
    requests = _requests()
    for one in both:  # the first of its kind traces its graph
        _bodies(one.port, requests)
    before = [_bodies(port, requests) for port in (both[0].port, both[1].port, balancer.port)]
    with Clients(balancer.port, requests, CLIENTS) as clients:
        time.sleep(pause_s)
        killed_at = time.perf_counter()
        both[0].kill()
        both[0].start()
        both[0].wait()
        back_s = time.perf_counter() - killed_at
        time.sleep(max(pause_s, 6.0))  # nginx tries it again after 5 s
        status = both[1].drain()
        both[1].start()
        both[1].wait()
        time.sleep(max(pause_s, 6.0))
        since = len(balancer.log())
        time.sleep(pause_s)
    lines = balancer.log()
    after = [_bodies(port, requests) for port in (both[0].port, both[1].port, balancer.port)]
    yield from _told(clients.told, before[0])
    same = len({body for port in (*before, *after) for body in port}) == len(requests)
    what = f"{len(requests)} requests with a seed, alone: the same bytes from both and through nginx, before and after"
    yield Figure(what, str(same), "True", same)
    yield from _replayed(clients.told, balancer.port)
    yield Figure("the drained one ended with status", str(status), "0", status == 0)
    moved = sum(len(line.asked) > 1 for line in lines)
    yield at_least(f"asked of the other replica, of {len(lines)}", moved, 1)
    share = Counter(line.asked[-1] for line in lines[since:])
    least = 100 * min(share[one.port] for one in both) / max(1, share.total())
    yield at_least("the smaller share of the two, once both are back", least, 25, "%")
    took = [told.took_s for told in clients.told]
    yield at_most(f"p99 of all, killed one back after {back_s:.1f} s", 1e3 * quantile(took, 0.99), 1000, "ms")
    # One request every 5 s stands in line at a replica that starts, until it can refuse.
    yield at_most("the slowest answer", 1e3 * max(took), 10_000, "ms")


def _requests() -> list[dict[str, Any]]:
    """Of several sizes, each with a seed."""
    drawn = random.Random(7)

    def row() -> list[Any]:
        return [[[round(drawn.random(), 2)] for _ in range(28)] for _ in range(28)]

    kinds = [(rows, passes) for rows in (1, 2, 4) for passes in (10, 32, 100)]
    return [{"inputs": [row() for _ in range(r)], "n_samples": n, "seed": 100 + r + n} for r, n in kinds]


def _bodies(port: int, requests: Sequence[dict[str, Any]]) -> list[bytes]:
    """The answers to requests that are asked one after the other, and so computed alone."""
    with httpx.Client(timeout=60) as client:
        answers = [client.post(f"http://127.0.0.1:{port}/predict_mc", json=request) for request in requests]
    return [answer.raise_for_status().content for answer in answers]


def _told(told: Sequence[Told], expected: Sequence[bytes]) -> Iterator[Figure]:
    seeded = [one for one in told if one.status == 200 and one.seeded]
    exact = sum(one.body == expected[one.number] for one in seeded)
    differences = [_difference(one.body, expected[one.number]) for one in seeded]
    wrong = sum(not difference <= ROUNDING for difference in differences)
    what = f"{len(told)} requests; {len(seeded)} answers with a seed of theirs, {exact} to the last bit, all within"
    yield Figure(f"{what} {max(differences):.1g}: wrong", str(wrong), "0", wrong == 0 and len(seeded) > 0)
    failed = Counter(one.status for one in told if one.status != 200)
    yield Figure("not answered 200", f"{failed.total()} {dict(failed) or ''}".strip(), "0", not failed)


def _replayed(told: Sequence[Told], port: int) -> Iterator[Figure]:
    """Requests without a seed: the one that the answer names gives the answer again."""
    drawn = [one for one in told if one.status == 200 and not one.seeded]
    sample = random.Random(1).sample(drawn, min(40, len(drawn)))
    requests = [one.request | {"seed": one.json()["seed"]} for one in sample]
    again = _bodies(port, requests)
    worst = max(_difference(one.body, body) for one, body in zip(sample, again, strict=True))
    yield at_most(f"{len(sample)} of {len(drawn)} without a seed, asked again with the one they name", worst, ROUNDING)


def _difference(one: bytes, other: bytes) -> float:
    """The largest between the numbers of two answers; infinite where anything else differs."""
    a, b = (httpx.Response(200, content=body).json() for body in (one, other))
    numbers = [(a.pop(name), b.pop(name)) for name in ("mean", "variance", "standard_error")]
    numbers += [(a.pop(name), b.pop(name)) for name in list(a) if name.endswith(("entropy", "information"))]
    if a != b:
        return float("inf")
    return max(float(np.abs(np.subtract(x, y)).max()) for x, y in numbers)
