"""`thinned score --engine ray` on a cluster of two nodes, begun for this; `make score-ray` installs Ray and runs it.

The nodes are processes of this machine, with one CPU each, and ask for a token that was made for them.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from tests.service.cli.conftest import Run
from tests.service.cli.scoring.conftest import COLUMNS, Rows

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: make score-ray")
ASKED = ("--n-samples", "400", "--seed", "7")
PARTS = 300


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_one_line_names_the_extra(thinned: Run, rowwise: str, rows: Rows, tmp_path: Path) -> None:
    status, _, err = thinned(
        "score", rowwise, "--input", rows.file, "--output", tmp_path / "out", *ASKED, "--engine", "ray"
    )
    assert (status, err.count("\n")) == (2, 1)
    assert 'this needs ray, which is not installed; install it with: pip install "thinned[ray]"' in err


@dataclass
class Cluster:
    """Two nodes: the one that leads, and the other."""

    address: str
    environment: dict[str, str]
    nodes: list[subprocess.Popen[bytes]]


def _members(leader: int) -> list[int]:
    """The processes of a session: a node's own, and what it has begun."""
    found = []
    for process in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        with suppress(OSError):
            if os.getsid(process) == leader:
                found.append(process)
    return found


def _end(node: subprocess.Popen[bytes]) -> None:
    for member in _members(node.pid):
        with suppress(OSError):
            os.kill(member, signal.SIGKILL)
    node.wait(10)


def _works(node: subprocess.Popen[bytes]) -> bool:
    """Whether an actor of ours runs on a node."""
    for member in _members(node.pid):
        with suppress(OSError):
            if b"MapWorker" in Path(f"/proc/{member}/cmdline").read_bytes():
                return True
    return False


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = 6000 + probe.getsockname()[1] % 3000  # Ray's workers have ports from 10002 on
    base = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1", "--disable-usage-stats"]
    base += ["--object-store-memory", str(100_000_000)]
    nodes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:

        def start(*arguments: str) -> None:
            quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            nodes.append(subprocess.Popen([*base, *arguments], env=environment, start_new_session=True, **quiet))

        try:
            start("--head", "--port", str(port), "--include-dashboard=false", "--temp-dir", folder)
            host = _listening(port)
            start("--address", f"{host}:{port}")
            yield Cluster(f"{host}:{port}", environment, nodes)
        finally:
            for node in nodes:
                _end(node)


def _listening(port: int) -> str:
    """The address of this machine by which the first node is reached, once it is."""
    host = socket.gethostbyname(socket.gethostname())
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for candidate in (host, "127.0.0.1"):
            with suppress(OSError), socket.create_connection((candidate, port), timeout=1):
                return candidate
        time.sleep(0.5)
    raise TimeoutError(f"no node listens on port {port}")


@needs_ray
def test_a_node_is_killed_midway_and_nothing_is_lost_or_there_twice(
    thinned: Run, rowwise: str, rows: Rows, cluster: Cluster, tmp_path: Path
) -> None:
    x = np.random.default_rng(5).normal(size=(PARTS * 20, 6)).astype("float32")
    columns: dict[str, Any] = dict(zip(COLUMNS, x.T, strict=True))
    columns["x_3"] = [None if row % 100 == 7 else value for row, value in enumerate(columns["x_3"].tolist())]
    parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet", row_group_size=700)
    asked = ["score", rowwise, "--input", str(tmp_path / "rows.parquet"), *ASKED, "--part-rows", "20", "--output"]
    folder = tmp_path / "ray"
    command = [sys.executable, "-m", "thinned", *asked, str(folder), "--engine", "ray", "--workers", "2"]
    command += ["--address", cluster.address]
    run = subprocess.Popen(command, env=cluster.environment, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 180
    begins = PARTS
    while run.poll() is None and time.monotonic() < deadline:
        done = len(list(folder.glob("part-*")))
        if begins == PARTS and done and all(map(_works, cluster.nodes)):
            begins = done
        if done >= begins + 20:
            break
        time.sleep(0.02)
    assert run.poll() is None, "it ended before both nodes had parts"
    _end(cluster.nodes[1])
    out, _ = run.communicate(timeout=180)
    assert done < PARTS
    assert run.returncode == 3, out
    found = parquet.read_table(folder)
    assert found["row"].to_pylist() == [row for row in range(len(x)) if row % 100 != 7]
    assert len((folder / "_rejects.csv").read_text().splitlines()) == 1 + len(x) // 100
    assert thinned(*asked[:-3], "--output", tmp_path / "here")[0] == 3
    here = parquet.read_table(tmp_path / "here")
    for name in ("mean_0", "mean_1", "variance_0", "variance_1"):
        np.testing.assert_allclose(found[name].to_numpy(), here[name].to_numpy(), rtol=1e-5)
