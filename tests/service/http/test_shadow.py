"""A shadow answers the same rows unseen: nothing of the answers changes, and the comparison is what the two say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from tests.service.conftest import Served
from tests.service.http.test_several_models import ROWS, waiting_for
from thinned.models.errors import SettingsError
from thinned.models.storage.importing import import_model
from thinned.models.storage.model_store import find
from thinned.service.inference.catalogue import check_models
from thinned.service.inference.scheduler import Scheduler
from thinned.service.inference.shadow import Shadow
from thinned.service.settings import Settings

Serve = Callable[..., Served]
RNG = np.random.default_rng(5)
MANY = [RNG.normal(size=(RNG.integers(1, 4), 3)).round(3).tolist() for _ in range(30)]


@pytest.fixture(scope="module")
def stored(models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of the same inputs and outputs as `classes`, that drops far more."""
    import keras
    from keras import layers

    path = tmp_path_factory.mktemp("shadow") / "m.keras"
    x = keras.Input((3,), name="x")
    hidden = layers.Dropout(0.9)(layers.Dense(16, "relu")(x))
    keras.Model(x, layers.Dense(4, "softmax", name="y")(hidden)).save(path)
    import_model(path, name="doubter", tasks={None: "classification"})
    return "doubter"


@pytest.fixture(scope="module")
def made(serve: Serve, stored: str) -> Served:
    return serve("classes doubter@shadow")


@pytest.fixture
def both(made: Served) -> Served:
    """`classes` with the shadow `doubter`, which have not been compared yet."""
    shadow = shadow_of(made)
    waiting_for(lambda: shadow._waiting == 0)
    shadow._comparison = None
    return made


def shadow_of(served: Served) -> Shadow:
    found = served.models.shadow_of("classes")
    assert found is not None
    return found


def wait(served: Served, rows: int, fate: str = "compared") -> dict[str, Any]:
    waiting_for(lambda: served.ask("GET", "/models/classes/comparison").json()["rows"][fate] >= rows)
    told: dict[str, Any] = served.ask("GET", "/models/classes/comparison").json()
    return told


def test_it_says_how_far_both_disagree_and_which_is_less_sure(both: Served, classes: Served) -> None:
    alone, ask = shadow_of(both).manager.engine.model, {"n_samples": 64, "seed": 2}
    agree, unsure = [], []
    for rows in MANY:
        x = {"x": np.array(rows, "float32")}
        plain = [one.ask("POST", "/predict", json={"inputs": rows}).json()["outputs"] for one in (both, classes)]
        np.testing.assert_allclose(plain[0], plain[1], rtol=1e-6)
        agree.append(np.argmax(plain[1], 1) == np.argmax(alone.predict(x)["y"], 1))
        passes = [one.ask("POST", "/predict_mc", json={"inputs": rows, **ask}).json() for one in (both, classes)]
        np.testing.assert_allclose(passes[0]["mean"], passes[1]["mean"], rtol=1e-6)
        other = alone.summary(x, n_samples=64, seed=2)["y"].mean
        unsure.append(-(other * np.log(other)).sum(axis=1) - passes[1]["predictive_entropy"])
    count = sum(map(len, MANY))
    told = wait(both, 2 * count)
    described = both.ask("GET", "/docs.json").json()["paths"]["/models/{name}/comparison"]["get"]
    schema = described["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator(schema).validate(told)
    assert told["rows"] == {"compared": 2 * count, "dropped": 0, "failed": 0}
    assert (told["model"]["name"], told["shadow"]["name"], told["note"]) == ("classes", "doubter", None)
    of_plain, of_passes = told["outputs"]["y"]["predict"], told["outputs"]["y"]["predict_mc"]
    assert (of_plain["requests"], of_plain["rows"]) == (len(MANY), count)
    assert of_plain["agreement"]["value"] == pytest.approx(np.mean(np.concatenate(agree)))
    assert of_plain["agreement"]["low"] < of_plain["agreement"]["value"] < of_plain["agreement"]["high"]
    uncertainty = of_passes["uncertainty"]
    assert uncertainty["kind"] == "predictive_entropy"
    assert uncertainty["difference"]["value"] == pytest.approx(np.mean(np.concatenate(unsure)), rel=1e-4)
    assert uncertainty["shadow"] - uncertainty["model"] == pytest.approx(uncertainty["difference"]["value"])
    low, high = uncertainty["difference"]["low"], uncertainty["difference"]["high"]
    assert uncertainty["less_sure"] == ("shadow" if low > 0 else "model" if high < 0 else None)
    counted = f'thinned_shadow_rows_total{{fate="compared",model="{find("classes").tag}"}}'
    assert f"{counted} {2.0 * count}" in both.ask("GET", "/metrics").text


def test_it_answers_nobody(both: Served, classes: Served) -> None:
    for path in ("/models/doubter/predict", "/v2/models/doubter/infer"):
        answer = both.ask("POST", path, json={"inputs": ROWS})
        assert answer.status_code == 404
        assert "as a shadow: see /models/classes/comparison" in answer.text
    assert both.ask("GET", "/models").json()["models"] == [
        {"name": "classes", "version": find("classes").version, "ready": True, "shadow": "doubter"}
    ]
    few = wait(both, 0)
    assert few["outputs"] == {"y": {"predict": None, "predict_mc": None}}
    both.ask("POST", "/predict", json={"inputs": ROWS})
    one = wait(both, 1)["outputs"]["y"]["predict"]
    assert one["agreement"]["low"] is one["agreement"]["high"] is None
    assert "fewer than 10 requests" in one["note"]
    assert classes.ask("GET", "/models/classes/comparison").status_code == 404
    assert both.ask("GET", "/models/nobody/comparison").status_code == 404


def test_nothing_of_it_is_noticed_where_it_hangs_fails_or_is_not_loaded(
    both: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = shadow_of(both)
    loaded = shadow.manager.served
    monkeypatch.setattr(shadow.manager, "_served", None)
    both.models.check_ready()  # A shadow that is not loaded keeps nothing from being answered.
    assert both.ask("POST", "/predict", json={"inputs": ROWS}).status_code == 200
    assert both.ask("GET", "/models/classes/comparison").status_code == 503
    monkeypatch.setattr(shadow.manager, "_served", loaded)
    model = shadow.manager.engine.model
    real = model.predict

    def failing(_: Any) -> Any:
        raise RuntimeError("no answer")

    monkeypatch.setattr(model, "predict", failing)
    for _ in range(3):
        assert both.ask("POST", "/predict", json={"inputs": ROWS}).status_code == 200
    wait(both, 3, "failed")
    # Its queue is bounded: what does not fit is dropped, and counted.
    began, go = threading.Event(), threading.Event()

    def slow(rows: Any) -> Any:
        began.set()
        assert go.wait(30)
        return real(rows)

    monkeypatch.setattr(model, "predict", slow)
    monkeypatch.setattr("thinned.service.inference.shadow.MOST_WAITING", 2)
    monkeypatch.setattr("thinned.service.inference.compute_thread.QUIET_S", 60.0)
    for _ in range(6):
        assert both.ask("POST", "/predict", json={"inputs": ROWS}).status_code == 200
    told = wait(both, 4, "dropped")
    assert told["rows"] == {"compared": 0, "dropped": 4, "failed": 3}
    assert not began.is_set()  # The thread has not been quiet for long enough.
    monkeypatch.setattr("thinned.service.inference.compute_thread.QUIET_S", 0.0)
    go.set()
    assert both.ask("POST", "/predict", json={"inputs": ROWS}).status_code == 200  # It wakes the thread.
    wait(both, 2)
    assert both.manager.memory.total == 0


def test_a_request_waits_for_no_more_than_the_call_under_way(both: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    shadow = shadow_of(both)
    calls: list[float] = []
    real = shadow.manager.engine.model.draw

    def noting(*items: Any, **named: Any) -> Any:
        calls.append(time.monotonic())
        return real(*items, **named)

    monkeypatch.setattr(shadow.manager.engine.model, "draw", noting)
    # How many calls the shadow had made when the request came to the queue, and when its own call began.
    came, begun = list[int](), list[int]()
    submit, predict = Scheduler.submit, both.manager.engine.model.predict

    def submitting(scheduler: Scheduler, job: Any) -> None:
        came.append(len(calls))
        submit(scheduler, job)

    def predicting(*inputs: Any, **named: Any) -> Any:
        begun.append(len(calls))
        return predict(*inputs, **named)

    body = {"inputs": [[0.1, 0.2, 0.3]] * 30, "n_samples": 640, "seed": 1}
    for _ in range(2):
        assert both.ask("POST", "/predict_mc", json=body).status_code == 200
    waiting_for(lambda: len(calls) > 1)
    monkeypatch.setattr(Scheduler, "submit", submitting)
    monkeypatch.setattr(both.manager.engine.model, "predict", predicting)
    assert both.ask("POST", "/predict", json={"inputs": ROWS}).status_code == 200
    assert begun[0] <= came[0] + 1
    wait(both, 60)
    assert len(calls) > 3  # It is cut into short calls.


def test_one_that_cannot_be_compared_is_refused_at_the_start(models: dict[str, str]) -> None:
    def refused(text: str, words: str) -> None:
        settings = Settings(model=text)
        with pytest.raises(SettingsError, match=words):
            check_models(settings, [find(reference.text) for reference in settings.references])

    refused("classes words@shadow", r"words:\w+ cannot be a shadow of classes:\w+: one takes x \(3,\) float32")
    refused("classes fixed@shadow", "one answers y")


def test_a_newer_version_begins_a_comparison_of_its_own(serve: Serve, tmp_path: Path) -> None:
    import keras
    from keras import layers

    def version(units: int) -> str:
        x = keras.Input((3,), name="x")
        y = layers.Dense(1, name="y")(layers.Dropout(0.5)(layers.Dense(units, "relu")(x)))
        keras.Model(x, y).save(tmp_path / "m.keras")
        return import_model(tmp_path / "m.keras", name="changing", tasks={None: "regression"}).tag

    old = version(4)
    served = serve(f"changing {old}")  # A second version of the same name is a shadow.
    path = "/models/changing/comparison"
    for seed in range(12):
        served.ask("POST", "/predict_mc", json={"inputs": ROWS * 3, "seed": seed})
    waiting_for(lambda: served.ask("GET", path).json()["rows"]["compared"] == 36)
    told = served.ask("GET", path).json()["outputs"]["y"]["predict_mc"]
    for name in ("difference", "absolute_difference"):  # Both are the same version, with the same seeds.
        assert abs(told[name]["value"]) < 1e-6
    assert told["uncertainty"]["kind"] == "variance"
    new = version(5)
    served.models.reload()
    told = served.ask("GET", path).json()
    assert told["model"]["version"] == new.partition(":")[2]
    assert told["shadow"]["version"] == old.partition(":")[2]
    assert told["rows"]["compared"] == 0
