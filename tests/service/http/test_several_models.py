"""Several models of one service: each answers by its name, all by one thread, and none at the cost of another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.conftest import Served
from thinned.models.errors import NotReadyError, ReloadError, SettingsError
from thinned.models.storage.importing import import_model
from thinned.models.storage.model_store import find
from thinned.service.http.problem_details import answer_to
from thinned.service.inference.model_room import ModelRoom
from thinned.service.settings import Settings

Serve = Callable[..., Served]
ROWS = [[1.0, 2.0, 3.0]]
WORDS = {"inputs": [[1, 2, 3]]}


@pytest.fixture(scope="module")
def both(serve: Serve, models: dict[str, str]) -> Served:
    return serve("classes words")


def waiting_for(there: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def detail(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    text: str = answer.json()["detail"]
    return text


def test_each_answers_by_its_name_and_the_first_without(both: Served, classes: Served) -> None:
    asked = {"inputs": ROWS, "n_samples": 20, "seed": 3}
    plain = classes.ask("POST", "/predict_mc", json=asked).json()
    for path in ("/predict_mc", "/models/classes/predict_mc"):
        answer = both.ask("POST", path, json=asked).json()
        assert answer["model"] == plain["model"]
        np.testing.assert_allclose(answer["variance"], plain["variance"], rtol=1e-6)
    for path, body in (("predict", WORDS), ("predict_mc", {**WORDS, "seed": 1})):
        answer = both.ask("POST", f"/models/words/{path}", json=body)
        assert (answer.status_code, answer.json()["model"]["name"]) == (200, "words")
    stream = both.ask("POST", "/models/words/predict_mc/stream", json={**WORDS, "n_samples": 64})
    assert stream.text.count("event: answer") == 1
    assert both.ask("GET", "/models/words/model").json()["name"] == "words"
    described = both.ask("GET", "/models/words/docs.json").json()
    assert "/models/words/predict" in described["paths"]
    assert "/metrics" not in described["paths"]
    assert both.ask("GET", "/models/words/schema.json").json()["name"] == "words"


def test_the_protocol_finds_every_model(both: Served) -> None:
    for name in ("classes", "words"):
        assert both.ask("GET", f"/v2/models/{name}").json()["name"] == name
        assert both.ask("GET", f"/v2/models/{name}/ready").json() == {"name": name, "ready": True}
    tensor = {"name": "tokens", "shape": [1, 3], "datatype": "INT32", "data": [1, 2, 3]}
    answer = both.ask("POST", "/v2/models/words/infer", json={"inputs": [tensor]})
    assert (answer.status_code, answer.json()["model_name"]) == (200, "words")
    assert "'classes', 'words' are served" in both.ask("GET", "/v2/models/nobody").json()["error"]


def test_they_are_listed(both: Served) -> None:
    told = both.ask("GET", "/models").json()["models"]
    assert [(one["name"], one["ready"]) for one in told] == [("classes", True), ("words", True)]
    assert told[0]["version"] == find("classes").version


@pytest.mark.parametrize("name", ["nobody", "Classes", "classes:1", "a b é", "x" * 500, "%00", "..%2Fclasses"])
def test_a_wrong_name_is_told_which_there_are(both: Served, name: str) -> None:
    for method, path in (("POST", "predict"), ("POST", "predict_mc/stream"), ("GET", "model"), ("GET", "docs.json")):
        answer = both.ask(method, f"/models/{name}/{path}", **({"json": WORDS} if method == "POST" else {}))
        assert answer.status_code == 404
        if "%2F" not in name:
            assert "'classes', 'words' are served" in detail(answer)
            assert len(answer.content) < 600


def test_requests_are_counted_with_the_name_of_their_model(both: Served) -> None:
    both.ask("POST", "/models/words/predict_mc", json={**WORDS, "n_samples": 7, "estimator": "passes"})
    told = both.ask("GET", "/metrics").text
    tag = find("words").tag
    drawn = next(line for line in told.splitlines() if line.startswith(f'thinned_passes_drawn_total{{model="{tag}"'))
    assert float(drawn.rpartition(" ")[2]) >= 7
    assert f'thinned_call_requests_count{{model="{tag}"}}' in told
    assert f'thinned_memory_bytes{{kind="model",model="{tag}"}}' in told


def test_one_that_is_not_loaded_is_told_of_by_all(serve: Serve, models: dict[str, str]) -> None:
    half = serve("classes words", load=False)
    half.models.first.load()
    assert half.ask("POST", "/predict", json={"inputs": ROWS}).status_code == 200
    assert half.ask("POST", "/models/words/predict", json=WORDS).status_code == 503
    assert half.ask("GET", "/v2/models/classes/ready").status_code == 200
    assert half.ask("GET", "/v2/health/ready").status_code == 503
    with pytest.raises(NotReadyError, match="words"):
        half.models.check_ready()
    assert half.ask("GET", "/models").json()["models"][1]["ready"] is False


def test_one_thread_computes_for_all_and_a_flood_of_one_model_delays_another_by_a_call(
    both: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = both.manager, both.models.find("words")
    assert second is not None
    heavy = {"inputs": ROWS, "n_samples": 960, "seed": 1}
    light = {**WORDS, "n_samples": 160, "seed": 1, "estimator": "passes"}
    # Each of these takes several calls, none of them in the event loop.
    monkeypatch.setattr(type(first.engine), "row_passes_for", lambda *_: 32)
    monkeypatch.setattr("thinned.service.inference.scheduler.AT_ONCE_S", 0.0)
    assert both.ask("POST", "/models/words/predict_mc", json=light).status_code == 200  # Its graph is traced.
    order: list[str] = []
    threads: set[str] = set()
    go = threading.Event()
    for manager in (first, second):
        real = manager.engine.model.draw

        def noting(*items: Any, real: Any = real, name: str = manager.name, **named: Any) -> Any:
            assert go.wait(30)
            order.append(name)
            threads.add(threading.current_thread().name)
            time.sleep(0.01)  # All calls take alike.
            return real(*items, **named)

        monkeypatch.setattr(manager.engine.model, "draw", noting)
    flood = [both.begin("POST", "/predict_mc", json={**heavy, "seed": seed}) for seed in range(8)]
    waiting_for(lambda: first.served.admitted == 8)
    asked = both.begin("POST", "/models/words/predict_mc", json=light)
    waiting_for(lambda: second.served.admitted == 1)
    go.set()
    assert asked.result(60).status_code == 200
    mine = [place for place, name in enumerate(order) if name == "words"]
    assert len(mine) >= 5
    assert mine[-1] <= 2 * len(mine) + 4  # Calls take alike but for what else the machine does.
    assert {future.result(60).status_code for future in flood} == {200}
    assert len(order) > 100
    assert threads == {"thinned-compute"}


@pytest.mark.long
def test_each_is_exchanged_for_its_newer_version_if_that_fits(
    serve: Serve, models: dict[str, str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    from keras import layers

    def version(units: int) -> str:
        x = keras.Input((3,), name="x")
        keras.Model(x, layers.Dense(1)(layers.Dropout(0.5)(layers.Dense(units)(x)))).save(tmp_path / "m.keras")
        return import_model(tmp_path / "m.keras", name="renewed", tasks={None: "regression"}).tag

    before = version(4)
    served = serve("classes renewed")
    after = version(5)

    def answering() -> str:
        answer = served.ask("POST", "/models/renewed/predict", json={"inputs": ROWS}).json()
        return f"renewed:{answer['model']['version']}"

    # While there is no memory for both, the older one goes on.
    room = next(manager for name, manager in served.models.items() if name == "renewed")._resources.room
    with monkeypatch.context() as patch:
        patch.setattr(room, "_share", 0)
        with pytest.raises(ReloadError, match=rf"{before} goes on: {after} takes .* once it is loaded") as refused:
            served.models.reload()
    assert answer_to(refused.value, "/admin/reload").status_code == 409
    assert answering() == before
    done = served.models.reload()
    assert [(stored.tag, changed) for stored, changed in done] == [(find("classes").tag, False), (after, True)]
    assert before != after
    assert answering() == after


def test_models_that_do_not_fit_are_refused_with_their_size(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thinned.service.inference.model_room.machine_memory", lambda: 700 << 20)
    stored = [find("classes"), find("words")]
    ModelRoom(Settings(model="classes words", memory_mib=50)).check(stored)
    with pytest.raises(SettingsError, match=rf"{stored[1].tag} takes .* MiB .*THINNED_MEMORY_MIB sets 100 MiB"):
        ModelRoom(Settings(model="classes words", memory_mib=100)).check(stored)
    ModelRoom(Settings(model="classes", memory_mib=600)).check(stored[:1])  # One alone is its operator's business.
