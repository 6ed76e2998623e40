"""Starts the real service for a test: `bentoml serve` in a process of its own, on a free loopback port."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from thinned.loadtest.service_process import READY_WITHIN_S, Service, ServiceDidNotStartError, free_port, serving

__all__ = ["ROOT", "Service", "ServiceDidNotStartError", "code_of_commands", "free_port", "run_cli", "start_service"]

ROOT = Path(__file__).resolve().parent.parent


def run_cli(
    *arguments: str, env: Mapping[str, str] | None = None, timeout_s: float = 300.0, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs `thinned ARGUMENTS` as a person would, in a process of its own, and returns what it printed.

    With `check`, an exit status other than 0 raises `AssertionError` with all that the command wrote.
    """
    done = subprocess.run(
        [sys.executable, "-m", "thinned", *arguments],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"thinned {' '.join(arguments)} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def code_of_commands(*commands: Sequence[str]) -> str:
    """Python that runs `thinned` with each of these arguments in one process; "--" stands behind what each prints."""
    return (
        "from thinned.service.cli.main import main\n"
        f"for command in {[list(command) for command in commands]!r}:\n"
        "    try:\n        main(command)\n"
        "    except SystemExit as ended:\n        assert ended.code in (None, 0), command\n"
        "    print('--', flush=True)\n"
    )


@contextmanager
def start_service(
    model: str,
    env: Mapping[str, str] | None = None,
    *,
    workers: int = 1,
    cwd: Path = ROOT,
    target: str = "thinned.service.app:UncertaintyService",
    ready_within_s: float = READY_WITHIN_S,
) -> Iterator[Service]:
    """Serves `model` from the store in BENTOML_HOME until the block ends.

    Args:
        model: Name, or name:version, of a stored model (`THINNED_MODEL`).
        env: More environment variables, such as `{"THINNED_MAX_ROWS": "4"}`.
        workers: Worker processes.
        cwd: Where `target` is imported from.
        target: What `bentoml serve` is given.
        ready_within_s: How long `/readyz` may take to answer 200.

    Raises:
        ServiceDidNotStartError: It ended, or was not ready in time; the text ends with what it wrote.
    """
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
    variables = {"THINNED_MODEL": model, "THINNED_WORKERS": str(workers), **(env or {})}
    with serving(command, port, variables, cwd=cwd, ready_within_s=ready_within_s) as service:
        yield service
