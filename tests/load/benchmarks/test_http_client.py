"""The benchmark's HTTP client against a server of the standard library."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from thinned.loadtest.benchmarks.http_client import BrokenAnswerError, HttpClient, encode_request, run_clients


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(500 if self.path == "/fails" else 200)
        if self.path == "/endless":
            self.end_headers()
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_answers_come_back_whole(port: int) -> None:
    body = b"x" * 300_000
    with HttpClient(port) as client:
        for content in (b"{}", body, b""):
            answer = client.ask(encode_request("/echo", content))
            assert (answer.status, answer.body) == (200, content)
            assert 0 < answer.took_s < 10


def test_an_answer_of_unknown_length_is_refused(port: int) -> None:
    with HttpClient(port) as client, pytest.raises(BrokenAnswerError, match="content-length"):
        client.ask(encode_request("/endless", b"1"))


def test_many_clients_ask_in_turn_until_the_count_is_reached(port: int) -> None:
    elapsed: list[float] = []
    times = run_clients(port, [encode_request("/echo", b"1")], clients=4, seconds=60, at_most=41, tick=elapsed.append)
    assert len(times.took_s) == 41
    assert times.failed == 0
    assert times.per_second > 0
    assert times.quantile_ms(0.5) <= times.quantile_ms(1.0) == 1e3 * max(times.took_s)
    assert all(0 <= part <= 1 for part in elapsed)


def test_refusals_are_counted_separately(port: int) -> None:
    times = run_clients(
        port, [encode_request("/fails", b"1"), encode_request("/echo", b"1")], clients=1, seconds=60, at_most=10
    )
    assert (times.failed, len(times.took_s)) == (5, 5)
