"""Each error that a person can act on ends the command in one line; one of ours keeps its traceback."""

from __future__ import annotations

import pytest
import typer
from bentoml.exceptions import BentoMLException

from thinned.models.errors import InputError, ModelNotFoundError, Problem
from thinned.service.cli import main as cli
from thinned.service.cli.exit_status import ending


@pytest.mark.parametrize(
    ("error", "line", "status"),
    [
        (ModelNotFoundError("no model\n  'a'"), "thinned: no model 'a'", 2),
        (InputError([Problem(("inputs", 0), "wrong")]), "thinned: inputs.0: wrong", 2),
        (InputError([Problem((i,), "bad") for i in range(5)]), "thinned: 0: bad; 1: bad; 2: bad; and 2 more", 2),
        (typer.BadParameter("too big."), "thinned: Invalid value: too big; see thinned --help", 2),
        (BentoMLException("no store"), "thinned: no store", 2),
        (typer.Abort(), "thinned: nothing was done", 1),
        (KeyboardInterrupt(), "thinned: stopped", 130),
        (OSError(28, "No space left on device", "model.keras"), "thinned: model.keras: No space left on device", 1),
    ],
)
def test_it_is_one_line(error: BaseException, line: str, status: int) -> None:
    assert ending(error) == (line, status)


def test_an_error_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    assert ending(ZeroDivisionError()) is None
    monkeypatch.setattr(cli, "_quieten", lambda: None)
    monkeypatch.setattr("thinned.models.storage.model_store.find_all", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["models"])
