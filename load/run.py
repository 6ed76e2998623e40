"""`make load`: a service of its own, Locust on it for 30 seconds, and a table of what came of it.

The four kinds of user take turns, so that each row of the table is the service's speed at one sample count, and not
at a mixture of them.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gevent
import numpy as np
from locust.env import Environment
from locust.log import setup_logging
from rich import box
from rich.console import Console
from rich.table import Table

from load import locustfile
from load.serving import ServiceDidNotStartError, free_port, serving

__all__ = ["Measured", "main", "measure"]

OK, FAILED, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130


@dataclass
class Measured:
    """What came of one kind of request."""

    name: str
    n_samples: int
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """Answered rightly or not."""
        return len(self.latencies_ms) + sum(self.failures.values())


def measure(user: type[locustfile.ServiceUser], url: str, *, users: int, seconds: float) -> Measured:
    """Runs `users` users of one kind at once, and keeps each latency, since Locust rounds its own to 1 ms."""
    measured = Measured(user.label, user.n_samples)
    environment = Environment(user_classes=[user], host=url)
    runner = environment.create_local_runner()

    def note(response_time: float, exception: BaseException | None, **_: Any) -> None:
        if exception is None:
            measured.latencies_ms.append(response_time)
        else:
            measured.failures[str(exception)] = measured.failures.get(str(exception), 0) + 1

    try:
        # The first request of a kind may find the service still tracing its graph: it is not counted.
        runner.start(1, spawn_rate=1)
        _wait_for_first(environment)
        environment.events.request.add_listener(note)
        start = time.perf_counter()
        runner.start(users, spawn_rate=max(users, 1))
        gevent.sleep(seconds)
        measured.seconds = time.perf_counter() - start
    finally:
        runner.quit()
    return measured


def _wait_for_first(environment: Environment, within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while environment.stats.total.num_requests == 0 and time.monotonic() < end:
        gevent.sleep(0.02)


def table(results: Sequence[Measured], caption: str) -> Table:
    """The results as a person reads them."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), caption=caption, caption_justify="left")
    drawn.add_column("request", no_wrap=True)
    for heading in ("count", "failed", "p50 ms", "p95 ms", "p99 ms", "per s", "passes/s"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        rate = len(result.latencies_ms) / result.seconds if result.seconds else 0.0
        latencies = result.latencies_ms or [float("nan")]
        drawn.add_row(
            result.name.removeprefix("POST "),
            f"{result.requests:,}",
            f"{sum(result.failures.values()):,}",
            *(f"{value:.1f}" for value in np.percentile(latencies, [50, 95, 99])),
            f"{rate:,.1f}",
            f"{rate * result.n_samples:,.0f}" if result.n_samples else "",
        )
    return drawn


@contextmanager
def _service(arguments: argparse.Namespace, console: Console) -> Iterator[str]:
    if arguments.url:
        yield arguments.url.rstrip("/")
        return
    console.print("Starting a service (and training its model, if the store has none) ...")
    port = free_port()
    named = [arguments.model] if arguments.model else []
    command = [sys.executable, "-m", "service.cli", "serve", *named, "--port", str(port)]
    with serving(command, port) as service:
        yield service.url


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m load.run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", help="a stored model to serve (default: digits, trained if the store has none)")
    parser.add_argument("--url", help="a service that runs already, instead of one of its own")
    parser.add_argument("--seconds", type=float, default=30.0, help="in all, shared by the four kinds (default 30)")
    parser.add_argument("--users", type=int, default=4, help="users at once (default 4)")
    parser.add_argument("--rows", type=int, default=1, help="rows in each request (default 1)")
    arguments = parser.parse_args(given)
    if arguments.seconds <= 0 or arguments.users < 1 or arguments.rows < 1:
        parser.error("expected --seconds above 0, and --users and --rows of 1 or more")
    return arguments


def _end_here_on_signals() -> None:
    """Has Ctrl-C and SIGTERM end this greenlet, and so stop the service; they would hit whichever happens to run."""
    here = gevent.getcurrent()
    gevent.signal_handler(signal.SIGINT, here.throw, KeyboardInterrupt)
    gevent.signal_handler(signal.SIGTERM, here.throw, SystemExit(128 + signal.SIGTERM))


def main(given: Sequence[str] | None = None) -> int:
    """Runs the load and prints the table.

    Returns:
        0 when every answer was right, 1 when some failed, 2 when it could not run, 130 when it was interrupted.
    """
    arguments = _arguments(given)
    console, errors = Console(), Console(stderr=True)
    setup_logging("ERROR")
    _end_here_on_signals()
    try:
        with _service(arguments, console) as url:
            card = locustfile.fetch_card(url)
            each = arguments.seconds / len(locustfile.USERS)
            locustfile.ServiceUser.rows = arguments.rows
            caption = f"{card['name']}, {arguments.rows} row(s) a request, {arguments.users} user(s), {each:g} s each"
            results = []
            for user in locustfile.USERS:
                console.print(f"{user.label} ...")
                results.append(measure(user, url, users=arguments.users, seconds=each))
    except KeyboardInterrupt:
        errors.print("Interrupted; everything that was started has been stopped.")
        return INTERRUPTED
    except (ServiceDidNotStartError, OSError, ValueError, KeyError) as error:
        errors.print(f"The load could not run: {error!s}", markup=False)
        return COULD_NOT_RUN
    console.print(table(results, caption))
    for result in results:
        for text, count in result.failures.items():
            errors.print(f"{result.name}: {count} x {text}", markup=False)
    if any(not result.requests for result in results):
        errors.print("The load could not run: no answer came to some kind of request.")
        return COULD_NOT_RUN
    return FAILED if any(result.failures for result in results) else OK


if __name__ == "__main__":
    sys.exit(main())
