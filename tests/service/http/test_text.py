"""A model of categories and numbers, from its file to its answers: strings, null, and the label of the likeliest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.service.conftest import Served
from tests.zoo import build
from thinned.models.storage.importing import import_model

KINDS = ["cat", "dog", "eel"]
INPUTS = {"colour": [["red"], ["blue"], ["mauve"]], "age": [[1.5], [-2.0], [0.25]]}


@pytest.fixture(scope="module")
def keras_model() -> Any:
    return build("categories")


@pytest.fixture(scope="module")
def categories(serve: Callable[..., Served], keras_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Served:
    path: Path = tmp_path_factory.mktemp("text") / "categories.keras"
    keras_model.save(path)
    import_model(path, name="categories", tasks={None: "classification"}, labels=KINDS)
    return serve("categories")


def test_the_answer_is_keras_own_and_names_the_class(categories: Served, keras_model: Any) -> None:
    answer = categories.ask("POST", "/predict", json={"inputs": INPUTS}).json()
    categories.fits(answer, "PredictAnswer")
    tensors = [np.array(INPUTS["colour"], object), np.array(INPUTS["age"], "float32")]
    expected = np.asarray(keras_model([keras_tensor(x) for x in tensors], training=False))
    np.testing.assert_allclose(answer["outputs"], expected, atol=1e-6)
    assert answer["predicted_label"] == [KINDS[i] for i in expected.argmax(axis=1)]


def keras_tensor(x: Any) -> Any:
    import keras

    return keras.ops.convert_to_tensor(x)


def test_passes_of_text_repeat_and_name_the_class(categories: Served) -> None:
    body = {"inputs": INPUTS, "n_samples": 40, "seed": 3}
    first, again = (categories.ask("POST", "/predict_mc", json=body).json() for _ in range(2))
    categories.fits(first, "PredictMcAnswer")
    for name in ("mean", "variance", "standard_error"):  # calls may be cut otherwise, which rounds otherwise
        np.testing.assert_allclose(again[name], first[name], rtol=1e-4, atol=1e-7)
    assert first["predicted_label"] == again["predicted_label"] == [KINDS[i] for i in np.argmax(first["mean"], axis=1)]
    assert np.max(first["variance"]) > 0
    one = {name: rows[1:2] for name, rows in INPUTS.items()}
    alone = categories.ask("POST", "/predict_mc", json={**body, "inputs": one}).json()
    np.testing.assert_allclose(alone["mean"][0], first["mean"][1], atol=1e-6)


def test_null_is_the_missing_token(categories: Served) -> None:
    ages = INPUTS["age"][:1]
    missing, token, unknown = (
        categories.ask("POST", "/predict", json={"inputs": {"colour": [[word]], "age": ages}}).json()["outputs"]
        for word in (None, "[MASK]", "mauve")
    )
    assert missing == token != unknown


@pytest.mark.parametrize(
    ("colour", "loc", "said"),
    [
        ([["red"], [7], ["blue"]], ["inputs", "colour", 1, 0], "expected a string or null, received 7"),
        ([["red", "blue"]] * 2, ["inputs", "colour"], "expected shape (rows, 1), received (2, 2)"),
    ],
)
def test_what_is_no_text_is_422_with_its_place(categories: Served, colour: Any, loc: list[Any], said: str) -> None:
    response = categories.ask("POST", "/predict", json={"inputs": {**INPUTS, "colour": colour}})
    assert response.status_code == 422
    assert response.json()["errors"] == [{"loc": loc, "msg": said}]


def test_half_a_surrogate_pair_is_422(categories: Served) -> None:
    body = b'{"inputs": {"colour": [["\\ud800"]], "age": [[1]]}}'
    response = categories.ask("POST", "/predict", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert "half of a surrogate pair" in response.json()["errors"][0]["msg"]


def test_the_card_tells_what_is_missing(categories: Served) -> None:
    colour, age = categories.ask("GET", "/model").json()["inputs"]
    assert colour.items() >= {"name": "colour", "shape": [1], "dtype": "string", "missing": "[MASK]"}.items()
    assert age["missing"] is None


def test_the_example_of_the_document_is_answered(categories: Served) -> None:
    post = categories.ask("GET", "/docs.json").json()["paths"]["/predict_mc"]["post"]
    example = post["requestBody"]["content"]["application/json"]["example"]
    assert categories.ask("POST", "/predict_mc", json=example).status_code == 200
