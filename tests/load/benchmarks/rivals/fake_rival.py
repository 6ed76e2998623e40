"""A rival of the standard library: it answers a made-up network, and leaves a process in a session of its own.

Its first argument is none: what it does is told by the variable FAKE, which is `right`, `wrong`, `broken` or `ends`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DOES = os.environ["FAKE"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(200, b"ready")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if DOES == "broken":
            return self._send(500, b"no")
        row, n = body["inputs"][0], body["n_samples"]
        mean, sd = row[0][0][0], 0.1
        told = random.gauss(mean + (0.1 if DOES == "wrong" else 0.0), sd / n**0.5)
        return self._send(200, json.dumps({"mean": [[told]], "variance": [[sd**2]]}).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 64


if DOES == "ends":
    sys.exit("no such network")
idle = [sys.executable, "-c", "import time; time.sleep(600)", os.environ["RIVAL_MODEL"]]
subprocess.Popen(idle, start_new_session=True)
with Server(("127.0.0.1", int(os.environ["RIVAL_PORT"])), Handler) as server:
    server.serve_forever()
