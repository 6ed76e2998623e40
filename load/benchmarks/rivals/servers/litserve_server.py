"""LitServe. RIVAL_PORT is its port, RIVAL_WORKERS the number of processes, RIVAL_BATCH the most requests of a batch."""

from __future__ import annotations

import os
from typing import Any

import litserve as ls
import numpy as np

_BATCH = int(os.environ.get("RIVAL_BATCH", "1"))
_WAIT_S = 0.001


class Digits(ls.LitAPI):
    """Draws passes for one request, or for those of a batch."""

    def setup(self, device: str) -> None:
        """Load the network. It is imported here since LitServe's other processes need no TensorFlow."""
        import network

        self.network, self.as_json = network.Network(), network.as_json

    # LitServe hands a type that is named here to FastAPI.
    def decode_request(self, request, **_: Any) -> Any:  # type: ignore[no-untyped-def]
        """Read the rows and the number of passes."""
        return np.asarray(request["inputs"], np.float32), int(request["n_samples"])

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Leave the requests apart: they may ask for different numbers of passes."""
        return inputs

    def predict(self, x: Any, **_: Any) -> Any:
        """Answer a request, or each of a batch."""
        return self.network.ask(*x) if _BATCH == 1 else self.network.ask_together(x)

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Leave the answers apart."""
        return output

    def encode_response(self, output: Any, **_: Any) -> dict[str, Any]:
        """Write the answer as lists."""
        return self.as_json(output)


if __name__ == "__main__":
    api = Digits(max_batch_size=_BATCH, batch_timeout=_WAIT_S if _BATCH > 1 else 0.0)
    workers = int(os.environ.get("RIVAL_WORKERS", "1"))
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=workers, fast_queue=True, timeout=120)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["RIVAL_PORT"]),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
