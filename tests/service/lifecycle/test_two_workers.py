"""Two workers: both are there, one that is killed comes back, both follow a new version, and they end together."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.service.lifecycle.steady import steady
from tests.serving import Service, start_service
from thinned.models.storage import model_store
from thinned.models.storage.importing import import_model
from thinned.service.http.tokens import new_token


def wait_for(condition: Callable[[], bool], within_s: float = 60) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def workers(service: Service) -> list[psutil.Process]:
    return psutil.Process(service.pid).children()


def ready(service: Service, headers: dict[str, str] | None = None) -> float:
    """How many workers are ready, as the metrics tell."""
    lines = httpx.get(service.url + "/metrics", headers=headers).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("thinned_ready_workers{"))


@pytest.fixture(scope="module")
def service(digits: str) -> Iterator[Service]:
    with start_service(digits, {"THINNED_DRAIN_S": "3"}, workers=2) as running:
        wait_for(lambda: ready(running) == 2)
        yield running


def test_a_worker_that_is_killed_comes_back_and_takes_only_its_own_requests_with_it(service: Service) -> None:
    before = workers(service)
    assert len(before) == 2
    with steady(service.url) as seen:
        time.sleep(1)
        before[0].kill()
        wait_for(lambda: len(workers(service)) == 2 and before[0] not in workers(service))
        time.sleep(1)
        # While the new one loads it leaves the requests to the other one.
        wait_for(lambda: ready(service) == 2)
    assert len(seen.answers) == 1  # one version, one mean
    assert len(seen.lost) <= 2  # those that the killed one had
    assert all("RemoteProtocol" in error or "ReadError" in error for error in seen.lost)
    assert before[1] in workers(service)


@pytest.mark.long
def test_both_follow_a_new_version_without_a_gap_and_a_bad_one_changes_nothing(service: Service) -> None:
    old = model_store.find("digits")
    try:
        new = import_model(old.path / "model.keras", name="digits", tasks={None: "classification"})
        with steady(service.url) as seen:
            os.kill(service.pid, signal.SIGHUP)
            wait_for(lambda: new.version in seen.versions)
            asked = sum(seen.answers.values())
            wait_for(lambda: sum(seen.answers.values()) > asked + 50)
        assert seen.lost == []
        assert seen.refused == 0
        assert seen.versions == {old.version, new.version}
        with (new.path / "model.keras").open("ab") as file:
            file.write(b"x")
        (new.path.parent / "latest").write_text(old.version)
        bad = import_model(old.path / "model.keras", name="digits", tasks={None: "classification"})
        with (bad.path / "model.keras").open("ab") as file:
            file.write(b"x")
        os.kill(service.pid, signal.SIGHUP)
        wait_for(lambda: service.log().count("could not be exchanged") == 2)
        assert f"digits:{new.version} goes on" in service.log()
        with steady(service.url) as seen:
            time.sleep(0.5)
        assert seen.versions == {new.version}
        assert seen.lost == []
    finally:
        for tag in set(model_store.tags("digits")) - {old.tag}:
            model_store.delete(tag)
        os.kill(service.pid, signal.SIGHUP)
        wait_for(lambda: httpx.get(service.url + "/model").json()["version"] == old.version)


def test_what_comes_while_it_ends_is_answered_or_refused(service: Service) -> None:
    with steady(service.url, clients=4) as seen:
        time.sleep(0.5)
        os.kill(service.pid, signal.SIGTERM)
        time.sleep(0.5)
        assert httpx.get(service.url + "/readyz").status_code == 503
        assert "is stopping" in httpx.get(service.url + "/readyz").json()["detail"]
        last = httpx.get(service.url + "/livez")
        assert (last.status_code, last.headers["connection"]) == (200, "close")
        assert service.process.wait(30) == 0
        time.sleep(0.1)
    assert seen.lost == []
    assert seen.refused > 0
    assert "terminate called" not in service.log()


@pytest.mark.long
def test_an_administrator_has_it_follow_and_a_second_signal_ends_it_at_once(digits: str, tmp_path: Path) -> None:
    (admin, first), (other, second) = new_token("ops", admin=True), new_token("joe")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{first}\n{second}\n")
    env = {"THINNED_TOKENS": str(tokens), "THINNED_DRAIN_S": "3600"}
    with start_service(digits, env) as service:

        def reload(token: str | None) -> httpx.Response:
            headers = {} if token is None else {"authorization": f"Bearer {token}"}
            return httpx.post(service.url + "/admin/reload", headers=headers, timeout=60)

        assert [reload(token).status_code for token in (None, other)] == [401, 403]
        answer = reload(admin).json()
        version = model_store.find(digits).version
        assert answer == {"model": {"name": "digits", "version": version}, "changed": False}
        (worker,) = workers(service)
        os.kill(service.pid, signal.SIGTERM)
        wait_for(lambda: httpx.get(service.url + "/readyz").status_code == 503)
        assert worker.is_running()
        os.kill(service.pid, signal.SIGTERM)
        assert service.process.wait(10) == 1
        assert not worker.is_running()


@pytest.mark.long
def test_no_worker_outlives_the_process_that_started_it(digits: str) -> None:
    """One that did would keep the address from the next service."""
    with start_service(digits) as service:
        (worker,) = workers(service)
        service.process.kill()
        worker.wait(20)
        assert "the process that starts the workers has gone" in service.log()
