"""The models and services that `make bench-service` measures: this project's on two models, and a bare BentoML echo."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil

from thinned import HOME
from thinned.loadtest.service_process import Service, serving_bentoml

__all__ = ["compute_ms", "environment", "make_models", "resident_mib", "run_python", "serve_echo", "serve_model"]

_SAVE_CNN = "import sys; from thinned.loadtest.benchmarks.networks import NETWORKS; NETWORKS['cnn']().save(sys.argv[1])"
_ECHO = """
import bentoml

@bentoml.service
class Echo:
    @bentoml.api
    async def echo(self, inputs: list) -> list:
        return inputs
"""


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the duration of the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def make_models(folder: Path) -> None:
    """Put the models `cnn` (random weights) and `digits` (trained) into the store of BENTOML_HOME.

    Args:
        folder: For the file of the model that is imported.

    Raises:
        RuntimeError: A command failed; the message ends with what it printed.
    """
    path = folder / "cnn.keras"
    run_python("-c", _SAVE_CNN, str(path))
    run_python("-m", "thinned", "import", str(path), "--task", "classification", "--name", "cnn")
    run_python("-m", "thinned", "train", "digits")


def run_python(*arguments: str) -> None:
    """Run Python with these arguments, in a process of its own.

    Raises:
        RuntimeError: It failed; the message ends with what it printed.
    """
    done = subprocess.run(
        [sys.executable, *arguments], cwd=HOME, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)[:80]} exited {done.returncode}:\n{done.stdout}\n{done.stderr}")


def serve_model(model: str, **variables: str) -> AbstractContextManager[Service]:
    """Serve a stored model, with further environment variables such as THINNED_JOIN, until the block ends."""
    given = {"THINNED_MODEL": model, **variables}
    return serving_bentoml("thinned.service.app:UncertaintyService", given, cwd=HOME)


def serve_echo(folder: Path) -> AbstractContextManager[Service]:
    """Serve a bare BentoML service that answers its input, from a module that is written to `folder`."""
    (folder / "bare_echo.py").write_text(_ECHO)
    return serving_bentoml("bare_echo:Echo", {}, cwd=folder)


def compute_ms(head: bytes) -> float:
    """Milliseconds in the engine, from the Server-Timing header in the head of an answer.

    Raises:
        RuntimeError: There is no such header.
    """
    found = re.search(rb"compute;dur=([0-9.]+)", head)
    if found is None:
        raise RuntimeError("the answer has no Server-Timing header with a compute time")
    return float(found[1])


def resident_mib(pid: int) -> float:
    """Resident memory of a process and its descendants, in MiB."""
    leader = psutil.Process(pid)
    return sum(process.memory_info().rss for process in (leader, *leader.children(recursive=True))) / 2**20
