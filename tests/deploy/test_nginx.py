"""`deploy/nginx`: its numbers are those of the settings, and nginx does with replicas what its comments say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.deploy.nginx import CONFIGURATION, NGINX, Balancer, balanced, checked, written
from tests.deploy.stand_ins import ANSWER, StandIn, standing_in
from tests.serving import free_port
from thinned.service.http import request_id
from thinned.service.http.paths import COSTLY
from thinned.service.settings import Settings

TEXT = CONFIGURATION.read_text()
UNITS = {"k": 1 << 10, "m": 1 << 20, "s": 1, "": 1}
NEEDS_NGINX = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
MIB = 1 << 20


def number(directive: str) -> int:
    """The value of a directive in bytes or seconds; of the product of two where it has two."""
    (value,) = re.findall(rf"^ *{directive} ([\w ]+);", TEXT, re.MULTILINE)
    product = 1
    for part in value.split():
        amount, unit = re.fullmatch(r"(\d+)([kms]?)", part).groups()
        product *= int(amount) * UNITS[unit]
    return product


SETTINGS = Settings()


@pytest.mark.parametrize(
    ("directive", "expected"),
    [
        ("client_max_body_size", SETTINGS.max_body_bytes),
        ("client_header_timeout", SETTINGS.header_timeout_s),
        ("client_body_timeout", SETTINGS.body_timeout_s),
        ("proxy_send_timeout", SETTINGS.body_timeout_s),
        ("large_client_header_buffers", SETTINGS.max_header_bytes),
        ("proxy_read_timeout", SETTINGS.max_timeout_ms / 1000 + 10),
        ("proxy_next_upstream_timeout", SETTINGS.timeout_ms / 1000),
    ],
)
def test_a_number_is_that_of_its_setting(directive: str, expected: float) -> None:
    assert number(directive) == expected


UNIT = (CONFIGURATION.parent / "thinned@.service").read_text()


def test_systemd_waits_until_what_was_taken_is_answered() -> None:
    (wait,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    assert int(wait) == SETTINGS.drain_s + SETTINGS.max_timeout_ms / 1000 + SETTINGS.body_timeout_s + 10


@pytest.mark.parametrize("text", [TEXT, UNIT])
def test_every_setting_that_is_named_is_one(text: str) -> None:
    named = set(re.findall(r"THINNED_(?=\w)\w+", text))
    assert named
    assert {name.removeprefix("THINNED_").lower() for name in named} <= set(Settings.model_fields)


def test_a_name_is_taken_over_where_the_service_takes_it_over() -> None:
    (pattern,) = re.findall(r'"~\^(.+)\$"', TEXT)
    assert pattern == request_id._USABLE.pattern.decode()


def test_the_paths_that_stream_are_those_of_the_service() -> None:
    (pattern,) = re.findall(r"location ~ (\S+stream\$)", TEXT)
    streams = [path for path in ("/predict_mc/stream", "/models/house/predict_mc/stream") if COSTLY.route_of(path)]
    assert len(streams) == 2
    assert all(re.search(pattern, path) for path in streams)
    assert not re.search(pattern, "/predict_mc")


# What nginx does

BODY = {"inputs": [[1.0, 2.0]], "seed": 7}


def refusal(status: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nretry-after: 3\r\ncontent-length: 7\r\n\r\nrefused" % status


@pytest.fixture
def replicas() -> Iterator[list[StandIn]]:
    with standing_in(2) as both:
        yield both


@pytest.fixture
def balancer(replicas: list[StandIn], tmp_path: Path) -> Iterator[Balancer]:
    with balanced(tmp_path, [one.port for one in replicas], workers=1) as running:
        yield running


def ask(balancer: Balancer, path: str = "/predict_mc", **given: object) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{balancer.port}{path}", **({"json": BODY} | given), timeout=20)


@NEEDS_NGINX
def test_nginx_finds_it_in_order(tmp_path: Path) -> None:
    assert checked(tmp_path, written(tmp_path, [3001, 3002], 3000)) == ""


@NEEDS_NGINX
def test_requests_are_shared_and_arrive_as_they_were(replicas: list[StandIn], balancer: Balancer) -> None:
    for _ in range(4):
        assert ask(balancer, headers={"x-request-id": "mine"}).json() == {}
    assert [len(one.asked) for one in replicas] == [2, 2]
    head, _, body = replicas[0].asked[0].partition(b"\r\n\r\n")
    assert json.loads(body) == BODY
    assert b"POST /predict_mc HTTP/1.1" in head
    assert b"\r\nX-Request-ID: mine\r\n" in head
    assert f"\r\nHost: 127.0.0.1:{balancer.port}\r\n".encode() in head
    assert b"\r\nConnection:" not in head
    ask(balancer, headers={"x-request-id": "not usable"})
    (made,) = re.findall(rb"X-Request-ID: (\S+)\r\n", replicas[0].asked[2])
    assert re.fullmatch(rb"[0-9a-f]{32}", made)


@NEEDS_NGINX
@pytest.mark.parametrize("status", [b"503 Service Unavailable", b"429 Too Many Requests", b"502 Bad Gateway"])
def test_what_the_service_refuses_is_passed_on_and_asked_of_no_other(
    replicas: list[StandIn], balancer: Balancer, status: bytes
) -> None:
    for one in replicas:
        one.says = refusal(status)
    for _ in range(8):  # more than the failures that a replica may have
        answer = ask(balancer)
        assert (answer.status_code, answer.headers["retry-after"], answer.text) == (int(status[:3]), "3", "refused")
    assert sum(len(one.asked) for one in replicas) == 8
    for one in replicas:
        one.says = ANSWER
    assert ask(balancer).status_code == 200


@NEEDS_NGINX
def test_a_request_whose_replica_is_gone_is_asked_of_the_other(
    replicas: list[StandIn], balancer: Balancer, tmp_path: Path
) -> None:
    replicas[0].says = b""  # It has the request, and ends.
    assert [ask(balancer).status_code for _ in range(12)] == [200] * 12
    assert len(replicas[1].asked) == 12
    assert len(replicas[0].asked) == 3  # Then it is left alone.
    lines = balancer.log()
    assert [line.said for line in lines if len(line.asked) == 2] == [("502", "200")] * 3


@NEEDS_NGINX
def test_where_none_answers_it_is_said_when_to_come_again(replicas: list[StandIn], balancer: Balancer) -> None:
    for one in replicas:
        one.says = b""
    for _ in range(5):
        answer = ask(balancer, headers={"x-request-id": "mine"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine"
    # At most twice each, until both have had their failures.
    assert [len(one.asked) for one in replicas] == [3, 3]


@NEEDS_NGINX
def test_a_replica_that_is_not_there_costs_no_answer(replicas: list[StandIn], tmp_path: Path) -> None:
    with balanced(tmp_path, [free_port(), replicas[0].port], workers=1) as balancer:
        assert [ask(balancer).status_code for _ in range(6)] == [200] * 6


@NEEDS_NGINX
@pytest.mark.parametrize("path", ["/predict_mc/stream", "/models/house/predict_mc/stream"])
def test_events_come_one_by_one(replicas: list[StandIn], balancer: Balancer, path: str) -> None:
    one = replicas[0]
    one.says = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    one.pieces = [b"7\r\ndata: 1\r\n", b"7\r\ndata: 2\r\n", b"0\r\n\r\n"]
    one.goes_on.set()
    with httpx.stream("POST", f"http://127.0.0.1:{balancer.port}{path}", json=BODY, timeout=10) as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"data: 1"  # The second one is not sent before.
        one.goes_on.set()
        assert next(pieces) == b"data: 2"
        one.goes_on.set()
        assert list(pieces) == []


@NEEDS_NGINX
def test_a_body_over_the_limit_is_refused_in_the_services_form(replicas: list[StandIn], balancer: Balancer) -> None:
    size = SETTINGS.max_body_bytes
    answer = ask(balancer, json=None, content=b"x" * (size + 1))
    assert (answer.status_code, answer.json()["status"]) == (413, 413)
    assert f"{size // MIB} MiB" in answer.json()["detail"]
    assert ask(balancer, json=None, content=b"x" * size).status_code == 200
    assert sum(len(one.asked) for one in replicas) == 1


@NEEDS_NGINX
@pytest.mark.parametrize("path", ["/metrics", "/admin/reload"])
def test_what_is_one_replicas_own_is_not_asked_here(replicas: list[StandIn], balancer: Balancer, path: str) -> None:
    assert ask(balancer, path).status_code == 404
    assert not any(one.asked for one in replicas)
