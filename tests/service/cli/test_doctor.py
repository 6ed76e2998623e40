"""`thinned doctor` finds what is wrong, and says what to do."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.service.cli.conftest import Put, Run
from tests.serving import ROOT, free_port
from thinned.models.storage import model_store
from thinned.service.cli import doctor


def found(thinned: Run, *arguments: object) -> tuple[int, dict[str, dict[str, Any]]]:
    status, out, err = thinned("doctor", "--port", free_port(), "--json", *arguments)
    assert err == ""
    return status, {check["what"]: check for check in json.loads(out)}


def test_nothing_is_wrong_here(thinned: Run, put: Put) -> None:
    put()
    status, out, err = thinned("doctor", "--port", free_port())
    assert (status, err) == (0, ""), out
    assert "Nothing is wrong." in out
    assert "1 version, 0 damaged" in out
    assert str(model_store.store_folder()) in out.replace("\n", "")


def test_the_versions_are_those_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {(r := Requirement(text)).name: r.specifier for text in project["dependencies"]}
    for name, tested in doctor.TESTED.items():
        last = f"{tested}.99" if tested.count(".") < 2 else tested
        assert asked[name].contains(last)
        major, minor, *_ = map(int, tested.split("."))
        assert not asked[name].contains(f"{major}.{minor + 1}.0")
    low = ".".join(map(str, doctor.PYTHONS[0]))
    assert project["requires-python"] == f">={low}"


def test_what_is_wrong_is_told_with_what_to_do(thinned: Run, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = put()
    put()
    (broken.path / "model.keras").write_bytes(b"broken")
    stale = model_store.store_folder().parent / "thinned-staging-gone"
    stale.mkdir()
    os.utime(stale, (0, 0))
    monkeypatch.setitem(doctor.TESTED, "keras", "2.9")
    monkeypatch.setattr(doctor, "LEAST_DISK", 1 << 60)
    monkeypatch.setattr(doctor, "LEAST_MEMORY", 1 << 60)
    monkeypatch.setattr(doctor, "PYTHONS", ((3, 8), (3, 9)))
    monkeypatch.setenv("THINNED_MAX_ROWS", "none")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, checks = found(thinned, "--port", taken.getsockname()[1])
    assert status == 1
    wrong = {what: check["remedy"] for what, check in checks.items() if check["wrong"]}
    expected = {
        "Python": "Python 3.8 to 3.9",
        "keras": "pip install 'keras==2.9.*'",
        "memory": "end what holds it",
        "settings": "THINNED_MAX_ROWS",
        "port": "pass another with --port",
        "store": "free some of the disk",
        "models": f"model.keras of {broken.tag} is not the file that was imported",
        "left by crashes": f"rm -r {stale}",
    }
    assert set(wrong) == set(expected)
    assert all(text in wrong[what] for what, text in expected.items()), wrong
    assert stale.is_dir()


def test_a_store_that_is_not_there(thinned: Run, put: Put) -> None:
    shutil.rmtree(model_store.store_folder())
    status, checks = found(thinned)
    assert status == 1
    assert "BENTOML_HOME" in checks["store"]["remedy"]
    assert "models" not in checks


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "thinned", "doctor", "--json", "--port", str(free_port())]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("thinned: the disk is full: nothing more can be written; free some of it")
    assert len(done.stderr.splitlines()) == 1
