"""Sweeps in child processes, because Locust replaces the sockets of the process that imports it."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.load.fake_service import fake_service
from tests.load.sweep.test_results_document import errors_of
from tests.serving import ROOT, Service, free_port

BRIEF = ["--repeats", "1", "--warm-up", "0.1", "--error-seeds", "0"]


def sweep(*arguments: str, out: Path, module: str = "thinned.loadtest") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments, "--out", str(out)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)


def results_of(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "results.json").read_text())
    assert errors_of(document) == []
    return document


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.long
def test_a_sweep_of_the_real_service_beside_the_baseline(service: Service, digits: str, tmp_path: Path) -> None:
    loads = ["--clients", "2", "--samples", "0,10,40,100"]
    brief = ["--duration", "0.4", "--warm-up", "0.1", "--repeats", "2", "--error-seeds", "4", "--error-rows", "2"]
    done = sweep(digits, "--target", service.url, "--baseline", *loads, *brief, out=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    results = results_of(tmp_path)
    cells = {(c["target"], c["mode"], c["n_samples"]): c for c in results["cells"]}
    assert len(cells) == 8
    for cell in cells.values():
        assert cell["answers"] > 0
        assert cell["errors"] == {}
        assert cell["service"]["memory_mib"] > 50
        assert cell["client"]["cores"]["value"] > 0
    own = cells["service", "closed", 100]
    assert own["speed_up"]["p50"]["value"] > 1
    assert own["service"]["cores"]["value"] > 0.02
    assert set(own["server_timing_ms"]) == {"queue", "compute"}
    assert 0 < own["server_timing_ms"]["compute"]["p50"] < own["latency_ms"]["p50"]["value"]
    assert results["model"]["rows_from"] == "held-out rows of the example digits"
    assert {line["target"] for line in results["fits"]} == {"service", "baseline"}
    errors = [point["mean_error"]["value"] for point in results["precision"]["points"]]
    assert errors[0] > errors[-1] > 0
    assert results["recommendation"]["reason"]
    latencies = np.load(tmp_path / "latencies.npz")
    assert sum(len(latencies[name]) for name in latencies.files) == sum(c["answers"] for c in cells.values())
    assert (tmp_path / "report.html").stat().st_size > 50_000
    assert "service N=100, 2 clients" in (tmp_path / "locust.html").read_text()
    assert "baseline N=10, 2 clients" in {row["Name"] for row in rows_of(tmp_path / "locust_stats.csv")}


def test_open_load_sees_a_stall_that_closed_load_hides(tmp_path: Path) -> None:
    """The server stalls for half a second out of two, so a quarter of the arrivals has to wait."""
    with fake_service(every_s=2.0, stall_s=0.5) as url:
        loads = ["--samples", "10", "--clients", "1", "--rate", "100", "--duration", "2"]
        done = sweep("--target", url, *loads, *BRIEF, out=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    closed, opened = results_of(tmp_path)["cells"]
    assert (closed["mode"], opened["mode"]) == ("closed", "open")
    p95 = {cell["mode"]: cell["latency_ms"]["p95"]["value"] for cell in (closed, opened)}
    assert p95["closed"] < 50
    assert 250 < p95["open"] < 650
    # Both saw it: the closed client with one request for each stall.
    assert closed["largest_ms"] > 250
    assert opened["arrivals"]["offered"] == pytest.approx(200, abs=60)
    assert opened["arrivals"]["dropped"] == 0
    assert opened["seeds"][0]["arrivals"][0] == 1


@pytest.mark.long
def test_arrivals_beyond_the_largest_number_in_flight_are_dropped_and_counted(tmp_path: Path) -> None:
    with fake_service(every_s=1.0, stall_s=0.6) as url:
        loads = ["--samples", "10", "--clients", "", "--rate", "100", "--duration", "2", "--max-in-flight", "5"]
        done = sweep("--target", url, *loads, *BRIEF, out=tmp_path)
    (cell,) = results_of(tmp_path)["cells"]
    assert cell["arrivals"]["dropped"] > 50
    assert cell["errors"]["dropped"] == cell["arrivals"]["dropped"]
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("attributes", "more", "status", "kind"),
    [
        ({}, ["--slo-ms", "p99=400"], 0, None),
        pytest.param({}, ["--slo-ms", "p50=0.01"], 1, None, marks=pytest.mark.long),
        pytest.param({"variance": -0.5}, [], 1, "200 wrong answer", marks=pytest.mark.long),
        ({"status": 503}, [], 1, "503"),
    ],
)
def test_the_exit_status(
    attributes: dict[str, Any], more: list[str], status: int, kind: str | None, tmp_path: Path
) -> None:
    with fake_service(**attributes) as url:
        loads = ["--samples", "0,10", "--clients", "1", "--duration", "0.4", "--no-bisect"]
        done = sweep("--target", url, *loads, *BRIEF, *more, out=tmp_path)
    assert done.returncode == status, done.stdout + done.stderr
    cells = {cell["n_samples"]: cell for cell in results_of(tmp_path)["cells"]}
    assert set(cells[10]["errors"]) == ({kind} if kind else set())
    assert cells[0]["errors"] == {}
    assert cells[0]["server_timing_ms"]["queue"]["p50"] == 0.25


@pytest.mark.long
def test_the_largest_rate_is_searched(tmp_path: Path) -> None:
    with fake_service() as url:
        loads = ["--samples", "10", "--clients", "1", "--duration", "0.2", "--slo-ms", "p50=0.001"]
        done = sweep("--target", url, *loads, *BRIEF, out=tmp_path)
    assert done.returncode == 1
    (found,) = results_of(tmp_path)["largest_rates"]
    assert found["rate"] == 0
    assert len(found["trials"]) > 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", f"http://127.0.0.1:{free_port()}"], "did not answer with a model's card"),
        (["--samples", "1"], "expected sample counts of 0 or 2 and more"),
        (["--slo-ms", "p98=3"], "expected limits in ms"),
        (["--clients", "", "--samples", "0"], "expected --clients, --rate or both"),
        (["--duration", "0"], "expected a number above 0"),
    ],
)
def test_what_cannot_run_says_why(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = sweep(*arguments, out=tmp_path)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_more_samples_than_the_service_answers_are_refused(tmp_path: Path) -> None:
    with fake_service() as url:
        done = sweep("--target", url, "--samples", "2000", out=tmp_path)
    assert done.returncode == 2
    assert "at most 1000 samples" in done.stderr


@pytest.mark.long
def test_interrupted_it_leaves_partial_results_and_no_process(digits: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-u",
        "-m",
        "thinned.service.cli.main",
        "load",
        digits,
        "--samples",
        "0,10",
        "--clients",
        "1",
    ]
    command += ["--duration", "0.3", "--repeats", "50", "--warm-up", "0.1", "--out", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as load:
        assert load.stdout is not None
        assert load.stderr is not None
        assert any(line.startswith("service N=10, 1 client (2 of 50)") for line in load.stdout), load.stderr.read()
        children = psutil.Process(load.pid).children(recursive=True)
        load.send_signal(signal.SIGINT)
        assert load.wait(40) == 130
        said = load.stderr.read()
    assert "Traceback" not in said
    assert "partial" in said
    assert children
    assert [child for child in children if child.is_running()] == []
    results = results_of(tmp_path)
    assert results["partial"]
    assert re.match(r"\d+ of 100 measurements were done", results["partial_reason"])
    assert results["cells"][0]["answers"] > 0
    assert "Partial results" in (tmp_path / "report.html").read_text()


@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "users"),
    [("load/locustfile.py", ["Mc10User"]), ("load/locustfile_open.py", ["--rate", "20", "Mc10Arrivals"])],
)
def test_the_same_users_on_two_workers(file: str, users: Sequence[str], tmp_path: Path) -> None:
    with fake_service() as url:
        port = str(free_port())
        locust = [sys.executable, "-m", "locust", "-f", file]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        given: dict[str, Any] = {
            "cwd": ROOT,
            "env": environment,
            "stderr": subprocess.DEVNULL,
            "stdout": subprocess.DEVNULL,
        }
        workers = [subprocess.Popen([*locust, "--worker", "--master-port", port, *users], **given) for _ in range(2)]
        try:
            lead = [*locust, "--master", "--master-bind-port", port, "--expect-workers", "2", "--headless"]
            lead += ["-u", "4", "-r", "20", "-t", "2s", "--host", url, "--csv", str(tmp_path / "d")]
            lead += ["--exit-code-on-error", "0", *users]
            done = subprocess.run(
                lead, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr
            assert [worker.wait(20) for worker in workers] == [0, 0]
        finally:
            for worker in workers:
                worker.kill()
    total = next(row for row in rows_of(tmp_path / "d_stats.csv") if row["Name"].endswith("N=10"))
    # On a busy machine an arrival of each user may be due before the end of the run, and be sent too late for it.
    failures = rows_of(tmp_path / "d_failures.csv")
    assert all("the run was over before it could be sent" in failure["Error"] for failure in failures)
    assert int(total["Failure Count"]) <= (4 if "--rate" in users else 0)
    if "--rate" in users:
        # Four users, each a stream of its own at 20 a second, over about two seconds.
        assert int(total["Request Count"]) == pytest.approx(160, abs=90)
    else:
        assert int(total["Request Count"]) > 100


def test_compare_from_the_command_line() -> None:
    command = [sys.executable, "-m", "thinned", "compare", "/nowhere/a", "/nowhere/b"]
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "expected the results.json of a sweep" in done.stderr
    assert time.monotonic() - began < 30
