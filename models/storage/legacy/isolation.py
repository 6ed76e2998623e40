"""Starting the process that reads an untrusted file, and taking from it plain data only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thinned.models.errors import ModelFileError
from thinned.models.storage.legacy.hdf5_reader import Array
from thinned.models.storage.legacy.worker import REFUSED, cpu_seconds

__all__ = ["OldModel", "SavedLayer", "read_apart"]

# The folder that holds the package `thinned`: the process finds it there, installed or not.
_HOME = Path(str(sys.modules["thinned"].__file__)).resolve().parent.parent
_COPY = "copy it again, or save it again with the Keras that wrote it"


@dataclass(frozen=True)
class SavedLayer:
    """The weights of one layer, under the names that the file gives them."""

    layer: str
    names: list[str]
    arrays: list[Array]


@dataclass(frozen=True)
class OldModel:
    """What a file of earlier Keras holds. Exactly one of `layers` (HDF5) and `tree` (an archive) is given."""

    version: str
    backend: str | None
    config: Any
    layers: list[SavedLayer] | None
    tree: dict[str, Array] | None


def read_apart(file: Path, folder: Path, *, timeout: float | None = None) -> OldModel:
    """Read a file in a process of its own, whose memory and time are limited by the file's size.

    Args:
        file: An HDF5 file, or an archive of Keras 2.
        folder: An empty folder for what the process writes.
        timeout: Seconds of waiting; by default by the file's size.

    Returns:
        The file's parts.

    Raises:
        ModelFileError: The file was refused, or the process died, ran out of memory or took too long.
    """
    command = [sys.executable, "-m", "thinned.models.storage.legacy.worker", str(file.resolve()), str(folder)]
    inherited = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(_HOME), *([inherited] if inherited else [])]),
        "HDF5_PLUGIN_PRELOAD": "::",  # no filter is loaded from a plugin
        "OPENBLAS_NUM_THREADS": "1",  # its threads would take address space
        "OMP_NUM_THREADS": "1",
    }
    limit = timeout if timeout is not None else 2.0 * cpu_seconds(file.stat().st_size)
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise ModelFileError(f"{file}: reading it took longer than {limit:.0f} s; {_COPY}") from None
    if done.returncode == REFUSED:
        raise ModelFileError(f"{file}: {(folder / 'refusal.txt').read_text(encoding='utf-8')}; {_COPY}")
    if done.returncode:
        raise ModelFileError(f"{file}: the process that read it {_death(done.returncode, done.stderr)}; {_COPY}")
    return _taken(folder)


def _death(status: int, errors: bytes) -> str:
    if status > 0:
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no reason given"]
        return f"failed ({last[0][:200]})"
    if -status == getattr(signal, "SIGXCPU", 0):
        return "took more time than a file of its size needs"
    if -status == signal.SIGKILL:
        return "was stopped, which happens when memory or time runs out"
    return f"crashed (signal {-status})"


def _taken(folder: Path) -> OldModel:
    found = json.loads((folder / "model.json").read_text(encoding="utf-8"))

    def array(number: int) -> Array:
        return np.load(folder / f"{number}.npy", allow_pickle=False)  # type: ignore[no-any-return]

    layers, tree = found.get("layers"), found.get("tree")
    return OldModel(
        version=found["version"],
        backend=found["backend"],
        config=found["config"],
        layers=layers
        and [SavedLayer(one["layer"], one["names"], [array(number) for number in one["arrays"]]) for one in layers],
        tree=None if tree is None else {one["path"]: array(one["array"]) for one in tree},
    )
