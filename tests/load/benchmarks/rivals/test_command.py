"""`make bench-rivals`: its options, and what it says where no rival can be installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thinned.loadtest.benchmarks.rivals import environments
from thinned.loadtest.benchmarks.rivals.__main__ import main


@pytest.mark.parametrize("given", [["--only", "nobody"], ["--only"], ["--json", "/nowhere/at/all.json"], ["--fast"]])
def test_wrong_options_end_with_status_2(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.long
def test_ours_is_measured_where_no_rival_can_be_installed(
    digits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path / "rivals")
    assert main(["--quick", "--only", "fastapi", "litserve", "--json", str(tmp_path / "told.json")]) == 0
    told = json.loads((tmp_path / "told.json").read_text())
    assert set(told["skipped"]) == {"fastapi", "litserve"}
    assert told["bars"] == []
    assert told["contenders"]["thinned"]["one_client"]["100"]["failed"] == 0
    assert "FastAPI is left out: fastapi==" in capsys.readouterr().out
