"""`ood` in a request: the same p-values whichever way the answer is made, and 409 where nothing tells them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.service.conftest import Served, _send
from thinned.models.calibration import fit, fit_ood, store_calibrated
from thinned.models.dropout import enable_mc_dropout
from thinned.models.storage.importing import import_model
from thinned.models.storage.model_store import StoredModel, load_keras
from thinned.service.http.routes import create_app

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(80, 3)).astype("float32")
NEW = np.concatenate([DRAW.normal(size=(3, 3)), [[40, 40, 40]]]).tolist()
Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredModel:
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    x = keras.Input((3,), name="x")
    hidden = layers.Dropout(0.5)(layers.Dense(16, "relu")(x))
    path = tmp_path_factory.mktemp("ood") / "m.keras"
    keras.Model(x, [layers.Dense(1, name="a")(hidden), layers.Dense(3, "softmax", name="b")(hidden)]).save(path)
    first = import_model(path, name="unlike-served", tasks={"a": "regression", "b": "classification"})
    model = enable_mc_dropout(load_keras(first))
    found = fit(model, first.card.outputs[0], {"x": X}, DRAW.normal(size=(80, 1)), n_samples=32)
    return store_calibrated(first, found.spec, ood=fit_ood(model, first.card, {"x": X}))


@pytest.fixture(scope="module")
def served(serve: Serve, stored: StoredModel) -> Served:
    return serve(stored.tag)


def answer(served: Served, path: str, **more: Any) -> dict[str, Any]:
    response = served.ask("POST", path, json={"inputs": NEW, "ood": True, **more})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    served.fits(found, "PredictAnswer" if path == "/predict" else "PredictMcAnswer")
    return found


def test_every_way_to_answer_says_the_same(served: Served) -> None:
    plain = answer(served, "/predict")
    assert len(plain["ood_p_value"]) == 4
    assert plain["ood_p_value"][3] == pytest.approx(1 / 41)
    assert min(plain["ood_p_value"][:3]) > 0.03
    assert plain["ood_score"][3] > 5 * max(plain["ood_score"][:3])
    others: list[dict[str, Any]] = [
        {"seed": 3},
        {"n_samples": 500},
        {"tolerance": 0.5},
        {"budget_ms": 50},
        {"quantiles": [0.5]},
    ]
    for more in others:
        found = answer(served, "/predict_mc", **more)
        assert_allclose(found["ood_p_value"], plain["ood_p_value"])
        assert_allclose(found["ood_score"], plain["ood_score"], rtol=1e-5)


def test_passes_are_those_of_a_request_that_does_not_ask(served: Served) -> None:
    asked = answer(served, "/predict_mc", seed=7, n_samples=64)
    without = served.ask("POST", "/predict_mc", json={"inputs": NEW, "seed": 7, "n_samples": 64}).json()
    assert "ood_score" not in without
    for output in ("a", "b"):
        assert_allclose(asked["mean"][output], without["mean"][output], rtol=1e-5, atol=1e-6)
        assert_allclose(asked["variance"][output], without["variance"][output], rtol=1e-4, atol=1e-6)


def test_rows_in_pieces_and_requests_in_one_call_have_their_own(
    serve: Serve, stored: StoredModel, served: Served
) -> None:
    pieces = serve(stored.tag, block_row_passes=32)
    rows = [*NEW, *NEW, *NEW]
    whole = answer(served, "/predict")["ood_p_value"]
    for path in ("/predict", "/predict_mc"):
        assert_allclose(answer(pieces, path, inputs=rows)["ood_p_value"], whole * 3)

    async def together() -> list[Any]:
        app = create_app(served.manager)
        bodies = [{"inputs": [row], "ood": i != 1} for i, row in enumerate(NEW)]
        return await asyncio.gather(
            *(_send(app, "POST", path, json=body) for path in ("/predict", "/predict_mc") for body in bodies)
        )

    answers = [response.json() for response in served.run(together()).result(60)]
    assert ["ood_p_value" in found for found in answers] == [True, False, True, True] * 2
    assert_allclose([found.get("ood_p_value", [whole[1]])[0] for found in answers], whole * 2)


@pytest.mark.parametrize("path", ["/predict", "/predict_mc"])
def test_it_is_refused_where_nothing_tells_it_and_where_it_is_no_truth_value(
    classes: Served, served: Served, path: str
) -> None:
    refused = classes.ask("POST", path, json={"inputs": [[0, 1, 2]], "ood": True})
    assert (refused.status_code, refused.json()["title"]) == (409, "The model is not calibrated for this")
    assert "thinned calibrate NAME --data val.npz --ood" in refused.json()["detail"]
    assert classes.ask("POST", path, json={"inputs": [[0, 1, 2]], "ood": False}).status_code == 200
    for value in ("true", 1, None, []):
        wrong = served.ask("POST", path, json={"inputs": NEW, "ood": value})
        assert wrong.status_code == 422
        assert wrong.json()["errors"][0]["loc"] == ["ood"]


def test_values_beyond_all_measure_are_no_internal_error(served: Served) -> None:
    for path in ("/predict", "/predict_mc"):
        response = served.ask("POST", path, json={"inputs": [[3e38, 3e38, -3e38]], "ood": True})
        assert response.status_code in (200, 502)
    far = answer(served, "/predict", inputs=[[1e20, 0, 0]])
    assert far["ood_p_value"] == [pytest.approx(1 / 41)]


def test_the_card_says_what_it_stands_on(served: Served) -> None:
    card = served.ask("GET", "/model").json()
    served.fits(card, "Model")
    assert (card["ood"]["n"], card["ood"]["reference"], card["ood"]["counted"]) == (40, 40, "rows")
    assert card["ood"]["tensors"] == ["dense"] or card["ood"]["tensors"][0].startswith("dense")
