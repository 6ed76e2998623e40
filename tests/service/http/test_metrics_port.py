"""The metrics on an address of their own, which one worker at a time holds."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.serving import free_port
from thinned.service.http import metrics_port
from thinned.service.http.metrics_port import MetricsPort, parse_address


def get(port: int, path: str = "/metrics", within_s: float = 10.0) -> httpx.Response:
    end = time.monotonic() + within_s
    while True:
        try:
            return httpx.get(f"http://127.0.0.1:{port}{path}", headers={"accept": "x/y"})
        except httpx.ConnectError:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_it_answers_metrics_and_nothing_else() -> None:
    port = free_port()
    one = MetricsPort(("127.0.0.1", port), lambda accept: (accept.encode(), "text/plain"))
    one.start()
    assert (get(port).content, get(port).headers["content-type"]) == (b"x/y", "text/plain")
    assert get(port, "/metrics?a").status_code == 200
    for path in ("/", "/predict", "/docs.json"):
        assert get(port, path).status_code == 404
    assert httpx.post(f"http://127.0.0.1:{port}/metrics").status_code == 501
    one.close()


def test_another_worker_takes_the_place_of_one_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_port, "AGAIN_S", 0.02)
    port = free_port()
    one, other = (MetricsPort(("127.0.0.1", port), lambda _, n=name: (n, "text/plain")) for name in (b"one", b"other"))
    one.start()
    assert get(port).content == b"one"
    other.start()
    assert get(port).content == b"one"
    one.close()
    assert get(port).content == b"other"
    other.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [("9100", ("127.0.0.1", 9100)), ("0.0.0.0:9100", ("0.0.0.0", 9100)), (":9100", ("127.0.0.1", 9100))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "host:0", "host:65536", "9100:host", "-1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(text)
