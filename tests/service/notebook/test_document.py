"""The blocks of `docs/python.md`, run; and its tables against the classes."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving import ROOT
from tests.test_readme import blocks
from thinned import Answer, LoadedModel

TEXT = (ROOT / "docs" / "python.md").read_text()


@pytest.mark.usefixtures("digits")
def test_the_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (command,) = (block.text for block in blocks(TEXT) if block.language == "bash")
    assert command == "thinned train digits\n"  # As the fixture does it.
    first, frames = (block.text for block in blocks(TEXT) if block.language == "python")
    names: dict[str, Any] = {}
    exec(first, names)
    assert names["plain"]["outputs"].shape == names["answer"]["mean"].shape == (5, 10)
    assert names["passes"].shape == (200, 5, 10)
    pytest.importorskip("pandas")
    exec(frames, names)
    assert list(names["told"].index) == list("abcde")
    np.testing.assert_array_equal(names["told"]["mutual_information"], names["answer"]["mutual_information"])
    assert (tmp_path / "rows.png").stat().st_size > 1000


def test_methods_members_and_options_are_those_of_the_classes() -> None:
    told = re.findall(r"^\| `(\w+)", TEXT, re.MULTILINE)
    methods = {name for name, _ in inspect.getmembers(LoadedModel, inspect.isfunction) if not name.startswith("_")}
    assert set(told[: told.index("document")]) == methods
    members = {"document", "to_frame", "plot", "by_output"}
    assert set(told[told.index("document") :]) == members
    assert {name for name in members if hasattr(Answer, name)} == members - {"by_output"}
    assert "by_output" in inspect.signature(Answer).parameters
    (options,) = re.findall(r"Options of `summary` are the fields of `/predict_mc`: ([^.]+)\.", TEXT)
    assert re.findall(r"\w+", options) == list(inspect.signature(LoadedModel.summary).parameters)[2:]
