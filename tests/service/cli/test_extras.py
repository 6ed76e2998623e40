"""What is optional: without it the service and most commands work, and the others say what to install."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.serving import ROOT, code_of_commands

# Packages of the extras, as if they were not installed.
WITHOUT_EXTRAS = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"sklearn", "matplotlib", "locust", "gevent", "pytest", "hypothesis", "tf2onnx"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS + code],
        cwd=ROOT,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run(f"from thinned.service.cli.main import main\nmain({list(arguments)!r})")


@pytest.fixture
def rows(digits: str, tmp_path: Path) -> Path:
    path = tmp_path / "rows.npz"
    draw = np.random.default_rng(0)
    np.savez(path, x=draw.uniform(0, 16, (40, 8, 8, 1)), y=draw.integers(0, 10, 40))
    return path


@pytest.mark.long
def test_the_service_and_most_commands_need_no_extra(digits: str, rows: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 8, 8, 1)))
    commands = [
        ["predict", digits, "--input", str(tmp_path / "x.npy"), "--n-samples", "4", "--json"],
        ["audit", digits, "--json"],
        ["calibrate", digits, "--data", str(rows), "--n-samples", "4", "--json"],
    ]
    done = run(
        "import thinned.service.app, thinned.service.inference.scheduler, thinned.service.http.predictions\n"
        "from thinned.service.inference.model_manager import ModelManager\n"
        "from thinned.service.settings import Settings\n"
        f"assert ModelManager(Settings(model={digits!r})).load()\n" + code_of_commands(*commands)
    )
    assert done.returncode == 0, done.stderr
    predicted, _, calibrated = (json.loads(part) for part in done.stdout.split("--\n")[:3])
    assert predicted["n_samples"] == 4
    assert command("delete", f"{digits}:{calibrated['version']}", "--yes").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("train", "digits"), "examples"),
        (("evaluate", "digits", "--data", "rows.npz"), "report"),
        (("load", "digits"), "load"),
        (("compare", "a.json", "b.json"), "load"),
        (("export", "digits", "--to", "onnx", "--output", "out"), "onnx"),
    ],
)
def test_others_say_what_to_install(arguments: tuple[str, ...], extra: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert f'pip install "thinned[{extra}]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1
