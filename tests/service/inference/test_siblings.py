"""What a worker sees of the others: those that live, not those that died, and the version that all serve."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from thinned.service.inference.siblings import Siblings

CHILD = """
import sys
from pathlib import Path
from thinned.service.inference.siblings import Siblings

siblings = Siblings(Path(sys.argv[1]))
siblings.join()
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Child:
    """Another worker, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", CHILD, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.do("pass")

    def do(self, line: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    other = Child(tmp_path)
    yield other
    other.kill()


def test_one_is_ready_from_when_it_says_so_until_it_dies(child: Child, tmp_path: Path) -> None:
    own = Siblings(tmp_path)
    own.join()
    own.tell(ready=True)
    assert not own.one_is_ready()  # It is no sibling of its own.
    child.do("siblings.tell(ready=True)")
    assert own.one_is_ready()
    child.do("siblings.tell(ready=False)")
    assert not own.one_is_ready()
    child.do("siblings.tell(ready=True)")
    child.kill()
    assert not own.one_is_ready()
    assert list(tmp_path.glob("*.worker")) == [tmp_path / f"{os.getpid()}.worker"]
    own.leave()
    assert not list(tmp_path.glob("*.worker"))


def test_a_signal_reaches_those_that_live(child: Child, tmp_path: Path) -> None:
    own = Siblings(tmp_path)
    own.join()
    (tmp_path / "1.worker").write_text("ready")  # of a worker that died; its number now belongs to another process
    own.send(signal.SIGTERM)
    assert child.process.wait(10) == -signal.SIGTERM
    own.leave()


def test_the_first_says_which_version_all_serve_until_it_is_exchanged(tmp_path: Path) -> None:
    first, second = Siblings(tmp_path), Siblings(tmp_path)
    assert first.version is None
    first.agree_on("a:1")
    second.agree_on("a:2")
    assert second.version == "a:1"
    second.agree_on("a:2", now=True)
    assert first.version == "a:2"
    assert [path.name for path in tmp_path.iterdir()] == ["version"]


@pytest.mark.parametrize("folder", [None, Path("/nowhere/at/all")])
def test_without_a_folder_a_worker_stands_alone(folder: Path | None) -> None:
    alone = Siblings(folder)
    alone.join()
    alone.tell(ready=True)
    alone.agree_on("a:1", now=True)
    alone.send(signal.SIGTERM)
    assert not alone.one_is_ready()
    assert alone.version is None
    alone.leave()
