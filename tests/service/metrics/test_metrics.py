"""What is counted is answered, in the format of Prometheus, and is the sum over the workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from thinned.service.metrics import Metrics
from thinned.service.metrics.exposition import exposition
from thinned.service.metrics.families import Family, Histogram, added, cumulative
from thinned.service.metrics.workers import Workers


def samples(metrics: Metrics, workers: Workers | None = None) -> dict[tuple[str, tuple[str, ...]], float]:
    text, kind = exposition(metrics, workers or Workers(metrics))
    assert kind.startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(value for name, value in sorted(sample.labels.items()) if name != "model")): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_every_method_is_answered() -> None:
    metrics = Metrics("m:1")
    before = samples(metrics)
    metrics.began("/predict")
    metrics.began("/predict")
    metrics.request("/predict", 200, 0.003)
    metrics.refused("late")
    metrics.uncertainty("y", "predictive_entropy", [0.3, 0.5])
    metrics.ready()
    metrics.queue(3, 96)
    metrics.waited(0.25)
    metrics.called(64, 2, 0.01)
    metrics.drew(32)
    metrics.stopped_early()
    metrics.memory("kept_passes", 4096)
    found = samples(metrics)
    expected = {
        ("thinned_requests_in_progress", ("/predict",)): 1,
        ("thinned_request_duration_seconds_bucket", ("0.002", "/predict", "200")): 0,
        ("thinned_request_duration_seconds_bucket", ("0.003", "/predict", "200")): 1,
        ("thinned_request_duration_seconds_bucket", ("+Inf", "/predict", "200")): 1,
        ("thinned_request_duration_seconds_sum", ("/predict", "200")): 0.003,
        ("thinned_refusals_total", ("late",)): 1,
        ("thinned_refusals_total", ("full",)): 0,
        ("thinned_uncertainty_count", ("predictive_entropy", "y")): 2,
        ("thinned_uncertainty_sum", ("predictive_entropy", "y")): 0.8,
        ("thinned_queue_depth", ()): 3,
        ("thinned_in_flight_row_passes", ()): 96,
        ("thinned_queue_wait_seconds_count", ()): 1,
        ("thinned_call_row_passes_sum", ()): 64,
        ("thinned_call_requests_sum", ()): 2,
        ("thinned_call_duration_seconds_sum", ()): 0.01,
        ("thinned_passes_drawn_total", ()): 32,
        ("thinned_adaptive_stops_total", ()): 1,
        ("thinned_memory_bytes", ("kept_passes",)): 4096,
    }
    assert {key: found[key] for key in expected} == expected
    assert found["thinned_memory_bytes", ("resident",)] > 10**7
    assert {value for (name, _), value in found.items() if name == "thinned_ready_workers"} == {1}
    assert {value for (name, _), value in before.items() if name == "thinned_ready_workers"} == {0}


def test_names_have_the_prefix_and_units_and_the_model() -> None:
    for family in Metrics("m:1").families:
        assert family.name.startswith("thinned_")
        assert family.labels[0] == "model"
        assert family.name.endswith("_total") == (family.kind == "counter")
    assert Metrics("m:1").families[0].bounds[0] == 0.0005


def test_openmetrics_is_answered_where_it_is_asked_for() -> None:
    metrics = Metrics("m:1")
    text, kind = exposition(metrics, Workers(metrics), "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


@given(st.lists(st.floats(0, 100)), st.lists(st.floats(0.001, 90), min_size=1, max_size=5, unique=True))
def test_buckets_count_all_that_is_no_more_than_their_end(values: list[float], ends: list[float]) -> None:
    histogram = Histogram("x", "", (), sorted(ends))
    histogram.observe(values)
    counts, total = cumulative(histogram, histogram.cells()[()])
    assert counts == {end: sum(value <= end for value in values) for end in (*sorted(ends), float("inf"))}
    assert total == pytest.approx(sum(values))


def test_sums_are_of_equal_labels_and_lengths() -> None:
    assert added([{("a",): [1.0, 2.0]}, {("a",): [3.0, 4.0], ("b",): [5.0]}, {("a",): [1.0]}]) == {
        ("a",): [4.0, 6.0],
        ("b",): [5.0],
    }


def test_threads_lose_no_count() -> None:
    family = Family("counter", "x", "", ())
    threads = [threading.Thread(target=lambda: [family.add(1.0) for _ in range(5000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert family.cells() == {(): [20000.0]}


def test_an_observation_takes_microseconds() -> None:
    metrics = Metrics("m:1")
    began = time.perf_counter()
    for _ in range(2000):
        metrics.began("/predict")
        metrics.request("/predict", 200, 0.003)
    assert (time.perf_counter() - began) / 2000 < 100e-6


def another(folder: Path, pid: int, *, drawn: int, depth: int) -> None:
    """Writes what another worker with this process id would write."""
    metrics = Metrics("m:1")
    metrics.drew(drawn)
    metrics.queue(depth, 0)
    workers = Workers(metrics, folder)
    workers._name = f"{pid}.json"
    workers.publish()


def ended() -> int:
    """The id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_workers_are_summed_and_gauges_of_those_that_ended_left_out(tmp_path: Path) -> None:
    metrics = Metrics("m:1")
    metrics.drew(1)
    metrics.queue(1, 0)
    another(tmp_path, os.getppid(), drawn=10, depth=10)
    another(tmp_path, ended(), drawn=100, depth=100)
    (tmp_path / "7.json").write_text("{")
    found = samples(metrics, Workers(metrics, tmp_path))
    assert found["thinned_passes_drawn_total", ()] == 111
    assert found["thinned_queue_depth", ()] == 11


def test_a_worker_writes_only_while_there_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thinned.service.metrics.workers.EVERY_S", 0.01)
    metrics = Metrics("m:1")
    workers = Workers(metrics, tmp_path)
    workers.start()
    own = tmp_path / f"{os.getpid()}.json"
    time.sleep(0.1)
    assert own.read_text() == "{}"
    another(tmp_path, os.getppid(), drawn=1, depth=1)
    end = time.monotonic() + 10
    while own.read_text() == "{}":
        assert time.monotonic() < end
        time.sleep(0.01)
    metrics.drew(5)
    workers.close()
    assert json.loads(own.read_text())["thinned_passes_drawn_total"] == [[["m:1"], [5.0]]]


def test_a_folder_that_cannot_be_written_is_told_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics("m:1")
    metrics.drew(3)
    workers = Workers(metrics, tmp_path / "nowhere")
    workers.start()
    workers.publish()
    assert samples(metrics, workers)["thinned_passes_drawn_total", ()] == 3
    workers.close()
    assert len([record for record in caplog.records if "not put together" in record.getMessage()]) == 1
