"""Who is measured: each rival with its pinned packages, how it is started, and how it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONTENDERS", "RIVALS", "SERVERS", "Contender", "Moments", "Rival"]

SERVERS = Path(__file__).parent / "servers"
Rows = NDArray[np.float32]
Moments = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean and variance over the passes, each (B, classes)."""


def _plain_body(rows: Rows, n_samples: int) -> dict[str, Any]:
    return {"inputs": rows.tolist(), "n_samples": n_samples}


def _plain_moments(answer: Any) -> Moments:
    return np.asarray(answer["mean"], np.float64), np.asarray(answer["variance"], np.float64)


def _v2_body(rows: Rows, n_samples: int) -> dict[str, Any]:
    image = {"name": "image", "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}
    counts = {"name": "n_samples", "datatype": "INT32", "shape": [len(rows), 1], "data": [n_samples] * len(rows)}
    return {"inputs": [image, counts]}


def _v2_moments(answer: Any) -> Moments:
    by_name = {one["name"]: np.reshape(np.asarray(one["data"], np.float64), one["shape"]) for one in answer["outputs"]}
    return by_name["mean"], by_name["variance"]


@dataclass(frozen=True)
class Rival:
    """A framework.

    Attributes:
        title: Its name as people know it.
        packages: What its environment needs beside TensorFlow and Keras, with versions.
        module: Imported to see that the environment is whole.
        server: File in `SERVERS`, which runs in that environment.
        path: Where requests are posted.
        ready_path: Answers 200 as soon as the network is loaded.
        body: Makes the fields of a request from rows, (B, 8, 8, 1), and the number of passes.
        moments: Reads mean and variance from a decoded answer.
    """

    title: str
    packages: tuple[str, ...]
    module: str
    server: str
    path: str = "/predict_mc"
    ready_path: str = "/readyz"
    body: Callable[[Rows, int], dict[str, Any]] = _plain_body
    moments: Callable[[Any], Moments] = _plain_moments


RIVALS: Mapping[str, Rival] = {
    "fastapi": Rival("FastAPI", ("fastapi==0.163.2",), "fastapi", "fastapi_server.py"),
    "litserve": Rival(
        "LitServe",
        ("litserve==0.2.19", "fastapi==0.163.2"),
        "litserve",
        "litserve_server.py",
        path="/predict",
        ready_path="/health",
    ),
    "ray": Rival("Ray Serve", ("ray[serve]==2.60.0", "fastapi==0.163.2"), "ray.serve", "ray_server.py"),
    "mlserver": Rival(
        "MLServer",
        ("mlserver==1.7.1", "uvloop==0.21.0"),
        "mlserver",
        "mlserver_server.py",
        path="/v2/models/digits/infer",
        ready_path="/v2/health/ready",
        body=_v2_body,
        moments=_v2_moments,
    ),
}


@dataclass(frozen=True)
class Contender:
    """One server that is measured: a rival, how it draws passes, and what it is set to.

    Attributes:
        rival: Of `RIVALS`; `thinned` for ours.
        way: `loop`, `tiled` or `split`; empty for ours.
        setting: What it is set to, in a word or two; part of its name.
        variables: What the files in `SERVERS` read.
        for_many: It is set for many clients, and asked by them alone.
    """

    rival: str
    way: str = ""
    setting: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    for_many: bool = False

    @property
    def name(self) -> str:
        """Such as `litserve-tiled-batches`; `thinned` for ours."""
        return "-".join(filter(None, [self.rival, self.way, self.setting.replace(" ", "-")]))

    @property
    def title(self) -> str:
        """Such as `LitServe, tiled, batches`."""
        title = RIVALS[self.rival].title if self.rival in RIVALS else "Thinned"
        return ", ".join(filter(None, [title, self.way, self.setting]))

    @property
    def asked(self) -> Rival:
        """How it is asked; ours as FastAPI is."""
        return RIVALS.get(self.rival, RIVALS["fastapi"])

    def request_body(self, rows: Rows, n_samples: int) -> bytes:
        """The JSON body of a request for rows, (B, 8, 8, 1)."""
        return json.dumps(self.asked.body(rows, n_samples)).encode()

    def command(self, python: Path, port: int, folder: Path, model: Path) -> tuple[list[str], dict[str, str]]:
        """The command that serves on a loopback port, and its environment variables.

        Args:
            python: Of the rival's environment.
            port: Where it is to listen.
            folder: Empty, for files that it needs.
            model: The `.keras` file.
        """
        variables = {"RIVAL_MODEL": str(model), "RIVAL_WAY": self.way, "RIVAL_PORT": str(port), **self.variables}
        # Nothing of Thinned is on the path, and nothing reports to anyone.
        variables |= {"PYTHONPATH": str(SERVERS), "RAY_USAGE_STATS_ENABLED": "0"}
        if self.rival != "mlserver":
            return [str(python), str(SERVERS / self.asked.server)], variables
        _write_mlserver_settings(folder, port, variables)
        return [str(python), "-c", "from mlserver.cli import main; main()", "start", str(folder)], variables


def _write_mlserver_settings(folder: Path, port: int, variables: Mapping[str, str]) -> None:
    """Write the two files that `mlserver start` reads."""
    from thinned.loadtest.service_process import free_port

    server = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "debug": False,
        "parallel_workers": int(variables.get("RIVAL_PARALLEL", "0")),
    }
    batch = int(variables.get("RIVAL_BATCH", "0"))
    model = {"name": "digits", "implementation": "mlserver_server.Digits"}
    if batch:
        model |= {"max_batch_size": batch, "max_batch_time": 0.001}
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(model))


def _two(rival: str, **variables: str) -> Contender:
    """A rival by two processes, each with one thread for an operation of TensorFlow's, for many clients."""
    return Contender(rival, "tiled", "2 processes", {"RIVAL_THREADS": "1", **variables}, for_many=True)


CONTENDERS: tuple[Contender, ...] = (
    Contender("thinned"),
    Contender("fastapi", "tiled"),
    _two("fastapi", RIVAL_WORKERS="2"),
    Contender("litserve", "tiled"),
    _two("litserve", RIVAL_WORKERS="2", RIVAL_BATCH="4"),
    Contender("ray", "tiled"),
    Contender("mlserver", "tiled"),
    _two("mlserver", RIVAL_PARALLEL="2", RIVAL_BATCH="4"),
    Contender("fastapi", "split"),
    *(Contender(rival, "loop") for rival in RIVALS),
)
