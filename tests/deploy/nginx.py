"""nginx in front of loopback ports, with the configuration in `deploy/nginx`: only addresses and the log are others."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.serving import ROOT, free_port

__all__ = ["CONFIGURATION", "NGINX", "Balancer", "Line", "balanced", "checked", "written"]

CONFIGURATION = ROOT / "deploy" / "nginx" / "thinned.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
"""The program; None where it is not installed."""

_MAIN = """
daemon off;
master_process {master};
worker_processes {workers};
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include thinned.conf;
}}
"""
_SERVER = re.compile(r"^( *server) 127\.0\.0\.1:\d+( .*;)$", re.MULTILINE)
_LINE = re.compile(r'(\d{3}) ([\d.]+) asked "([^"]*)" which said "([^"]*)"')


class Line(NamedTuple):
    """What nginx logged of a request: the answer's status, and for each replica that was asked its port and status."""

    status: int
    asked: tuple[int, ...]
    said: tuple[str, ...]


class Balancer(NamedTuple):
    """A running nginx."""

    port: int
    folder: Path

    def log(self) -> list[Line]:
        """A line for each request that has ended."""
        found = _LINE.finditer((self.folder / "access.log").read_text())
        return [
            Line(int(status), tuple(int(port) for port in re.findall(r":(\d+)", asked)), tuple(said.split(", ")))
            for status, _, asked, said in (line.groups() for line in found)
        ]


def written(folder: Path, replicas: Sequence[int], port: int, *, workers: int = 2) -> Path:
    """Write a main configuration that includes the one of `deploy/nginx` for these ports; its path."""
    text = CONFIGURATION.read_text()
    lines = list(_SERVER.finditer(text))
    if not lines:
        raise AssertionError(f"{CONFIGURATION} has no line `server 127.0.0.1:PORT ...;`")
    servers = "\n".join(f"{lines[0][1]} 127.0.0.1:{replica}{lines[0][2]}" for replica in replicas)
    text = text[: lines[0].start()] + servers + text[lines[-1].end() :]
    text = text.replace("listen 3000;", f"listen 127.0.0.1:{port};")
    text = text.replace("/var/log/nginx/thinned.log", "access.log")
    (folder / "thinned.conf").write_text(text)
    main = folder / "nginx.conf"
    main.write_text(_MAIN.format(workers=workers, master="on" if workers > 1 else "off"))
    return main


def checked(folder: Path, main: Path) -> str:
    """What `nginx -t` says of a configuration; empty where it is in order."""
    command = [str(NGINX), "-p", str(folder), "-c", str(main), "-e", "error.log", "-t", "-q"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stderr


@contextmanager
def balanced(folder: Path, replicas: Sequence[int], *, workers: int = 2) -> Iterator[Balancer]:
    """Run nginx in front of these loopback ports until the block ends. It ends its own processes with it."""
    port = free_port()
    main = written(folder, replicas, port, workers=workers)
    process = subprocess.Popen(
        [str(NGINX), "-p", str(folder), "-c", str(main), "-e", "error.log"], stdin=subprocess.DEVNULL
    )
    try:
        _until_it_listens(process, port, folder)
        yield Balancer(port, folder)
    finally:
        process.terminate()
        process.wait(30)


def _until_it_listens(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError(f"nginx ended with {process.returncode}: {(folder / 'error.log').read_text()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("nginx did not listen within 10 s")
