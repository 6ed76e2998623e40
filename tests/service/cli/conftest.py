"""The command, run in the process of the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.models.storage.test_model_store import card
from thinned.models.storage import model_store
from thinned.models.storage.model_store import StoredModel
from thinned.service.cli import main as cli

Run = Callable[..., tuple[Any, str, str]]
Put = Callable[[], StoredModel]


@pytest.fixture
def thinned(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `thinned ARGUMENTS`: the exit status, and what it wrote to stdout and to stderr."""
    monkeypatch.setattr(cli, "_quieten", lambda: None)

    def thinned(*arguments: object) -> tuple[Any, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        return (ended.value.code, *capfd.readouterr())

    return thinned


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Stores a file, which need not be a model for what is looked at here."""
    root = tmp_path / "home" / "models"
    root.mkdir(parents=True)
    monkeypatch.setattr(model_store, "_root", lambda: root)
    file = tmp_path / "small.keras"
    file.write_bytes(b"weights")
    return lambda: model_store.store(file, card(file))
