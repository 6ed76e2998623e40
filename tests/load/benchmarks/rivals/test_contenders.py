"""Who is measured: how they are named, asked and started, and that they use nothing of ours."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from thinned.loadtest.benchmarks.rivals.contenders import CONTENDERS, RIVALS, SERVERS, Contender

ROWS = np.random.default_rng(0).random((2, 8, 8, 1), np.float32)


def test_names_are_of_one_each_and_ours_is_the_first() -> None:
    names = [one.name for one in CONTENDERS]
    assert len(set(names)) == len(names)
    assert names[0] == "thinned"
    assert {one.rival for one in CONTENDERS[1:]} == set(RIVALS)
    for name in RIVALS:
        assert {one.way for one in CONTENDERS if one.rival == name} >= {"loop", "tiled"}


def test_packages_are_pinned() -> None:
    assert all("==" in package for rival in RIVALS.values() for package in rival.packages)


@pytest.mark.parametrize("file", sorted(SERVERS.glob("*.py")), ids=lambda path: path.stem)
def test_a_server_imports_nothing_of_ours(file: Path) -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
    }
    assert not imported & {"thinned", "bentoml", "models", "service", "load"}


@pytest.mark.parametrize("rival", ["thinned", *RIVALS])
def test_a_request_holds_the_rows(rival: str) -> None:
    body = json.loads(Contender(rival).request_body(ROWS, 30))
    if rival == "mlserver":
        image, counts = body["inputs"]
        assert np.array_equal(np.reshape(image["data"], image["shape"]).astype("float32"), ROWS)
        assert (counts["shape"], counts["data"]) == ([2, 1], [30, 30])
    else:
        assert np.array_equal(np.array(body["inputs"], "float32"), ROWS)
        assert body["n_samples"] == 30


def test_answers_of_both_forms_are_read_alike() -> None:
    mean, variance = [[0.25, 0.75]], [[0.5, 0.125]]
    outputs = [
        {"name": name, "shape": [1, 2], "datatype": "FP32", "data": values[0]}
        for name, values in (("variance", variance), ("mean", mean))
    ]
    for rival, answer in (("fastapi", {"mean": mean, "variance": variance}), ("mlserver", {"outputs": outputs})):
        told = RIVALS[rival].moments(answer)
        assert (told[0].tolist(), told[1].tolist()) == (mean, variance)


def test_mlserver_gets_its_settings(tmp_path: Path) -> None:
    contender = Contender("mlserver", "tiled", "batches", {"RIVAL_BATCH": "4"})
    command, variables = contender.command(Path("/rivals/bin/python"), 3001, tmp_path, Path("/digits.keras"))
    assert command[-1] == str(tmp_path)
    assert variables["RIVAL_MODEL"] == "/digits.keras"
    assert json.loads((tmp_path / "settings.json").read_text())["http_port"] == 3001
    assert json.loads((tmp_path / "model-settings.json").read_text())["max_batch_size"] == 4
