"""Every error ends the command in one line; the traceback is there for who asks for it."""

from __future__ import annotations

import pytest
import typer
from bentoml.exceptions import BentoMLException

from thinned.models.compat.messages import message_of
from thinned.models.errors import InputError, ModelNotFoundError, Problem
from thinned.service.cli import main as cli
from thinned.service.cli.exit_status import ending

FULL = "model.keras could not be written; free some of it, or have BENTOML_HOME and TMPDIR name folders on another"


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
        (OSError(28, "No space left on device", "model.keras"), f"thinned: the disk is full: {FULL}", 1),
    ],
)
def test_it_is_one_line(error: BaseException, line: str, status: int) -> None:
    assert ending(error) == (line, status)


WRAPPED = """Exception encountered when calling Gone.call().

\x1b[1mno such table\x1b[0m

Arguments received by Gone.call():
  • args=('tf.Tensor(shape=(None, 2))',)"""
IN_GRAPH = """Graph execution error:

Detected at node functional_1/add/Add defined at (most recent call last):
<stack traces unavailable>
Incompatible shapes: [24,6,4] vs. [4,6,4]
\t [[{{node functional_1/add/Add}}]] [Op:__inference_1]"""
NODE = "{{function_node __wrapped__AddV2}} Incompatible shapes: [2] vs. [3] [Op:AddV2] name: "


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError(WRAPPED), "in Gone.call(): no such table"),
        (ValueError(IN_GRAPH), "Incompatible shapes: [24,6,4] vs. [4,6,4]"),
        (ValueError(NODE), "Incompatible shapes: [2] vs. [3]"),
        (ValueError("first\n\nsecond"), "first"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (ValueError("x" * 1000), "x" * 400 + "…"),
    ],
)
def test_what_a_library_says_is_one_sentence(error: Exception, message: str) -> None:
    assert message_of(error) == message
    name = type(error).__name__
    assert ending(error).line == f"thinned: {message} ({name}); THINNED_DEBUG=1 shows where it was raised"


def test_no_error_ends_in_a_traceback_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_quieten", lambda: None)
    monkeypatch.setattr("thinned.models.storage.survey.survey", broken)
    with pytest.raises(SystemExit) as ended:
        cli.main(["models"])
    assert ended.value.code == 2
    assert len(capfd.readouterr().err.splitlines()) == 1
    monkeypatch.setenv("THINNED_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main(["models"])
