from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from tests.load.sample_results import results
from thinned.loadtest.sweep.results_document import SCHEMA, read_results, write_results


def errors_of(document: Any) -> list[str]:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]


@pytest.mark.parametrize(
    "given", [{}, {"slo": {"p99": 50.0}}, {"interrupted": "1 of 2", "repeats": 1}, {"errors": {"503": 1}}]
)
def test_results_fit_their_schema(given: dict[str, Any], tmp_path: Path) -> None:
    write_results(results(**given), tmp_path)
    document = read_results(tmp_path / "results.json")
    assert errors_of(document) == []
    assert errors_of({**document, "cells": [{}]})


def test_percentiles_are_means_of_exact_ones() -> None:
    cell = next(c for c in results(repeats=3)["cells"] if c["n_samples"] == 30)
    p99 = cell["latency_ms"]["p99"]
    assert len(p99["each"]) == 3
    assert p99["value"] == pytest.approx(np.mean(p99["each"]))
    assert p99["low"] < p99["value"] < p99["high"]
    assert "p99.9" in cell["few_beyond"]
    assert "p50" not in cell["few_beyond"]


def test_the_fit_finds_the_line_that_the_latencies_were_made_with() -> None:
    line = next(f for f in results()["fits"] if f["target"] == "service")
    assert line["a_ms"] == pytest.approx(2.0, rel=0.05)
    assert line["b_ms_per_pass"] == pytest.approx(0.02, rel=0.05)
    assert [p["n_samples"] for p in line["points"]] == [10, 30, 100]


def test_speed_up_is_against_the_same_load() -> None:
    cells = [c for c in results()["cells"] if c["target"] == "service"]
    assert [c["speed_up"]["p50"]["value"] for c in cells] == pytest.approx([20.0] * len(cells), rel=0.05)
    assert all(c["speed_up"] is None for c in results(baseline=False)["cells"])


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({}, "none"),
        ({"slo": {"p99": 500.0}}, "met"),
        ({"slo": {"p99": 5.0}}, "missed"),
        ({"errors": {"200 wrong answer": 1}}, "missed"),
    ],
)
def test_the_verdict(given: dict[str, Any], verdict: str) -> None:
    assert results(**given, baseline=False)["verdict"] == verdict


def test_other_documents_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for text in ("{", "[]", '{"format": "other"}', '{"format": "thinned-load", "format_version": 99}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="expected"):
            read_results(path)
