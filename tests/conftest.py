"""What holds for every test: quiet libraries, a model store of this run's own, one real service for all."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Read by TensorFlow and BentoML when they are first imported, which any import below may do.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
STORE = Path(tempfile.mkdtemp(prefix="thinned-store-"))
os.environ["BENTOML_HOME"] = str(STORE)
# Settings of the person who runs the tests must not reach them, nor the width that pytest-xdist gives its processes.
for variable in [name for name in os.environ if name.startswith("THINNED_") or name == "COLUMNS"]:
    del os.environ[variable]

import pytest
from hypothesis import settings

from tests.serving import Service, run_cli, start_service

# TensorFlow traces a graph at a first call, so the time of one example says nothing.
settings.register_profile("thinned", deadline=None, max_examples=50, derandomize=bool(os.environ.get("CI")))
settings.load_profile("thinned")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(STORE, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    _seed(f"{fixturedef.baseid}::{fixturedef.argname}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    _seed(item.nodeid)


def _seed(name: str) -> None:
    """Give a test or a fixture the same untrained networks in every run, whatever ran before it."""
    seed = zlib.crc32(name.encode())
    random.seed(seed)  # Keras takes its first seed from here, where it is imported later.
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(seed)


@pytest.fixture(autouse=True)
def no_settings_left_behind() -> Iterator[None]:
    """Removes the settings that a command, run in this process, has set for what it starts."""
    yield
    for variable in [name for name in os.environ if name.startswith("THINNED_")]:
        del os.environ[variable]


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a trained `digits` in the run's store, trained by the command that a person would use.

    Processes of one run share what the first of them has trained: each has a copy in a store of its own.
    """
    ours = STORE / "models" / "digits"
    if "PYTEST_XDIST_WORKER" not in os.environ:
        run_cli("train", "digits")
        return "digits"
    shared = tmp_path_factory.getbasetemp().parent / "trained digits"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if shared.exists():
            shutil.copytree(shared, ours, symlinks=True)
        else:
            run_cli("train", "digits")
            shutil.copytree(ours, shared, symlinks=True)
    return "digits"


@pytest.fixture(scope="session")
def service(digits: str) -> Iterator[Service]:
    """The real service, serving `digits`. Shared by all tests of the run: leave it as you found it."""
    with start_service(digits) as running:
        yield running
