"""The metrics on an address of their own, for a scraper that has no token.

One worker at a time answers there, for all of them; when it ends another takes its place.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["MetricsPort", "parse_address"]

log = logging.getLogger("bentoml.thinned")

AGAIN_S = 2.0
REQUEST_S = 5.0


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, or of `PORT` for loopback.

    Raises:
        ValueError: It is neither.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError("expected HOST:PORT, or PORT for loopback, with a port from 1 to 65535")
    return host.strip("[]") or "127.0.0.1", int(port)


class MetricsPort:
    """Answers `GET /metrics`, and nothing else, in a thread of its own.

    Args:
        address: Host and port.
        exposition: The metrics and their content type, for a header `accept`.
    """

    def __init__(self, address: tuple[str, int], exposition: Callable[[str], tuple[bytes, str]]) -> None:
        self._address = address
        self._exposition = exposition
        self._closed = threading.Event()
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listen, as soon as no other worker does."""
        threading.Thread(target=self._run, name="thinned-metrics-port", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        if self._server is not None:
            self._server.shutdown()

    def _run(self) -> None:
        told = False
        while not self._closed.is_set():
            try:
                self._server = ThreadingHTTPServer(self._address, _handler(self._exposition))
            except OSError as error:
                if not told:
                    log.info("metrics are not answered on %s:%d by this worker: %s", *self._address, error.strerror)
                told = True
                self._closed.wait(AGAIN_S)
                continue
            with self._server:
                self._server.serve_forever(poll_interval=0.2)


def _handler(exposition: Callable[[str], tuple[bytes, str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_S
        server_version = "thinned"
        sys_version = ""

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404)
                return
            content, kind = exposition(self.headers.get("accept", ""))
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """A scraper is not worth a line."""

    return Handler
