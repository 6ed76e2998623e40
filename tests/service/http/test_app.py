"""The real service in processes of its own: what only `bentoml serve` can show."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from openapi_spec_validator import validate

from tests.service.conftest import Served
from tests.serving import ROOT, Service, start_service
from thinned.service.app import UncertaintyService, http
from thinned.service.http.tokens import new_token

IMAGE = [[[0.0]] * 8] * 8


def problem_of(response: httpx.Response) -> dict[str, object]:
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = response.json()
    assert document["status"] == response.status_code
    return document


def test_predict_and_predict_mc(service: Service) -> None:
    plain = httpx.post(service.url + "/predict", json={"inputs": [IMAGE]}).json()
    assert sum(plain["outputs"][0]) == pytest.approx(1, abs=1e-5)
    body = {"inputs": [IMAGE, IMAGE], "n_samples": 40, "seed": 3}
    first, second = (httpx.post(service.url + "/predict_mc", json=body).json() for _ in range(2))
    assert first == second
    # Both rows see the same networks, and kernels may round a row by where it stands in its call.
    assert first["mean"][0] == pytest.approx(first["mean"][1], rel=1e-5)
    assert min(first["mutual_information"]) > 0


def test_no_other_site_may_read_an_answer(service: Service) -> None:
    headers = {"origin": "http://elsewhere.example", "access-control-request-method": "POST"}
    for answer in (
        httpx.get(service.url + "/model", headers=headers),
        httpx.options(service.url + "/predict", headers=headers),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_document_is_the_models_own_and_valid(service: Service) -> None:
    document = httpx.get(service.url + "/docs.json").json()
    assert httpx.get(service.url + "/openapi.json").json() == document
    validate(document)
    assert document["info"]["title"] == "Thinned: digits"


def test_the_page_loads_nothing_from_elsewhere(service: Service) -> None:
    page = httpx.get(service.url + "/")
    assert page.headers["content-type"].startswith("text/html")
    assert "//" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    (script,) = re.findall(r"<script>(.+)</script>", page.text)
    assert f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert (page.headers["x-frame-options"], page.headers["x-content-type-options"]) == ("DENY", "nosniff")
    loaded = re.findall(r'"\.(/[^"]+)"', page.text)
    assert len(loaded) >= 4
    assert {httpx.get(service.url + address).status_code for address in loaded} == {200}


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/healthz"])
def test_probes_and_metrics_answer(service: Service, path: str) -> None:
    assert httpx.get(service.url + path).status_code == 200
    response = httpx.post(service.url + path)
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD"
    assert problem_of(response)["detail"] == "This path takes GET, HEAD only."


@pytest.mark.parametrize("path", ["/nope", "/predict/", "/schema", "/static_content/nope", "/%00", "/%ff", "//predict"])
def test_a_path_that_is_not_there_is_a_problem(service: Service, path: str) -> None:
    assert problem_of(httpx.get(service.url + path))["status"] == 404


def test_paths_that_are_not_there_leave_no_rows_in_the_metrics(service: Service) -> None:
    for n in range(5):
        httpx.get(f"{service.url}/unheard-of-{n}")
    assert "unheard-of" not in httpx.get(service.url + "/metrics").text


def test_a_body_said_to_be_too_long_is_refused_before_it_is_sent(service: Service) -> None:
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {10**12}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert b"413" in connection.recv(100).partition(b"\r\n")[0]


def test_a_client_that_goes_away_breaks_nothing(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: \xff\xfe\r\ncontent-length: 2\r\n\r\n{}"
        )
        assert b"415" in connection.recv(100).partition(b"\r\n")[0]
    assert httpx.post(service.url + "/predict", json={"inputs": [IMAGE]}).status_code == 200
    assert "Traceback" not in service.log()


def test_health_answers_while_a_heavy_request_runs(service: Service) -> None:
    body = {"inputs": [IMAGE] * 64, "n_samples": 1000, "seed": 1}
    took: list[float] = []

    def heavy() -> None:
        began = time.monotonic()
        assert httpx.post(service.url + "/predict_mc", json=body, timeout=120).status_code == 200
        took.append(time.monotonic() - began)

    thread = threading.Thread(target=heavy)
    thread.start()
    waits = []
    with httpx.Client() as client:
        while thread.is_alive():
            began = time.monotonic()
            assert client.get(service.url + "/livez").status_code == 200
            assert client.get(service.url + "/readyz").status_code == 200
            waits.append(time.monotonic() - began)
            time.sleep(0.01)
    thread.join()
    # Were the event loop held up, one probe would take as long as the request.
    assert len(waits) >= 3
    assert max(waits) < took[0] / 2


def test_a_request_is_counted_under_its_model_and_logged_by_its_name(service: Service) -> None:
    httpx.post(service.url + "/predict", json={"inputs": [IMAGE]}, headers={"x-request-id": "logged.1"})
    metrics = httpx.get(service.url + "/metrics").text
    assert re.search(
        r'^thinned_request_duration_seconds_count{model="digits:\w+",route="/predict",status="200"} ', metrics, re.M
    )
    assert "bentoml" not in metrics
    (line,) = [line for line in service.log().splitlines() if "logged.1" in line]
    assert "path=/predict,length=" in line
    assert line.endswith("(request_id=logged.1)")


def test_nothing_but_the_address_asked_for_listens(service: Service) -> None:
    processes = [psutil.Process(service.pid), *psutil.Process(service.pid).children(recursive=True)]
    assert len(processes) >= 2
    sockets = [connection for process in processes for connection in process.net_connections("all")]
    listening = {tuple(c.laddr) for c in sockets if c.status == psutil.CONN_LISTEN}
    assert listening == {("127.0.0.1", service.port)}
    assert {c.laddr for c in sockets if c.family == socket.AF_UNIX} <= {"", None}
    assert {c.type for c in sockets if c.family != socket.AF_UNIX} == {socket.SOCK_STREAM}


@pytest.mark.long
def test_nothing_is_kept_under_bentomls_home_and_a_full_disk_stops_no_answer(digits: str) -> None:
    """A process that may write no byte to any file stands for a full disk."""
    folder = Path(os.environ["BENTOML_HOME"]) / "prometheus_multiproc_dir"
    before = set(folder.glob("*"))  # of services that are not ours, which other tests start
    with start_service(digits) as service:
        assert set(folder.glob("*")) <= before
        (worker,) = psutil.Process(service.pid).children()
        worker.rlimit(psutil.RLIMIT_FSIZE, (0, 0))
        for _ in range(5):
            assert httpx.post(service.url + "/predict_mc", json={"inputs": [IMAGE]}).status_code == 200
        assert 'route="/predict_mc",status="200"} 5.0' in httpx.get(service.url + "/metrics").text
        assert [worker] == psutil.Process(service.pid).children()


@pytest.mark.long
def test_two_workers_answer_with_the_sum_and_read_their_tokens_again(digits: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    (old, line), (new, new_line) = new_token("old"), new_token("new")
    tokens.write_text(line)
    env = {"THINNED_TOKENS": str(tokens)}
    with start_service(digits, env, workers=2) as service:
        workers = psutil.Process(service.pid).children()
        assert len(workers) == 2

        def answers(token: str, count: int = 1) -> list[httpx.Response]:
            headers = {"authorization": f"Bearer {token}"}
            return [httpx.get(service.url + "/metrics", headers=headers) for _ in range(count)]

        def wait_for(condition: Callable[[], bool]) -> None:
            end = time.monotonic() + 30
            while not condition():
                assert time.monotonic() < end
                time.sleep(0.2)

        wait_for(lambda: re.search(r"^thinned_ready_workers{.*} 2.0$", answers(old)[0].text, re.M) is not None)
        for _ in range(10):
            assert httpx.get(service.url + "/livez").status_code == 200
        wait_for(lambda: all('route="/livez",status="200"} 10.0' in answer.text for answer in answers(old, 6)))
        tokens.write_text(new_line)
        os.kill(service.pid, signal.SIGHUP)
        wait_for(lambda: {answer.status_code for answer in answers(new, 6)} == {200})
        assert {answer.status_code for answer in answers(old, 6)} == {401}
        assert psutil.Process(service.pid).children() == workers
        folders = {worker.environ()["PROMETHEUS_MULTIPROC_DIR"] for worker in workers}
    assert not any(Path(folder).exists() for folder in folders)


def test_before_the_model_is_loaded_the_service_lives_but_is_not_ready(loading: Served) -> None:
    http.state.models = loading.models
    server = UncertaintyService.to_asgi()
    assert loading.ask_of(server, "GET", "/livez").status_code == 200
    response = loading.ask_of(server, "GET", "/readyz")
    assert problem_of(response)["status"] == 503
    assert "is being loaded" in response.json()["detail"]
    assert response.headers["retry-after"] == "2"


def serve(**variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bentoml", "serve", "thinned.service.app:UncertaintyService", "--port", "0"]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("THINNED_MODEL", "nowhere", "thinned: no model 'nowhere' in the store"),
        ("THINNED_MAX_ROWS", "0", "thinned: THINNED_MAX_ROWS: input should be greater than or equal to 1"),
        ("THINNED_MAX_ROW", "9", "did you mean THINNED_MAX_ROWS?"),
        ("THINNED_TOKENS", "nowhere", "thinned: THINNED_TOKENS: nowhere cannot be read"),
    ],
)
def test_what_cannot_be_served_ends_at_once_with_one_line(variable: str, value: str, words: str) -> None:
    done = serve(**{variable: value})
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr.splitlines()) == 1
