"""A fake service of one model: answers at once, and can stall, answer an error, or answer wrong numbers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

CARD: dict[str, Any] = {
    "name": "small",
    "version": "v1",
    "sha256": "0" * 64,
    "inputs": [{"name": "x", "shape": [2], "dtype": "float32"}],
    "outputs": [{"name": "y", "shape": [1], "dtype": "float32"}],
    "sites": [{"path": "dropout", "kind": "Dropout", "rate": 0.5}],
    "split": {"prefix_share": 0.5},
    "limits": {"max_samples": 1000, "max_rows": 64, "max_row_passes": 65536},
}


class Handler(BaseHTTPRequestHandler):
    """Stalls for the first `stall_s` of every `every_s` seconds."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    variance = 0.5
    every_s = 1.0
    stall_s = 0.0
    status = 200

    def do_GET(self) -> None:
        self.answer(CARD)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        stall = self.stall_s - time.time() % self.every_s
        if stall > 0:
            time.sleep(stall)
        rows = len(request["inputs"])
        model = {"name": "small", "version": "v1"}
        if self.path == "/predict":
            self.answer({"outputs": [[1.0]] * rows, "model": model})
        else:
            # The mean depends on the seed, so that there is a Monte Carlo error to measure.
            mean = 1 + (request["seed"] % 1000 - 500) / 1000 / request["n_samples"]
            errors = {"variance": [[self.variance]] * rows, "standard_error": [[0.1]] * rows}
            echo = {name: request[name] for name in ("n_samples", "seed")}
            self.answer({"mean": [[mean]] * rows, **errors, **echo, "model": model}, self.status)

    def answer(self, body: Any, status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Server-Timing", "queue;dur=0.25, compute;dur=1.5")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def fake_service(**attributes: Any) -> Iterator[str]:
    """Runs the service; yields its address."""
    handler = type("Handler", (Handler,), attributes)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
