"""Environments of rivals: made once, made anew for other packages, and nothing left of one that cannot be made."""

from __future__ import annotations

import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from thinned.loadtest.benchmarks.rivals.contenders import Rival
from thinned.loadtest.benchmarks.rivals.environments import CannotInstallError, environment_of


def wheel(folder: Path, code: str) -> str:
    """The path of a wheel that holds one module, `rival_of_tests`."""
    path = folder / "rival_of_tests-1.0-py3-none-any.whl"
    info = "rival_of_tests-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rival_of_tests.py", code)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: rival-of-tests\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: none\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return str(path)


def rival(*packages: str) -> Rival:
    return Rival("Made-up", packages, "rival_of_tests", "nothing.py")


@pytest.mark.long
def test_one_is_made_once_and_sees_keras(tmp_path: Path) -> None:
    given = rival(wheel(tmp_path, "WHERE = __file__\n"))
    # Keras is imported before it is said to be made.
    python = environment_of("one", given, folder=tmp_path)
    code = "import rival_of_tests; print(rival_of_tests.WHERE)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert str(tmp_path / "one") in done.stdout
    stamp = tmp_path / "one" / ".made"
    made = stamp.stat().st_mtime_ns
    assert environment_of("one", given, folder=tmp_path) == python
    assert stamp.stat().st_mtime_ns == made
    # Other packages: it is made anew, which fails here.
    with pytest.raises(CannotInstallError):
        environment_of("one", replace(given, packages=("./nowhere.whl",)), folder=tmp_path)
    assert not (tmp_path / "one").exists()


def test_one_that_cannot_be_made_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(CannotInstallError) as told:
        environment_of("none", rival(str(tmp_path / "nowhere.whl")), folder=tmp_path)
    assert "nowhere.whl" in str(told.value)
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_one_that_cannot_be_imported_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(CannotInstallError, match="RuntimeError: of another world"):
        environment_of("odd", rival(wheel(tmp_path, "raise RuntimeError('of another world')")), folder=tmp_path)
    assert not (tmp_path / "odd").exists()


def test_a_folder_that_cannot_be_written_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotInstallError):
        environment_of("one", rival("x==1"), folder=tmp_path / "file")
