"""A service in a process of its own: started, waited for, and ended with all its children. Standard library only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from thinned import HOME

__all__ = ["Service", "ServiceDidNotStartError", "free_port", "python_path", "serving"]

READY_WITHIN_S = 180.0
STOP_WITHIN_S = 20.0


@dataclass(frozen=True)
class Service:
    """A running service. `url` has no slash at its end; the service writes to `log_path`."""

    url: str
    port: int
    log_path: Path
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Id of the process, which is also the id of its group."""
        return self.process.pid

    def log(self) -> str:
        """All that the service has written so far."""
        return self.log_path.read_text(errors="replace")


class ServiceDidNotStartError(RuntimeError):
    """The service ended, or was not ready in time; the text ends with what it wrote."""


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def python_path() -> str:
    """PYTHONPATH for a child that runs a module of this project from any folder."""
    return os.pathsep.join([str(HOME), *filter(None, [os.environ.get("PYTHONPATH")])])


@contextmanager
def serving(
    command: Sequence[str],
    port: int,
    env: Mapping[str, str] | None = None,
    *,
    cwd: Path | None = None,
    ready_within_s: float = READY_WITHIN_S,
) -> Iterator[Service]:
    """Runs `command`, which is to serve on loopback `port`, until the block ends.

    Args:
        command: PartitionRunner and arguments.
        port: The port that the command was told.
        env: Variables laid over those of this process.
        cwd: Folder to run in; this process's own when left out.
        ready_within_s: How long `/readyz` may take to answer 200.

    Raises:
        ServiceDidNotStartError: It ended, or was not ready in time.
    """
    with tempfile.TemporaryDirectory(prefix="thinned-service-") as folder:
        log_path = Path(folder) / "log.txt"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        service = Service(f"http://127.0.0.1:{port}", port, log_path, process)
        try:
            _wait_until_ready(service, ready_within_s)
            yield service
        finally:
            _stop(process)


def _wait_until_ready(service: Service, within_s: float) -> None:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        code = service.process.poll()
        if code is not None:
            raise ServiceDidNotStartError(f"the service ended with status {code}; it wrote:\n{service.log()}")
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(service.url + "/readyz", timeout=5) as r:
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
    # A child may outlive the leader of its group, which exists as long as one of them does.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
