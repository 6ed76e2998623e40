"""One member, from its making to its verdict: Keras, the command line and what was stored, each in its own process."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.zoo_run import keras_side, served_side
from tests.zoo_run.compare import moment_gaps, plain_gap, tolerance
from tests.zoo_run.members import Member

__all__ = ["SECONDS", "as_command", "as_fork", "preload", "run_member"]

SECONDS = 300.0
"""How long each of the steps of a member may take."""
_CONTEXT = multiprocessing.get_context("forkserver")
Answered = tuple[int | None, str, str]
Command = Callable[[Sequence[str], Path], Answered]
_UNEXPECTED = ("Traceback (most recent call last)", "THINNED_DEBUG=1 shows where")


class _StepError(Exception):
    """A step gave no answer; `verdict` says what that means."""

    def __init__(self, verdict: str, text: str) -> None:
        super().__init__(text)
        self.verdict = verdict


def as_command(arguments: Sequence[str], folder: Path) -> Answered:
    """`python -m thinned ARGUMENTS`, as a person would call it: its status (None after SECONDS), what it printed."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "thinned", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, "", ""
    return done.returncode, done.stdout, done.stderr.strip()


def as_fork(arguments: Sequence[str], folder: Path) -> Answered:
    """The same entry point in a process that was forked after the imports, which spares the seconds that they take."""
    with tempfile.TemporaryDirectory(dir=folder) as kept:
        process = _CONTEXT.Process(target=_entry_point, args=(list(arguments), kept))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            return None, "", ""
        printed, said = (Path(kept, stream).read_text() for stream in ("stdout", "stderr"))
        return process.exitcode, printed, said.strip()


def _entry_point(arguments: list[str], folder: str) -> None:
    for stream, descriptor in (("stdout", 1), ("stderr", 2)):
        with Path(folder, stream).open("w") as file:
            os.dup2(file.fileno(), descriptor)
    os.chdir(folder)
    sys.argv = ["thinned", *arguments]
    from thinned.service.cli.main import main

    main()


def preload() -> None:
    """Have the processes of members start with Keras and the engine imported; none has run anything."""
    _CONTEXT.set_forkserver_preload(
        [
            "tensorflow",
            "keras",
            "thinned.models.audit.run",
            "thinned.models.loading",
            "thinned.models.storage.importing",
            "thinned.service.cli.main",
        ]
    )


def run_member(member: Member, folder: Path, command: Command) -> dict[str, Any]:
    """Its verdict, and what it rests on, as JSON data.

    Args:
        member: The member.
        folder: Where its file is written; the store is BENTOML_HOME.
        command: How `thinned` is run.
    """
    began = time.monotonic()
    record: dict[str, Any] = {"name": member.name, "group": member.group, "expected_refusal": member.refused}
    try:
        record |= _steps(member, folder, record, command)
    except _StepError as error:
        record |= {"verdict": error.verdict, "text": str(error)}
    except (OSError, EOFError) as error:  # a pipe that broke: nothing is known of the model
        record |= {"verdict": "not made", "text": f"{type(error).__name__}: {error}"}
    return record | {"seconds": round(time.monotonic() - began, 1)}


def _steps(member: Member, folder: Path, record: dict[str, Any], command: Command) -> dict[str, Any]:
    name = re.sub(r"\W+", "-", member.name).lower()
    file = folder / f"{name}.keras"
    with _process(keras_side.run, member.name, str(file)) as keras:
        made = _receive(keras, "not made")
        record |= {"parameters": made["parameters"], "layers": made["layers"]}
        record |= imported(member, made, file, name, command)
        if record["status"] != 0:
            keras.send({})
            raise _StepError(*_refusal(member, record))
        with _process(served_side.run, name) as served:
            answers = _receive(served, "traceback")
            keras.send({"rows": answers["rows"]})
            plain = _receive(keras, "not made")
            record |= _compare_plain(answers, plain, made)
            passes = _receive(served, "traceback")
            record["sites"] = passes["sites"]
            problems = list(record.pop("problems"))
            if passes["passes"]:
                problems += _compare_passes(keras, passes, answers["half"], record)
            checked = _receive(served, "traceback")
            record["audited"] = checked["audited"]
            problems += [f"laws: {broken}" for broken in checked["laws"]]
            problems += [f"audit: {text}" for text in checked["audit"]]
        keras.send({})
    shutil.rmtree(Path(os.environ["BENTOML_HOME"]) / "models" / name, ignore_errors=True)
    file.unlink()
    return record | {"verdict": "wrong" if problems else "right", "text": "; ".join(problems)}


def imported(member: Member, made: dict[str, Any], file: Path, name: str, command: Command) -> dict[str, Any]:
    """What `thinned import` said, and its exit status."""
    arguments = ["import", str(file), "--task", made["task"], "--name", name, *member.options]
    if made["task"] == "regression" and "--scale" not in arguments:
        arguments += ["--scale", "values"]  # A softmax among them is taken as numbers, and that is meant.
    arguments += ["--module", made["module"]] if made["module"] else []
    began = time.monotonic()
    status, printed, said = command(arguments, file.parent)
    if status is None:
        raise _StepError("too slow", f"thinned import took more than {SECONDS:.0f} s")
    if "Traceback (most recent call last)" in said + printed:
        raise _StepError("traceback", said[-2000:])
    return {"status": status, "said": said[-2000:], "import_seconds": round(time.monotonic() - began, 1)}


def _refusal(member: Member, record: dict[str, Any]) -> tuple[str, str]:
    lines = [line for line in record["said"].splitlines() if line.startswith("thinned: ")]
    text = lines[-1].removeprefix("thinned: ") if lines else record["said"]
    if not lines or any(sign in text for sign in _UNEXPECTED):
        return "traceback", text
    rightful = member.refused is not None and re.search(member.refused, text)
    return ("rightly refused" if rightful else "refused"), text


def _compare_plain(answers: dict[str, Any], plain: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    noise = plain_gap(plain["second"], plain["first"])
    gap = plain_gap(answers["plain"], plain["first"])
    allowed = tolerance(made["layers"], answers["half"])
    problems = []
    if noise <= 1e-6 and not gap <= allowed:
        problems.append(f"the plain answer is off by {gap:.2g} of the largest number")
    draws = {"draws_always": True} if noise > 1e-6 else {}
    return {"plain_gap": None if noise > 1e-6 else gap, "problems": problems, **draws}


def _compare_passes(keras: Connection, passes: dict[str, Any], half: bool, record: dict[str, Any]) -> list[str]:
    """Keras's draws a hundred at a time; where they differ, once more with a call for each, as rows may share noise."""
    found: list[str] = []
    for rows_at_once in (keras_side.ROWS_AT_ONCE, 1):
        keras.send({"row": passes["row"], "rows_at_once": rows_at_once, "calls": keras_side.DRAWS // rows_at_once})
        theirs = _receive(keras, "not made")["draws"]
        found, record["errors_apart"] = moment_gaps(passes["passes"], theirs, 5e-2 if half else 1e-3)
        record["keras_draws"] = len(theirs[0])
        if not found:
            break
    return found


@contextmanager
def _process(target: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_guarded, args=(target, theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(2)
        process.kill()


def _guarded(target: Callable[..., None], connection: Connection, *arguments: Any) -> None:
    """Whatever is raised goes through the pipe as text."""
    import traceback

    try:
        target(connection, *arguments)
    except (EOFError, BrokenPipeError):
        return
    except BaseException:
        connection.send(traceback.format_exc())


def _receive(connection: Connection, verdict: str) -> dict[str, Any]:
    if not connection.poll(SECONDS):
        raise _StepError("too slow", f"a step took more than {SECONDS:.0f} s")
    try:
        answer = connection.recv()
    except EOFError as error:
        raise _StepError(verdict, "the process ended without an answer") from error
    if isinstance(answer, str):
        raise _StepError(verdict, answer[-3000:])
    return dict(answer)
