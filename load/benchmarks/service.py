"""`make bench-service`: time of the HTTP path, and the gain from answering several requests in one graph call.

It starts its own services on free loopback ports with a temporary model store, loads them with `http_client`, and stops
them at the end. The compared services are measured in alternating rounds, so that a change of the machine's speed
affects both alike.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from thinned.loadtest.benchmarks.http_client import HttpClient, LoadTimes, encode_request, run_clients
from thinned.loadtest.benchmarks.measured_services import (
    compute_ms,
    environment,
    make_models,
    resident_mib,
    serve_echo,
    serve_model,
)
from thinned.loadtest.machine import describe_run
from thinned.loadtest.service_process import Service

__all__ = ["LIMITS", "ServiceBenchmark", "main"]

CLIENTS = 16
STEADY_CALLS = 6000
WARM_UP_CALLS = 50


class ServiceBenchmark:
    """Starts the services, measures them, and collects `figures` by name.

    Args:
        quick: Take a tenth of the time, which is enough to see that everything works.
        tick: Called with the name of each step when it begins.
    """

    def __init__(self, *, quick: bool, tick: Callable[[str], None]) -> None:
        self._quick = quick
        self._tick = tick
        self.figures: dict[str, float] = {}

    def run(self) -> None:
        """Do all measurements."""
        with tempfile.TemporaryDirectory(prefix="thinned-bench-") as folder, environment(BENTOML_HOME=folder):
            self._tick("making the models")
            make_models(Path(folder))
            with ExitStack() as stack:
                self._tick("starting the services")
                joined = stack.enter_context(serve_model("cnn"))
                alone = stack.enter_context(serve_model("cnn", THINNED_JOIN="0"))
                self._throughput(joined, alone)
                self._reproducibility(joined, alone)
            with ExitStack() as stack:
                self._tick("starting the services")
                digits = stack.enter_context(serve_model("digits"))
                echo = stack.enter_context(serve_echo(Path(folder)))
                self._single_client(digits, echo)
                self._worst_latency(digits)
                self._memory(digits)

    def _throughput(self, joined: Service, alone: Service) -> None:
        """Many clients at N = 30: requests joined in one graph call, and each in a call of its own."""
        rounds, seconds = (2, 3.0) if self._quick else (6, 10.0)
        bodies = [_body(28, i, n_samples=30) for i in range(64)]
        requests = [encode_request("/predict_mc", body) for body in bodies]
        rounds_of: dict[str, list[LoadTimes]] = {"joined": [], "alone": []}
        for service in (joined, alone):
            run_clients(service.port, requests, clients=CLIENTS, seconds=1.0)
        for number in range(rounds):
            for name, service in (("joined", joined), ("alone", alone)):
                self._tick(f"{CLIENTS} clients, {name}, round {number + 1} of {rounds}")
                rounds_of[name].append(run_clients(service.port, requests, clients=CLIENTS, seconds=seconds))
        for name, runs in rounds_of.items():
            merged = _merge(runs)
            self.figures[f"{name}_per_second"] = merged.per_second
            self.figures[f"{name}_p50_ms"] = merged.quantile_ms(0.5)
            self.figures[f"{name}_p99_ms"] = merged.quantile_ms(0.99)
            self.figures[f"{name}_failed"] = merged.failed
        self.figures["joined_over_alone"] = self.figures["joined_per_second"] / self.figures["alone_per_second"]
        self.figures["joined_p99_over_p50"] = self.figures["joined_p99_ms"] / self.figures["joined_p50_ms"]

    def _reproducibility(self, joined: Service, alone: Service) -> None:
        """Difference of the answers to the same requests, joined and alone, relative to the largest number of each."""
        self._tick("comparing answers")
        requests = [encode_request("/predict_mc", _body(28, i, n_samples=30 + 7 * i, seed=i)) for i in range(CLIENTS)]
        together = _all_at_once(joined.port, requests)
        with HttpClient(alone.port) as client:
            one_by_one = [json.loads(client.ask(request).body) for request in requests]
        worst = 0.0
        for one, other in zip(together, one_by_one, strict=True):
            for name in ("mean", "variance", "standard_error"):
                for a, b in zip(one[name][0], other[name][0], strict=True):
                    worst = max(worst, abs(a - b) / max(map(abs, other[name][0])))
        self.figures["replay_difference"] = worst

    def _single_client(self, digits: Service, echo: Service) -> None:
        """Latencies of one client: `/predict`, `/predict_mc` and a bare BentoML service in turn."""
        count = 300 if self._quick else 3000
        one = json.dumps({"inputs": json.loads(_body(8, 0))["inputs"]}).encode()
        calls = {
            "predict": (digits, encode_request("/predict", one)),
            "predict_mc_100": (digits, encode_request("/predict_mc", _body(8, 0, n_samples=100))),
            "echo": (echo, encode_request("/echo", one)),
        }
        took: dict[str, list[float]] = {name: [] for name in calls}
        engine: list[float] = []
        self._tick("one client: predict, predict_mc and a bare echo in turn")
        with ExitStack() as stack:
            clients = {name: stack.enter_context(HttpClient(service.port)) for name, (service, _) in calls.items()}
            for number in range(count + WARM_UP_CALLS):
                for name, (_, request) in calls.items():
                    answer = clients[name].ask(request)
                    if answer.status != 200:
                        raise RuntimeError(f"{name} was answered {answer.status}: {answer.body[:300]!r}")
                    if number >= WARM_UP_CALLS:
                        took[name].append(1e3 * answer.took_s)
                        if name == "predict":
                            engine.append(compute_ms(answer.head))
        for name, values in took.items():
            self.figures[f"{name}_p50_ms"] = statistics.median(values)
        self.figures["predict_engine_p50_ms"] = statistics.median(engine)
        rest = [a - b for a, b in zip(took["predict"], engine, strict=True)]
        self.figures["predict_less_engine_p50_ms"] = statistics.median(rest)
        self.figures["predict_mc_over_predict"] = self.figures["predict_mc_100_p50_ms"] / self.figures["predict_p50_ms"]
        self.figures["path_over_echo"] = self.figures["predict_less_engine_p50_ms"] / self.figures["echo_p50_ms"]

    def _worst_latency(self, digits: Service) -> None:
        """The largest latency of many consecutive calls."""
        count = STEADY_CALLS // 10 if self._quick else STEADY_CALLS
        request = encode_request("/predict", _body(8, 0))
        self._tick(f"the worst of {count} calls")
        with HttpClient(digits.port) as client:
            took = sorted(client.ask(request).took_s for _ in range(count))
        self.figures["steady_calls"] = count
        self.figures["steady_worst_ms"] = 1e3 * took[-1]
        self.figures["steady_p999_ms"] = 1e3 * took[int(0.999 * count)]

    def _memory(self, digits: Service) -> None:
        """Growth of the service's memory over many calls, from after the first tenth of them to the end."""
        count = 5000 if self._quick else 100_000
        requests = [encode_request("/predict", _body(8, i)) for i in range(16)]
        run_clients(digits.port, requests, clients=4, seconds=600, at_most=count // 10)
        before = resident_mib(digits.pid)
        for part in range(9):
            self._tick(f"memory over {count} calls, {10 * (part + 1)} %")
            run_clients(digits.port, requests, clients=4, seconds=600, at_most=count // 10)
        self.figures["memory_calls"] = count
        self.figures["memory_before_mib"] = before
        self.figures["memory_growth_mib"] = resident_mib(digits.pid) - before


def _body(side: int, number: int, **fields: Any) -> bytes:
    """The JSON body of a request for one random image, side x side x 1."""
    source = random.Random(number)
    image = [[[round(source.random(), 4)] for _ in range(side)] for _ in range(side)]
    return json.dumps({"inputs": [image], **fields}).encode("ascii")


def _all_at_once(port: int, requests: list[bytes]) -> list[Any]:
    """Answers to requests that are all sent before the first answer is read."""
    with ExitStack() as stack:
        clients = [stack.enter_context(HttpClient(port)) for _ in requests]
        for client, request in zip(clients, requests, strict=True):
            client.socket.sendall(request)
        return [json.loads(client.wait()[1]) for client in clients]


def _merge(runs: list[LoadTimes]) -> LoadTimes:
    return LoadTimes(
        [took for run in runs for took in run.took_s],
        sum(run.failed for run in runs),
        sum(run.lasted_s for run in runs),
    )


LIMITS: tuple[tuple[str, str, float], ...] = (
    ("joined_over_alone", "throughput joined / alone, 16 clients, CNN, N = 30", -2.0),
    ("joined_p99_over_p50", "p99 / p50 joined, 16 clients", 3.0),
    ("replay_difference", "largest relative difference of an answer, joined from alone", 1e-4),
    ("predict_mc_over_predict", "p50 of /predict_mc N = 100 / p50 of /predict, digits", 1.5),
    ("path_over_echo", "(p50 of /predict less engine) / p50 of a bare BentoML echo", 1.1),
    ("steady_worst_ms", "largest latency of the consecutive calls, ms", 10.0),
    ("memory_growth_mib", "growth of memory over the calls, MiB", 10.0),
)
"""Name of a figure, its description, and its limit: an upper bound, or a lower bound if it is negative."""


def main() -> None:
    """Run the benchmark; print each limit with its figure, then all figures."""
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.benchmarks.service", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, to see that everything works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    options = parser.parse_args()
    console = Console()
    about = describe_run()
    for name, text in about.items():
        console.print(f"{name}: {text}", highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=16 if options.quick else 24)

        def tick(step: str) -> None:
            progress.update(task, description=step, advance=1)

        benchmark = ServiceBenchmark(quick=options.quick, tick=tick)
        benchmark.run()
    for name, meaning, limit in LIMITS:
        value = benchmark.figures[name]
        met = value >= -limit if limit < 0 else value <= limit
        side = "at least" if limit < 0 else "at most"
        console.print(
            f"{'met   ' if met else 'MISSED'} {value:10.4g}  {meaning} ({side} {abs(limit):g})", highlight=False
        )
    console.print()
    for name, value in benchmark.figures.items():
        console.print(f"{name:28} {value:12.4g}", highlight=False)
    if options.json:
        options.json.write_text(json.dumps({**about, "figures": benchmark.figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
