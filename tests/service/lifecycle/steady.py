"""A client that asks all the time and comes again where it is refused, as one behind a balancer does."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

__all__ = ["Steady", "steady"]

# One row of digits.
BODY: Mapping[str, Any] = {"inputs": [[[[float(i * j % 16)] for i in range(8)] for j in range(8)]], "seed": 5}


class Steady:
    """What a steady client was answered."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()
        """By the version of the model and the mean that it gave, to four places."""
        self.lost: list[str] = []
        """What became of the requests that were neither answered nor refused before they were sent."""
        self.refused = 0
        """Connections that were refused; each was tried again."""

    @property
    def versions(self) -> set[str]:
        """The versions that answered."""
        return {version for version, _ in self.answers}


@contextmanager
def steady(url: str, *, path: str = "/predict_mc", every_s: float = 0.01, clients: int = 2) -> Iterator[Steady]:
    """Ask from several threads until the block ends; each keeps its connection as long as the service does."""
    seen, ends = Steady(), threading.Event()
    threads = [threading.Thread(target=_ask, args=(url + path, seen, ends, every_s)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ends.set()
        for thread in threads:
            thread.join(60)


def _ask(url: str, seen: Steady, ends: threading.Event, every_s: float) -> None:
    with httpx.Client(timeout=60) as client:
        while not ends.is_set():
            try:
                answer = client.post(url, json=BODY)
            except httpx.ConnectError:
                seen.refused += 1
            except httpx.HTTPError as error:
                seen.lost.append(repr(error))
            else:
                if answer.status_code == 200:
                    told = answer.json()
                    # Calls of other sizes add up in another order: the last digits differ.
                    mean = " ".join(f"{number:.4f}" for number in told["mean"][0])
                    seen.answers[told["model"]["version"], mean] += 1
                elif answer.status_code != 503:  # Loading: it comes again.
                    seen.lost.append(answer.text)
            time.sleep(every_s)
