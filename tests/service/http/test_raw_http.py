"""What no HTTP client would send, as bytes on a connection: no 500, no silence, and the service goes on."""

from __future__ import annotations

import gzip
import json
import socket

import httpx
import pytest

from tests.serving import Service

BODY = b'{"inputs": 1}'


def answer(service: Service, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the first answer to these bytes."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, body


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    head = [line, "host: x", "connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def post(*headers: str, body: bytes = BODY) -> bytes:
    return request("POST /predict HTTP/1.1", *headers, body=body)


PACKED = gzip.compress(BODY)
BOMB = gzip.compress(b" " * (64 << 20))
LENGTH = f"content-length: {len(BODY)}"
PROBLEMS = {
    "one header too long": (431, post(LENGTH, "x-long: " + "a" * 40_000, body=BODY)),
    "headers too long together": (431, post(LENGTH, *[f"x-{i}: {'a' * 90}" for i in range(500)])),
    "a path too long to be there": (404, request(f"GET /{'a' * 20_000} HTTP/1.1")),
    "a path that is not there": (404, request("GET /nowhere HTTP/1.1")),
    "dots": (404, request("GET /../../etc/passwd HTTP/1.1")),
    "dots behind files": (404, request("GET /static_content/../../pyproject.toml HTTP/1.1")),
    "coded dots": (404, request("GET /static_content/%2e%2e/%2e%2e/LICENSE HTTP/1.1")),
    "a zero in the path": (404, request("GET /model%00 HTTP/1.1")),
    "a letter more": (404, request("GET /Model HTTP/1.1")),
    "another method": (405, request("DELETE /model HTTP/1.1")),
    "GET of an answer": (405, request("GET /predict HTTP/1.1")),
    "TRACE": (405, request("TRACE /predict HTTP/1.1")),
    "OPTIONS": (405, request("OPTIONS /predict HTTP/1.1")),
    "no body": (400, post()),
    "an empty body": (400, post("content-length: 0", body=b"")),
    "not JSON": (415, post(LENGTH, "content-type: text/plain")),
    "a form that is none": (400, post(LENGTH, "content-type: multipart/form-data; boundary=x")),
    "not an object": (400, post("content-length: 2", body=b"[]")),
    "half a character": (400, post("content-length: 1", body=b"\xc3")),
    "nothing that fits": (422, post(LENGTH)),
    "too long by its own word": (413, post("content-length: 999999999999", body=b"")),
    "too long in chunks": (
        413,
        post("transfer-encoding: chunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (2**24 + 1, b" " * (2**24 + 1))),
    ),
    "packed": (422, post(f"content-length: {len(PACKED)}", "content-encoding: gzip", body=PACKED)),
    "packed in another way": (415, post(LENGTH, "content-encoding: br")),
    "packed twice": (415, post(LENGTH, "content-encoding: gzip, gzip")),
    "not packed, as it says": (400, post(LENGTH, "content-encoding: gzip")),
    "a bomb": (413, post(f"content-length: {len(BOMB)}", "content-encoding: gzip", body=BOMB)),
    "a wish to speak WebSocket": (404, request("GET /nowhere HTTP/1.1", "upgrade: websocket", "connection: upgrade")),
    "a path with all of the address": (404, request("GET http://x/nowhere HTTP/1.1")),
    "a header longer than is read": (431, request("GET /livez HTTP/1.1", "x: " + "a" * 32_800)),
    "a query": (422, request("POST /predict?a=%ff&b HTTP/1.1", LENGTH, body=BODY)),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_it_is_answered_as_a_problem(service: Service, case: str) -> None:
    expected, sent = PROBLEMS[case]
    status, headers, body = answer(service, sent)
    assert status == expected
    assert headers["content-type"] == "application/problem+json"
    document = json.loads(body)
    assert document["status"] == status
    assert document["request_id"] == headers["x-request-id"]


# These the HTTP parser refuses before there is a request.
MALFORMED = {
    "an unknown method": request("BREW /predict HTTP/1.1"),
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
    "a space in a name": request("GET /livez HTTP/1.1", "a b: c"),
    "a zero in a value": request("GET /livez HTTP/1.1", "a: b\0c"),
    "two lengths": post("content-length: 1", "content-length: 2"),
    "a length and chunks": post("content-length: 13", "transfer-encoding: chunked"),
    "a length that is no number": post("content-length: -1"),
    "the beginning of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a folded header": request("GET /livez HTTP/1.1", "a: b\r\n c"),
    "a chunk of more than there can be": post("transfer-encoding: chunked", body=b"f" * 20 + b"\r\n"),
    "a negative chunk": post("transfer-encoding: chunked", body=b"-1\r\n"),
    "a chunk that is no number": post("transfer-encoding: chunked", body=b"zz\r\n"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_http_is_refused_and_stops_nothing(service: Service, case: str) -> None:
    status, headers, body = answer(service, MALFORMED[case])
    assert status == 400
    assert (headers["content-type"], headers["connection"]) == ("application/problem+json", "close")
    assert json.loads(body)["request_id"] == headers["x-request-id"]
    assert httpx.get(service.url + "/livez").status_code == 200


def test_many_small_headers_are_taken(service: Service) -> None:
    status, _, _ = answer(service, request("GET /livez HTTP/1.1", *[f"x-{i}: {i}" for i in range(300)]))
    assert status == 200
