"""Run a service as a child process: start it, wait until it is ready, stop it with all its children."""

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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from thinned import HOME

__all__ = ["Service", "ServiceDidNotStartError", "free_port", "python_path", "serving", "serving_bentoml"]

READY_WITHIN_S = 180.0
STOP_WITHIN_S = 20.0


@dataclass(frozen=True)
class Service:
    """A running service. `url` has no trailing slash; `log_path` holds its stdout and stderr."""

    url: str
    port: int
    log_path: Path
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Id of the process, which is also the id of its group."""
        return self.process.pid

    def log(self) -> str:
        """What the service has written to stdout and stderr so far."""
        return self.log_path.read_text(errors="replace")


class ServiceDidNotStartError(RuntimeError):
    """The service exited, or was not ready in time; the message ends with its log."""


def free_port() -> int:
    """A loopback port that no process listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def python_path() -> str:
    """PYTHONPATH for a child process that imports `thinned`, whatever its working directory."""
    return os.pathsep.join([str(HOME), *filter(None, [os.environ.get("PYTHONPATH")])])


@contextmanager
def serving(
    command: Sequence[str],
    port: int,
    env: Mapping[str, str] | None = None,
    *,
    cwd: Path | None = None,
    ready_within_s: float = READY_WITHIN_S,
    ready_path: str = "/readyz",
) -> Iterator[Service]:
    """Run `command`, which serves on loopback `port`, until the block ends.

    Args:
        command: Program and arguments.
        port: The port that the command listens on.
        env: Environment variables that are set in addition to those of this process.
        cwd: Working directory; by default that of this process.
        ready_within_s: Longest time, in seconds, until `ready_path` answers 200.
        ready_path: Where the command tells that it is ready.

    Raises:
        ServiceDidNotStartError: The command exited, or was not ready in time.
    """
    with tempfile.TemporaryDirectory(prefix="thinned-service-") as folder:
        log_path = Path(folder) / "log.txt"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                # Nobody comes any longer when it is stopped.
                env={**os.environ, "PYTHONUNBUFFERED": "1", "THINNED_DRAIN_S": "0", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        service = Service(f"http://127.0.0.1:{port}", port, log_path, process)
        try:
            _wait_until_ready(service, ready_path, ready_within_s)
            yield service
        finally:
            _stop(process)


def serving_bentoml(
    target: str, env: Mapping[str, str], *, options: Sequence[str] = (), cwd: Path | None = None
) -> AbstractContextManager[Service]:
    """Run `bentoml serve` on a free loopback port until the block ends; arguments and errors are those of `serving`.

    Args:
        target: "module:Service".
        env: Further environment variables.
        options: Further options of `bentoml serve`.
        cwd: Working directory.
    """
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", target, *options, "--host", "127.0.0.1", "--port", str(port)]
    return serving(command, port, {"BENTOML_DO_NOT_TRACK": "True", **env}, cwd=cwd)


def _wait_until_ready(service: Service, path: str, within_s: float) -> None:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        code = service.process.poll()
        if code is not None:
            raise ServiceDidNotStartError(f"the service exited with status {code}; it wrote:\n{service.log()}")
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(service.url + path, timeout=5) as r:
            if r.status == 200:
                return
        time.sleep(0.1)
    raise ServiceDidNotStartError(f"the service was not ready within {within_s:g} s; it wrote:\n{service.log()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(STOP_WITHIN_S)
            break
        except subprocess.TimeoutExpired:
            continue
    # A child may outlive the group's leader; the group exists as long as one process of it does.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
