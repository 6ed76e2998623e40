"""Ray Serve, by one replica. RIVAL_PORT is its port."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse


@serve.deployment(max_ongoing_requests=64, ray_actor_options={"num_cpus": 2})
class Digits:
    """Draws passes for a request."""

    def __init__(self) -> None:
        # Imported here since Ray's other processes need no TensorFlow.
        import network

        self.network, self.as_json = network.Network(), network.as_json

    async def __call__(self, request: Request) -> Any:
        """Answer a request; GET tells that the network is loaded."""
        if request.method == "GET":
            return "ready"
        body = await request.json()
        question = np.asarray(body["inputs"], np.float32), int(body["n_samples"])
        return JSONResponse(self.as_json(self.network.ask(*question)))


def main() -> None:
    """Serve until SIGTERM. Ray's files go to the working directory."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=128 * 2**20,
        _temp_dir=str(Path.cwd()),
        _node_ip_address="127.0.0.1",
        logging_level="WARNING",
    )
    try:
        options = {"host": "127.0.0.1", "port": int(os.environ["RIVAL_PORT"])}
        serve.start(http_options=options, logging_config={"log_level": "WARNING", "enable_access_log": False})
        serve.run(Digits.bind(), blocking=True)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
