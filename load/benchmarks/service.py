"""`make bench-service`: what the HTTP path costs, and what joining requests gains, side by side in one run.

Services of its own on free loopback ports, over a model store of its own, asked by `http_client`. Rounds alternate
between what is compared, so that drift of the machine hits all alike. Nothing but what it started is ended.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from thinned import HOME
from thinned.loadtest.benchmarks.http_client import Client, Times, drive, request
from thinned.loadtest.machine import describe
from thinned.loadtest.service_process import Service, free_port, serving

CLIENTS = 16
STEADY_CALLS = 6000

_BUILD = "import sys; from thinned.loadtest.benchmarks.networks import NETWORKS; NETWORKS['cnn']().save(sys.argv[1])"
_ECHO = """
import bentoml

@bentoml.service
class Echo:
    @bentoml.api
    async def echo(self, inputs: list) -> list:
        return inputs
"""


class Bench:
    """The services and the figures, gathered step by step.

    Args:
        quick: A tenth of the time; enough to see that all works.
        tick: Told after each step.
    """

    def __init__(self, *, quick: bool, tick: Callable[[str], None]) -> None:
        self._quick = quick
        self._tick = tick
        self.figures: dict[str, float] = {}

    def run(self) -> None:
        """Measure everything."""
        with tempfile.TemporaryDirectory(prefix="thinned-bench-") as folder, _variables(BENTOML_HOME=folder):
            self._tick("making the models")
            self._make_models(Path(folder))
            with ExitStack() as stack:
                self._tick("starting the services")
                joined = stack.enter_context(_serve("cnn"))
                alone = stack.enter_context(_serve("cnn", THINNED_JOIN="0"))
                self._join(joined, alone)
                self._replay(joined, alone)
            with ExitStack() as stack:
                self._tick("starting the services")
                digits = stack.enter_context(_serve("digits"))
                echo = stack.enter_context(_serve_echo(Path(folder)))
                self._single_client(digits, echo)
                self._steady(digits)
                self._memory(digits)

    def _make_models(self, folder: Path) -> None:
        path = folder / "cnn.keras"
        _run("-c", _BUILD, str(path))
        _run("-m", "thinned", "import", str(path), "--task", "classification", "--name", "cnn")
        _run("-m", "thinned", "train", "digits")

    def _join(self, joined: Service, alone: Service) -> None:
        """Many clients at N = 30, with and without joining."""
        rounds, seconds = (2, 3.0) if self._quick else (6, 10.0)
        bodies = [_body(28, i, n_samples=30) for i in range(64)]
        requests = [request("/predict_mc", body) for body in bodies]
        seen: dict[str, list[Times]] = {"joined": [], "alone": []}
        for service in (joined, alone):
            drive(service.port, requests, clients=CLIENTS, seconds=1.0)
        for number in range(rounds):
            for name, service in (("joined", joined), ("alone", alone)):
                self._tick(f"{CLIENTS} clients, {name}, round {number + 1} of {rounds}")
                seen[name].append(drive(service.port, requests, clients=CLIENTS, seconds=seconds))
        for name, runs in seen.items():
            merged = _merge(runs)
            self.figures[f"{name}_per_second"] = merged.per_second
            self.figures[f"{name}_p50_ms"] = merged.quantile_ms(0.5)
            self.figures[f"{name}_p99_ms"] = merged.quantile_ms(0.99)
            self.figures[f"{name}_failed"] = merged.failed
        self.figures["joined_over_alone"] = self.figures["joined_per_second"] / self.figures["alone_per_second"]
        self.figures["joined_p99_over_p50"] = self.figures["joined_p99_ms"] / self.figures["joined_p50_ms"]

    def _replay(self, joined: Service, alone: Service) -> None:
        """How far the same request differs when it is answered in company and alone, relative to the largest number."""
        self._tick("replaying answers")
        requests = [request("/predict_mc", _body(28, i, n_samples=30 + 7 * i, seed=i)) for i in range(CLIENTS)]
        together = _all_at_once(joined.port, requests)
        with Client(alone.port) as client:
            apart = [json.loads(client.ask(whole).body) for whole in requests]
        worst = 0.0
        for one, other in zip(together, apart, strict=True):
            for name in ("mean", "variance", "standard_error"):
                for a, b in zip(one[name][0], other[name][0], strict=True):
                    worst = max(worst, abs(a - b) / max(map(abs, other[name][0])))
        self.figures["replay_difference"] = worst

    def _single_client(self, digits: Service, echo: Service) -> None:
        """Latencies of one client, a request to each in turn."""
        count = 300 if self._quick else 3000
        one = json.dumps({"inputs": json.loads(_body(8, 0))["inputs"]}).encode()
        ways = {
            "predict": (digits, request("/predict", one)),
            "predict_mc_100": (digits, request("/predict_mc", _body(8, 0, n_samples=100))),
            "echo": (echo, request("/echo", one)),
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        engine: list[float] = []
        self._tick("one client: predict, predict_mc and a bare echo in turn")
        with ExitStack() as stack:
            clients = {name: stack.enter_context(Client(service.port)) for name, (service, _) in ways.items()}
            for number in range(count + 50):
                for name, (_, whole) in ways.items():
                    answer = clients[name].ask(whole)
                    if answer.status != 200:
                        raise RuntimeError(f"{name} was answered {answer.status}: {answer.body[:300]!r}")
                    if number >= 50:
                        took[name].append(1e3 * answer.took_s)
                        if name == "predict":
                            engine.append(_compute_ms(answer.head))
        for name, values in took.items():
            self.figures[f"{name}_p50_ms"] = statistics.median(values)
        self.figures["predict_engine_p50_ms"] = statistics.median(engine)
        rest = [a - b for a, b in zip(took["predict"], engine, strict=True)]
        self.figures["predict_less_engine_p50_ms"] = statistics.median(rest)
        self.figures["predict_mc_over_predict"] = self.figures["predict_mc_100_p50_ms"] / self.figures["predict_p50_ms"]
        self.figures["path_over_echo"] = self.figures["predict_less_engine_p50_ms"] / self.figures["echo_p50_ms"]

    def _steady(self, digits: Service) -> None:
        """The worst of many calls in a row."""
        count = STEADY_CALLS // 10 if self._quick else STEADY_CALLS
        whole = request("/predict", _body(8, 0))
        self._tick(f"the worst of {count} calls")
        with Client(digits.port) as client:
            took = sorted(client.ask(whole).took_s for _ in range(count))
        self.figures["steady_calls"] = count
        self.figures["steady_worst_ms"] = 1e3 * took[-1]
        self.figures["steady_p999_ms"] = 1e3 * took[int(0.999 * count)]

    def _memory(self, digits: Service) -> None:
        """How much the service grows over many calls, after a first tenth of them."""
        count = 5000 if self._quick else 100_000
        whole = [request("/predict", _body(8, i)) for i in range(16)]
        drive(digits.port, whole, clients=4, seconds=600, at_most=count // 10)
        before = _resident_mib(digits.pid)
        for part in range(9):
            self._tick(f"memory over {count} calls, {10 * (part + 1)} %")
            drive(digits.port, whole, clients=4, seconds=600, at_most=count // 10)
        self.figures["memory_calls"] = count
        self.figures["memory_before_mib"] = before
        self.figures["memory_growth_mib"] = _resident_mib(digits.pid) - before


def _body(side: int, number: int, **fields: Any) -> bytes:
    """A request of one random image."""
    source = random.Random(number)
    image = [[[round(source.random(), 4)] for _ in range(side)] for _ in range(side)]
    return json.dumps({"inputs": [image], **fields}).encode("ascii")


def _all_at_once(port: int, requests: list[bytes]) -> list[Any]:
    """Answers to requests that are all sent before the first is answered."""
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(port)) for _ in requests]
        for client, whole in zip(clients, requests, strict=True):
            client.socket.sendall(whole)
        return [json.loads(client.wait()[1]) for client in clients]


def _merge(runs: list[Times]) -> Times:
    return Times(
        [took for run in runs for took in run.took_s],
        sum(run.failed for run in runs),
        sum(run.lasted_s for run in runs),
    )


def _compute_ms(head: bytes) -> float:
    found = re.search(rb"compute;dur=([0-9.]+)", head)
    if found is None:
        raise RuntimeError("the service does not say how long it computed")
    return float(found[1])


def _resident_mib(pid: int) -> float:
    """Memory of the service's processes."""
    leader = psutil.Process(pid)
    return sum(process.memory_info().rss for process in (leader, *leader.children(recursive=True))) / 2**20


@contextmanager
def _variables(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _serve(model: str, **variables: str) -> Iterator[Service]:
    with _bentoml("thinned.service.app:UncertaintyService", HOME, {"THINNED_MODEL": model, **variables}) as service:
        yield service


@contextmanager
def _serve_echo(folder: Path) -> Iterator[Service]:
    (folder / "bare_echo.py").write_text(_ECHO)
    with _bentoml("bare_echo:Echo", folder, {}) as service:
        yield service


@contextmanager
def _bentoml(target: str, cwd: Path, variables: Mapping[str, str]) -> Iterator[Service]:
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
    with serving(command, port, {"BENTOML_DO_NOT_TRACK": "True", **variables}, cwd=cwd) as service:
        yield service


def _run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=HOME, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)[:80]} exited {done.returncode}:\n{done.stdout}\n{done.stderr}")


BARS: tuple[tuple[str, str, float], ...] = (
    ("joined_over_alone", "throughput joined / alone, 16 clients, CNN, N = 30", -2.0),
    ("joined_p99_over_p50", "p99 / p50 joined, 16 clients", 3.0),
    ("replay_difference", "largest difference of an answer joined from alone", 1e-4),
    ("predict_mc_over_predict", "p50 of /predict_mc N = 100 / p50 of /predict, digits", 1.5),
    ("path_over_echo", "(p50 of /predict less engine) / p50 of a bare BentoML echo", 1.1),
    ("steady_worst_ms", "worst of the calls in a row, ms", 10.0),
    ("memory_growth_mib", "growth of memory over the calls, MiB", 10.0),
)
"""Figure, what it is, and its bar: at most so much, or at least where negative."""


def main() -> None:
    """Measure, and print every bar with its figure."""
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.benchmarks.service", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, which shows that all works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    options = parser.parse_args()
    console = Console()
    run = describe()
    for name, text in run.items():
        console.print(f"{name}: {text}", highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=16 if options.quick else 24)

        def tick(step: str) -> None:
            progress.update(task, description=step, advance=1)

        bench = Bench(quick=options.quick, tick=tick)
        bench.run()
    for name, meaning, bar in BARS:
        value = bench.figures[name]
        met = value >= -bar if bar < 0 else value <= bar
        side = "at least" if bar < 0 else "at most"
        console.print(
            f"{'met   ' if met else 'MISSED'} {value:10.4g}  {meaning} ({side} {abs(bar):g})", highlight=False
        )
    console.print()
    for name, value in bench.figures.items():
        console.print(f"{name:28} {value:12.4g}", highlight=False)
    if options.json:
        options.json.write_text(json.dumps({**run, "figures": bench.figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
