"""The command, run in the process of the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from thinned.service.cli import main as cli

Run = Callable[..., tuple[Any, str, str]]


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
