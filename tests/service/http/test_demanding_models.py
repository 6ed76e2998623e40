"""Models that not every input fits, over HTTP: whose mistake it is, and an example that is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.service.conftest import Served
from thinned.models.storage import model_store
from thinned.models.storage.importing import import_model

L = keras.layers


def convolutions() -> Any:
    x = inputs = keras.Input((None, 1))
    for _ in range(4):
        x = L.MaxPooling1D(2)(L.Conv1D(2, 3, activation="relu")(x))
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.3)(L.GlobalAveragePooling1D()(x))))


def logarithm() -> Any:
    inputs = keras.Input((2,), name="x")
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.3)(L.Dense(4)(keras.ops.log(inputs)))))


def years() -> Any:
    inputs = keras.Input((1,), dtype="int32", name="year")
    return keras.Model(inputs, L.Dense(1)(L.Dropout(0.3)(L.Flatten()(L.Embedding(40, 4)(inputs - 1990)))))


MODELS = {"convolutions": convolutions, "logarithm": logarithm, "years": years}


@pytest.fixture(scope="module", params=MODELS)
def demanding(
    request: pytest.FixtureRequest, serve: Callable[..., Served], tmp_path_factory: Any
) -> tuple[str, Served]:
    keras.utils.set_random_seed(1)
    path: Path = tmp_path_factory.mktemp("demanding") / f"{request.param}.keras"
    MODELS[request.param]().save(path)
    import_model(path, name=request.param, tasks={None: "regression"})
    return request.param, serve(request.param)


def test_the_example_of_the_api_is_answered(demanding: tuple[str, Served]) -> None:
    _, served = demanding
    paths = served.ask("GET", "/docs.json").json()["paths"]
    for path in ("/predict", "/predict_mc"):
        body = paths[path]["post"]["requestBody"]["content"]["application/json"]["example"]
        assert served.ask("POST", path, json=body).status_code == 200


@pytest.mark.parametrize("path", ["/predict", "/predict_mc"])
def test_what_does_not_fit_is_told_by_whose_mistake_it_is(demanding: tuple[str, Served], path: str) -> None:
    name, served = demanding
    inputs: dict[str, Any] = {"convolutions": [[[1.0]] * 5], "logarithm": [[-1.0, 1.0]], "years": [[2040]]}
    answer = served.ask("POST", path, json={"inputs": inputs[name]})
    assert answer.status_code == {"convolutions": 422, "logarithm": 502, "years": 422}[name], answer.text
    assert {"convolutions": "too short", "logarithm": "NaN", "years": "[0, 40)"}[name] in answer.json()["detail"]
    good: dict[str, Any] = {"convolutions": [[[1.0]] * 64], "logarithm": [[2.0, 1.0]], "years": [[2001]]}
    assert served.ask("POST", path, json={"inputs": good[name]}).status_code == 200


def test_rows_of_the_user_are_kept_and_used(tmp_path: Path) -> None:
    logarithm().save(tmp_path / "kept.keras")
    rows = np.arange(1, 41, dtype="float32").reshape(20, 2)
    stored = import_model(
        tmp_path / "kept.keras", name="kept", tasks={None: "regression"}, data=lambda inputs: {inputs[0].name: rows}
    )
    kept = model_store.load_rows(model_store.find("kept"))
    assert kept is not None
    np.testing.assert_array_equal(kept["x"], rows[:8])
    assert [(r.values, r.low, r.high) for r in stored.card.examples] == [("given", 1.0, 40.0)]
    (stored.path / "rows.npz").write_bytes(b"")
    with pytest.raises(model_store.ModelCorruptError, match=r"rows\.npz"):
        model_store.load_rows(model_store.find("kept"))
