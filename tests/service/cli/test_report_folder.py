"""A report's folder is checked before the work, and a report is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.cli.conftest import Run
from thinned.models.errors import UsageError
from thinned.service.cli.report_folder import check_folder, write_whole


def test_what_cannot_be_a_folder_is_refused_before_the_model_is_looked_for(thinned: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "deeper" / "still", tmp_path / ("long" * 80)):
        status, _, err = thinned("evaluate", "no-such-model", "--data", "absent.npz", "--out", out)
        assert status == 2
        assert f"--out {out}" in err
        assert "name another" in err
        assert err.count("\n") == 1
    with pytest.raises(UsageError, match="is a file; name another"):
        check_folder(tmp_path / "file")


def test_a_check_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "a" / "b", Path("relative/deep"), tmp_path):
        check_folder(folder)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_whole_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write_whole(folder, {"a.png": b"1", "index.html": b"old"})
    (folder / "mine.txt").write_text("kept")
    with pytest.raises(OSError, match="too long"):
        write_whole(folder, {"a.png": b"2", "x" * 300: b"", "index.html": b"new"})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "a.png": b"1",
        "index.html": b"old",
        "mine.txt": b"kept",
    }
    with pytest.raises(OSError, match="too long"):
        write_whole(tmp_path / "other" / "deep", {"x" * 300: b""})
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
