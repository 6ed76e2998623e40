"""Records over HTTP, and values that the model has no entry for, with the row where they stand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.service.conftest import Served
from thinned.models.storage.importing import import_model

RECORDS = [{"tokens": [1, 2], "x": [0.5, 1, 2]}, {"x": [3, 4, 5], "tokens": [3, 9.0]}]


@pytest.mark.parametrize("path", ["/predict", "/predict_mc"])
def test_records_are_answered_as_arrays_are(several: Served, path: str) -> None:
    more = {"n_samples": 8, "seed": 3} if path == "/predict_mc" else {}
    arrays = {name: [record[name] for record in RECORDS] for name in ("x", "tokens")}
    answers = [several.ask("POST", path, json={"inputs": inputs, **more}) for inputs in (RECORDS, arrays)]
    assert answers[0].status_code == 200
    assert answers[0].json() == answers[1].json()
    several.fits({"inputs": RECORDS, **more}, "PredictRequest" if path == "/predict" else "PredictMcRequest")


@pytest.mark.parametrize(
    ("record", "loc", "said"),
    [
        ({"tokens": [1, 10], "x": [1, 2, 3]}, ["inputs", 1, "tokens", 1], "from 0 to 9 (the model looks it up"),
        ({"tokens": [1, -1], "x": [1, 2, 3]}, ["inputs", 1, "tokens", 1], "received -1"),
        ({"tokens": [1, 2], "x": [1, None, 3]}, ["inputs", 1, "x", 1], "received null"),
        ({"tokens": [1, 2]}, ["inputs", 1, "x"], "this column is missing"),
    ],
)
def test_a_wrong_record_is_422_with_row_and_column(several: Served, record: Any, loc: list[Any], said: str) -> None:
    response = several.ask("POST", "/predict", json={"inputs": [RECORDS[0], record]})
    assert response.status_code == 422
    problem = response.json()["errors"][0]
    assert problem["loc"] == loc
    assert said in problem["msg"]


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Served]) -> Served:
    """A model whose tables the graph does not show: one behind an operation, one of words behind noise."""
    import keras
    from keras import layers

    folder: Path = tmp_path_factory.mktemp("hidden")
    year, word = keras.Input((2,), name="year", dtype="int32"), keras.Input((), name="word", dtype="string")
    known = layers.StringLookup(vocabulary=["red", "blue"], num_oov_indices=0)(word)
    parts = [layers.Flatten()(layers.Embedding(5, 2)(keras.ops.abs(year))), layers.Embedding(2, 2)(known)]
    answer = layers.Dense(1)(layers.Dropout(0.3)(layers.Concatenate()(parts)))
    keras.Model([year, word], answer).save(folder / "hidden.keras")
    rows = {"year": np.array([[0, 1], [4, 2]]), "word": np.array(["red", "blue"], object)}
    given: Any = lambda specs: rows  # noqa: E731
    import_model(folder / "hidden.keras", name="hidden-tables", tasks={None: "regression"}, data=given)
    return serve("hidden-tables")


@pytest.mark.parametrize("path", ["/predict", "/predict_mc"])
def test_what_only_the_model_refuses_is_named_with_its_row(hidden: Served, path: str) -> None:
    assert [spec.table_size for spec in hidden.manager.stored.card.inputs] == [None, None]
    right = {"year": [[0, 1]] * 40, "word": ["red"] * 40}
    assert hidden.ask("POST", path, json={"inputs": right}).status_code == 200
    beyond = hidden.ask("POST", path, json={"inputs": {**right, "year": [*right["year"][:-1], [4, 7]]}})
    assert beyond.status_code == 422
    (problem,) = beyond.json()["errors"]
    assert problem["loc"] == ["inputs", "year", 39, 1]
    assert "7 lies outside the model's table of 5" in problem["msg"]
    unknown = hidden.ask("POST", path, json={"inputs": {**right, "word": ["red", "green", *right["word"][2:]]}})
    (problem,) = unknown.json()["errors"]
    assert problem["loc"] == ["inputs", "word", 1]
    assert "'green' is not in the model's vocabulary" in problem["msg"]
