"""A service that is ended and started again under steady requests loses none of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from tests.service.lifecycle.steady import steady
from tests.serving import ROOT, free_port

TIMES = int(os.environ.get("RESTARTS", "1"))


def start(model: str, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "thinned", "serve", model, "--port", str(port)]
    env = {**os.environ, "THINNED_DRAIN_S": "0.5"}
    devnull = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=devnull, stdout=devnull, start_new_session=True)
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return process
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError("it was not ready within 120 s")


@pytest.mark.parametrize("clients", [4])
def test_restarts_lose_no_request(digits: str, clients: int) -> None:
    """`RESTARTS=20 pytest tests/service/lifecycle/test_restarts.py` for the long trial."""
    port = free_port()
    process = start(digits, port)
    try:
        with steady(f"http://127.0.0.1:{port}", clients=clients) as seen:
            for _ in range(TIMES):
                asked = sum(seen.answers.values())
                while sum(seen.answers.values()) < asked + 100:
                    time.sleep(0.05)
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
                process = start(digits, port)
        assert seen.lost == []
        assert len(seen.answers) == 1
        assert seen.refused > 0
    finally:
        process.kill()
        process.wait(30)
