"""The pages that teach, run as they stand: each block in its order, and what it prints against what the page shows."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.serving import ROOT, start_service
from tests.test_readme import bash, path_with_thinned
from tests.write_reference import REFERENCE, reference

BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?![\w])")
WORD = re.compile(r"[A-Za-z][A-Za-z-]{2,}")
VERSION = re.compile(r"\b(?=\w*\d)[a-z2-7]{16}\b")
PORT = 3210
LONG = pytest.mark.long
# The numbers of these come from draws that are the same everywhere; elsewhere they are those of a trained network.
REPEATED = {"dropout", "traps"}


class Block(NamedTuple):
    """A block that runs: its language, its text, and what the page says that it prints, where it does."""

    language: str
    text: str
    shown: str | None


def blocks(name: str) -> list[Block]:
    return [Block(*found.groups()) for found in BLOCK.finditer((ROOT / "docs" / f"{name}.md").read_text())]


def words(text: str) -> list[str]:
    return WORD.findall(VERSION.sub("", text))


def numbers(text: str) -> list[float]:
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


class Reader:
    """Someone who types what a page says, in one folder and one session of Python."""

    def __init__(self, folder: Path, until: ExitStack) -> None:
        self.folder, self.until = folder, until
        self.path = path_with_thinned(folder)
        self.names: dict[str, Any] = {"__name__": "page"}
        self.port = PORT

    def run(self, block: Block) -> str:
        if block.language == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block.text, "page", "exec"), self.names)
            return printed.getvalue()
        if found := re.match(r"thinned serve (\S+) --port", block.text):
            self.port = self.until.enter_context(start_service(found[1])).port
            return ""
        return bash(block.text.replace(f":{PORT}", f":{self.port}"), self.folder, self.path)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.chdir(tmp_path)
    with ExitStack() as until:
        yield Reader(tmp_path, until)


@pytest.mark.filterwarnings("default")  # A reader's Python shows warnings and goes on.
@pytest.mark.parametrize(
    "name", ["dropout", "traps", pytest.param("tutorial", marks=LONG), pytest.param("howto", marks=LONG)]
)
def test_a_page_does_what_it_says(reader: Reader, name: str) -> None:
    for block in blocks(name):
        printed = reader.run(block)
        if block.shown is None:
            continue
        # What is noted of a network that was trained here may differ from one training to the next.
        first = None if name in REPEATED else 5
        assert words(printed)[:first] == words(block.shown)[:first], f"{block.text}\nprinted\n{printed}"
        if name in REPEATED:
            pairs = zip(numbers(printed), numbers(block.shown), strict=True)
            assert all(math.isclose(a, b, rel_tol=0.03, abs_tol=0.006) for a, b in pairs), printed


def test_the_reference_is_that_of_the_code() -> None:
    assert REFERENCE.read_text() == reference(), "run `make reference`"
