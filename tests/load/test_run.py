"""`load.run` in a process of its own, since Locust changes the sockets of the process that imports it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import psutil
import pytest

from tests.serving import ROOT, Service, free_port

CARD = {
    "name": "small",
    "inputs": [{"name": "x", "shape": [2], "dtype": "float32"}],
    "outputs": [{"name": "y", "shape": [1], "dtype": "float32"}],
}


def run_load(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "load.run", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


class Handler(BaseHTTPRequestHandler):
    """A service that knows one model and whose spread is `variance` everywhere."""

    protocol_version = "HTTP/1.1"
    variance = 0.5

    def do_GET(self) -> None:
        self.answer({**CARD, "version": "v1"})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model = {"name": "small", "version": "v1"}
        if self.path == "/predict":
            self.answer({"outputs": [[1.0]], "model": model})
        else:
            spread = {"variance": [[self.variance]], "standard_error": [[0.1]]}
            echo = {name: request[name] for name in ("n_samples", "seed")}
            self.answer({"mean": [[1.0]], **spread, **echo, "model": model})

    def answer(self, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def fake(variance: float) -> Iterator[str]:
    handler = type("Handler", (Handler,), {"variance": variance})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def rows_of(table: str) -> dict[str, list[str]]:
    rows = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]
    return {row[0]: row[1:] for row in rows if row[0].startswith("/predict") and len(row) > 5}


LABELS = ["/predict", "/predict_mc N=10", "/predict_mc N=30", "/predict_mc N=100"]


def test_load_on_the_real_service(service: Service) -> None:
    done = run_load("--url", service.url, "--seconds", "4", "--users", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(done.stdout)
    assert list(rows) == LABELS, done.stdout
    for requests, failures, p50, p95, p99, *_ in rows.values():
        assert int(requests.replace(",", "")) > 0
        assert failures == "0"
        assert 0 < float(p50) <= float(p95) <= float(p99)


@pytest.mark.parametrize(("variance", "status"), [(0.5, 0), (-0.5, 1), (0.0, 1)])
def test_a_wrong_body_is_a_failure(variance: float, status: int) -> None:
    with fake(variance) as url:
        done = run_load("--url", url, "--seconds", "1.2", "--users", "2")
    assert done.returncode == status, done.stdout + done.stderr
    failures = {label: cells[1] for label, cells in rows_of(done.stdout).items()}
    assert failures["/predict"] == "0"
    assert (failures["/predict_mc N=30"] == "0") == (status == 0)
    assert ("variance: expected" in done.stderr) == (status == 1)


def test_a_service_that_is_not_there_cannot_be_loaded() -> None:
    done = run_load("--url", f"http://127.0.0.1:{free_port()}", "--seconds", "1")
    assert done.returncode == 2
    assert "could not run" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_load_stops_all_that_it_started(digits: str, number: int, status: int) -> None:
    command = [sys.executable, "-u", "-m", "load.run", "--seconds", "60"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as load:
        assert load.stdout is not None
        assert load.stderr is not None
        assert any(line.startswith("POST /predict ") for line in load.stdout), load.stderr.read()
        children = psutil.Process(load.pid).children(recursive=True)
        load.send_signal(number)
        assert load.wait(30) == status
        assert "Traceback" not in load.stderr.read()
    assert children
    assert [child for child in children if child.is_running()] == []


def test_wrong_use_exits_2() -> None:
    assert run_load("--seconds", "0").returncode == 2
