"""The HTTP application over real engines, without a server."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.conftest import Served
from tests.service.schema.test_input_arrays import ANY_JSON
from thinned.models.errors import NotReadyError, ThinnedError

ROWS = [[0.5, -1, 2], [1, 0, 0.25]]
BOTH = {"x": ROWS, "tokens": [[1, 2, 3], [0, 9, 4]]}
Serve = Callable[..., Served]


def test_predict_answers_the_model_bit_for_bit(classes: Served) -> None:
    response = classes.ask("POST", "/predict", json={"inputs": ROWS})
    assert response.status_code == 200
    answer = response.json()
    classes.fits(answer, "PredictAnswer")
    expected = classes.manager.engine.model.predict({"x": np.float32(ROWS)})
    assert np.array_equal(np.float32(answer["outputs"]), next(iter(expected.values())))
    assert answer["model"] == {"name": "classes", "version": classes.manager.stored.version}


def test_predict_mc_answers_moments_and_entropies(classes: Served) -> None:
    body = {"inputs": ROWS, "n_samples": 20, "seed": 7, "quantiles": [0.1, 0.9], "return_samples": True}
    body["estimator"] = "passes"
    answer = classes.ask("POST", "/predict_mc", json=body).json()
    classes.fits(answer, "PredictMcAnswer")
    samples = np.array(answer["samples"])
    assert samples.shape == (20, 2, 4)
    assert np.shape(answer["quantiles"]) == (2, 2, 4)
    np.testing.assert_allclose(answer["mean"], samples.mean(0), rtol=1e-6)
    np.testing.assert_allclose(answer["variance"], samples.var(0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(answer["standard_error"], np.sqrt(samples.var(0, ddof=1) / 20), rtol=1e-5)
    np.testing.assert_allclose(answer["quantiles"], np.quantile(samples, [0.1, 0.9], axis=0), rtol=1e-5)
    total, expected, mutual = (
        np.array(answer[f"{n}"]) for n in ("predictive_entropy", "expected_entropy", "mutual_information")
    )
    np.testing.assert_allclose(total, expected + mutual, rtol=1e-6)
    assert (mutual > 0).all()


def test_an_answer_without_a_seed_can_be_replayed_from_the_one_it_names(classes: Served) -> None:
    first = classes.ask("POST", "/predict_mc", json={"inputs": ROWS}).json()
    assert first["n_samples"] == 32
    assert set(first) == {
        "mean", "variance", "standard_error", "n_samples", "seed", "model", "sampling", "standard_error_from",
        "degrees_of_freedom", "estimator",
        "predictive_entropy", "expected_entropy", "mutual_information",
    }  # fmt: skip
    again = classes.ask("POST", "/predict_mc", json={"inputs": ROWS, "seed": first["seed"]}).json()
    assert again == first
    assert classes.ask("POST", "/predict_mc", json={"inputs": ROWS}).json()["mean"] != first["mean"]


def test_several_outputs_are_keyed_by_name(several: Served) -> None:
    answer = several.ask("POST", "/predict", json={"inputs": BOTH}).json()
    several.fits(answer, "PredictAnswer")
    assert set(answer["outputs"]) == {"kind", "amount"}
    body = {"inputs": BOTH, "quantiles": [0.5], "return_samples": True}
    answer = several.ask("POST", "/predict_mc", json=body).json()
    several.fits(answer, "PredictMcAnswer")
    for name in ("mean", "variance", "standard_error", "quantiles", "samples"):
        assert set(answer[name]) == {"kind", "amount"}
    assert set(answer["mutual_information"]) == {"kind"}


def test_model_tells_the_card_and_the_limits(classes: Served) -> None:
    answer = classes.ask("GET", "/model").json()
    classes.fits(answer, "Model")
    assert [site["kind"] for site in answer["sites"]] == ["Dropout"]
    assert answer["limits"]["max_rows"] == 1024


def test_a_model_without_sites_predicts_and_refuses_passes(serve: Serve, models: dict[str, str]) -> None:
    fixed = serve(models["fixed"])
    assert fixed.ask("POST", "/predict", json={"inputs": ROWS}).status_code == 200
    response = fixed.ask("POST", "/predict_mc", json={"inputs": ROWS})
    assert (response.status_code, response.json()["title"]) == (422, "The model draws no noise")


@pytest.mark.parametrize("path", ["/predict", "/predict_mc"])
def test_an_answer_that_is_not_finite_names_the_rows(serve: Serve, models: dict[str, str], path: str) -> None:
    wild = serve(models["wild"])
    response = wild.ask("POST", path, json={"inputs": [[0, 0, 0], [1000, 0, 0]]})
    assert response.status_code == 502  # the numbers that were sent are none of the client's mistakes
    assert "rows [1]" in response.json()["detail"]
    wild.fits(response.json(), "Problem")


def test_a_token_beyond_the_vocabulary_is_the_clients_error(serve: Serve, models: dict[str, str]) -> None:
    words = serve(models["words"])
    assert words.ask("POST", "/predict", json={"inputs": [[9]]}).status_code == 200
    for path in ("/predict", "/predict_mc"):
        assert words.ask("POST", path, json={"inputs": [[10]]}).status_code == 422
        assert words.ask("POST", path, json={"inputs": [[-11]]}).status_code == 422


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"content": b"{"}, 400),
        ({"content": b""}, 400),
        ({"content": b"{}", "headers": {"content-type": "text/csv"}}, 415),
        ({"data": {"inputs": "1"}}, 415),
        ({"content": b"{}", "headers": {"content-type": "application/json; charset=utf-8"}}, 422),
        ({"content": b"[" * 10**6}, 400),
        ({"json": {"inputs": [[True, 0, 0]]}}, 422),
        ({"content": b'{"inputs": [[NaN, 0, 0]]}'}, 422),
        ({"json": {"inputs": [[1, 2]]}}, 422),
        ({"json": {"inputs": ROWS, "batch": 1}}, 422),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/predict_mc"])
def test_a_wrong_request_is_answered_by_a_problem(classes: Served, path: str, request_: Any, status: int) -> None:
    response = classes.ask("POST", path, **request_)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    classes.fits(response.json(), "Problem")
    assert ("errors" in response.json()) == (status == 422)


@pytest.mark.parametrize("path", ["/predict", "/predict_mc"])
def test_a_wrong_method_says_which_is_right(classes: Served, path: str) -> None:
    response = classes.ask("GET", path)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.headers["content-type"] == "application/problem+json"


def test_a_body_may_be_as_long_as_the_limit(serve: Serve, models: dict[str, str]) -> None:
    small = serve(models["classes"], max_body_bytes=100)
    body = json.dumps({"inputs": ROWS}).encode()
    assert small.ask("POST", "/predict", content=body.ljust(100)).status_code == 200
    assert small.ask("POST", "/predict", content=body.ljust(101)).status_code == 413

    async def chunks(n: int) -> AsyncIterator[bytes]:
        yield body
        for _ in range(n):
            yield b" "

    assert small.ask("POST", "/predict", content=chunks(100 - len(body))).status_code == 200
    assert small.ask("POST", "/predict", content=chunks(10**4)).status_code == 413


def test_large_requests_are_answered_as_small_ones_are(classes: Served) -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 3)).tolist()
    answer = classes.ask("POST", "/predict_mc", json={"inputs": rows, "n_samples": 60, "seed": 1}).json()
    few = classes.ask("POST", "/predict_mc", json={"inputs": rows[:2], "n_samples": 60, "seed": 1}).json()
    np.testing.assert_allclose(answer["mean"][:2], few["mean"], rtol=1e-5)


def test_until_the_model_is_loaded_requests_are_told_to_come_again(loading: Served) -> None:
    response = loading.ask("POST", "/predict", json={"inputs": ROWS})
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert "being loaded" in response.json()["detail"]
    assert loading.ask("GET", "/model").status_code == 200
    loading.manager.load()
    assert loading.ask("POST", "/predict", json={"inputs": ROWS}).status_code == 200


def test_a_model_that_cannot_be_loaded_says_why(
    loading: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise ThinnedError("its weights are gone")

    monkeypatch.setattr("thinned.service.inference.engine.Engine.warm_up", refuse)
    loading.manager.load()
    response = loading.ask("POST", "/predict", json={"inputs": ROWS})
    assert response.status_code == 503
    assert "its weights are gone" in response.json()["detail"]
    assert [r.getMessage() for r in caplog.records if "its weights are gone" in r.getMessage()]


def test_no_more_wait_than_may(serve: Serve, models: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    busy = serve(models["classes"], max_waiting=1)
    began, go = threading.Event(), threading.Event()
    real = busy.manager.engine.model.predict

    def slow(*arguments: Any) -> Any:
        began.set()
        assert go.wait(30)
        return real(*arguments)

    monkeypatch.setattr(busy.manager.engine.model, "predict", slow)
    first = busy.begin("POST", "/predict", json={"inputs": ROWS})
    assert began.wait(30)
    second = busy.begin("POST", "/predict", json={"inputs": ROWS})
    while busy.manager.served.admitted < 2:
        threading.Event().wait(0.01)
    third = busy.ask("POST", "/predict", json={"inputs": ROWS})
    assert (third.status_code, third.headers["retry-after"]) == (503, "1")
    assert busy.ask("GET", "/model").status_code == 200
    go.set()
    assert [first.result(30).status_code, second.result(30).status_code] == [200, 200]
    assert busy.ask("POST", "/predict", json={"inputs": ROWS}).status_code == 200


def test_an_unexpected_error_is_logged_and_not_shown(
    classes: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(classes.manager.engine.model, "predict", fail)
    response = classes.ask("POST", "/predict", json={"inputs": ROWS})
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "secret" in caplog.text


def test_a_worker_whose_model_is_not_there_lives_and_says_why(serve: Serve) -> None:
    """What starts the service refuses before; a worker that ended would be started again for ever."""
    lost = serve("nowhere", load=False)
    lost.manager.load()
    for method, path in (("GET", "/model"), ("GET", "/docs.json"), ("POST", "/predict"), ("POST", "/predict_mc")):
        answer = lost.ask(method, path, **({"json": {"inputs": ROWS}} if method == "POST" else {}))
        assert answer.status_code == 503
        assert "no model 'nowhere'" in answer.json()["detail"]
    with pytest.raises(NotReadyError, match="no model 'nowhere'"):
        lost.manager.check_ready()


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "inputs": ANY_JSON | st.just(ROWS) | st.lists(st.lists(st.floats() | st.integers(), min_size=3, max_size=3)),
        "n_samples": ANY_JSON | st.integers(2, 40),
        "seed": ANY_JSON | st.integers(0, 2**53),
        "quantiles": ANY_JSON | st.lists(st.floats(0, 1)),
        "return_samples": ANY_JSON | st.booleans(),
    },
)


@given(st.sampled_from(["/predict", "/predict_mc"]), ANY_JSON | FIELDS)
@settings(max_examples=200)
def test_nothing_that_a_client_sends_is_answered_500(classes: Served, path: str, body: object) -> None:
    response = classes.ask("POST", path, content=json.dumps(body).encode())
    assert response.status_code in (200, 400, 422)
    classes.fits(
        response.json(),
        {"/predict": "PredictAnswer", "/predict_mc": "PredictMcAnswer"}[path]
        if response.status_code == 200
        else "Problem",
    )


@pytest.mark.parametrize("path", ["/predict", "/predict_mc"])
def test_an_answer_says_how_long_it_waited_and_computed(classes: Served, path: str) -> None:
    began = time.perf_counter()
    timing = classes.ask("POST", path, json={"inputs": ROWS}).headers["server-timing"]
    took_ms = 1e3 * (time.perf_counter() - began)
    found = re.fullmatch(r"queue;dur=([0-9.]+), compute;dur=([0-9.]+)", timing)
    assert found
    queue_ms, compute_ms = map(float, found.groups())
    assert queue_ms >= 0
    assert compute_ms > 0
    assert queue_ms + compute_ms <= took_ms
