"""Starts the real service for a test: `bentoml serve` in a process of its own, on a free loopback port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
READY_WITHIN_S = 180.0
STOP_WITHIN_S = 20.0


@dataclass(frozen=True)
class Service:
    """A running service. `url` has no slash at its end; `log` is what it has written so far; `pid` is its leader."""

    url: str
    port: int
    pid: int
    log_path: Path
    process: subprocess.Popen[bytes]

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")


class ServiceDidNotStartError(RuntimeError):
    """The service ended, or was not ready in time; the text ends with what it wrote."""


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_cli(
    *arguments: str, env: Mapping[str, str] | None = None, timeout_s: float = 300.0, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs `thinned ARGUMENTS` as a person would, in a process of its own, and returns what it printed.

    With `check`, an exit status other than 0 raises `AssertionError` with all that the command wrote.
    """
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments],
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


@contextmanager
def start_service(
    model: str,
    env: Mapping[str, str] | None = None,
    *,
    workers: int = 1,
    cwd: Path = ROOT,
    target: str = "service.app:UncertaintyService",
    ready_within_s: float = READY_WITHIN_S,
) -> Iterator[Service]:
    """Serves `model` from the store in BENTOML_HOME until the block ends.

    Args:
        model: Name, or name:version, of a stored model (`THINNED_MODEL`).
        env: More environment variables, such as `{"THINNED_MAX_ROWS": "4"}`.
        workers: Worker processes of the API server.
        cwd: Where `target` is imported from.
        target: What `bentoml serve` is given.
        ready_within_s: How long `/readyz` may take to answer 200.

    Raises:
        ServiceDidNotStartError: It ended, or was not ready in time.
    """
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        **os.environ,
        "BENTOML_DO_NOT_TRACK": "True",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONUNBUFFERED": "1",
        "THINNED_MODEL": model,
        **(env or {}),
    }
    with tempfile.TemporaryDirectory(prefix="thinned-service-") as folder:
        log_path = Path(folder) / "log.txt"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [*command, "--api-workers", str(workers)],
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        service = Service(f"http://127.0.0.1:{port}", port, process.pid, log_path, process)
        try:
            _wait_until_ready(service, ready_within_s)
            yield service
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process started in a session of its own, and all its children, by the id of its group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            continue
    # A child may outlive its leader: the group still exists then, and is ended here.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _wait_until_ready(service: Service, within_s: float) -> None:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        code = service.process.poll()
        if code is not None:
            raise ServiceDidNotStartError(f"the service ended with status {code}; it wrote:\n{service.log()}")
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(service.url + "/readyz", timeout=2) as r:
            if r.status == 200:
                return
        time.sleep(0.1)
    raise ServiceDidNotStartError(f"the service was not ready within {within_s:g} s; it wrote:\n{service.log()}")
