"""`reduce`: a map becomes a few numbers, pass by pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.service.conftest import Served
from thinned.models.storage.importing import import_model

IMAGE = np.random.default_rng(5).uniform(size=(2, 6, 8, 3)).round(3)
ASKED = {"inputs": IMAGE.tolist(), "n_samples": 40, "seed": 3, "estimator": "passes"}


@pytest.fixture(scope="module")
def maps(serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A segmentation into three classes with names, and beside it a number for each image."""
    import keras
    from keras import layers as L

    keras.utils.set_random_seed(2)
    x = keras.Input((6, 8, 3), name="image")
    y = L.SpatialDropout2D(0.4)(L.Conv2D(8, 3, padding="same", activation="relu")(x))
    mask = L.Conv2D(3, 1, activation="softmax", name="mask")(y)
    path = tmp_path_factory.mktemp("maps") / "maps.keras"
    keras.Model(x, [mask, L.Dense(1, name="amount")(L.GlobalAveragePooling2D()(y))]).save(path)
    tasks: Any = {"mask": "classification", "amount": "regression"}
    import_model(path, name="maps", tasks=tasks, labels={"mask": ("sky", "road", "tree")})
    return serve("maps", max_returned_numbers=20_000)


def whole(maps: Served) -> dict[str, Any]:
    answer = maps.ask("POST", "/predict_mc", json={**ASKED, "return_samples": True}).json()
    return {name: np.asarray(answer[name]["mask"]) for name in ("samples", "predictive_entropy", "variance", "mean")}


def reduced(maps: Served, **reduce: Any) -> dict[str, Any]:
    response = maps.ask("POST", "/predict_mc", json={**ASKED, "reduce": reduce})
    assert response.status_code == 200, response.text
    maps.fits(response.json(), "PredictMcAnswer")
    return dict(response.json())


def test_each_pass_is_reduced_before_its_variance_is_taken(maps: Served) -> None:
    answer, all_of = reduced(maps), whole(maps)
    assert set(answer["mean"]) == {"amount"}  # The other output is answered as ever.
    found = answer["reduced"]["mask"]
    areas = all_of["samples"].mean(axis=(2, 3))
    np.testing.assert_allclose(found["mean"], areas.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found["variance"], areas.var(axis=0, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(found["standard_error"], areas.std(axis=0, ddof=1) / np.sqrt(40), rtol=1e-4)
    assert found["positions"] == [48, 48]
    np.testing.assert_allclose(found["maps"]["variance"], all_of["variance"].mean(axis=(1, 2)), rtol=1e-4)
    # Positions err together: the variance of a mean is far from the mean of the variances over their number.
    assert np.all(np.asarray(found["variance"]) > 2 * np.asarray(found["maps"]["variance"]) / 48)


@pytest.mark.parametrize(
    ("by", "number"),
    [("maximum", lambda x, axis: x.max(axis=axis)), (0.9, lambda x, axis: np.quantile(x, 0.9, axis=axis))],
)
def test_a_box_counts_alone(maps: Served, by: Any, number: Any) -> None:
    found, all_of = reduced(maps, by=by, box=[[1, 3], [2, 8]])["reduced"]["mask"], whole(maps)
    entropies = all_of["predictive_entropy"][:, 1:3, 2:8]
    np.testing.assert_allclose(found["maps"]["predictive_entropy"], number(entropies, (1, 2)), rtol=1e-5)
    samples = number(all_of["samples"][:, :, 1:3, 2:8], (2, 3))
    np.testing.assert_allclose(found["variance"], samples.var(axis=0, ddof=1), rtol=1e-4)
    assert found["positions"] == [12, 12]


def test_labels_choose_positions_and_a_region_without_any_is_null(maps: Served) -> None:
    all_of = whole(maps)
    classes = all_of["mean"].argmax(axis=-1)
    for number, label in enumerate(("sky", "road", "tree")):
        found = reduced(maps, labels=[label])["reduced"]["mask"]
        assert found["positions"] == (classes == number).sum(axis=(1, 2)).tolist()
        for row, count in enumerate(found["positions"]):
            entropy = found["maps"]["predictive_entropy"][row]
            if count:
                here = all_of["predictive_entropy"][row][classes[row] == number]
                np.testing.assert_allclose(entropy, here.mean(), rtol=1e-5)
            else:
                assert entropy is None
                assert found["mean"][row] == [None] * 3


@pytest.mark.parametrize(
    ("asked", "loc", "words"),
    [
        ({"reduce": 3}, ["reduce"], "an object or null"),
        ({"reduce": {"by": "median"}}, ["reduce", "by"], "mean, maximum, or the level"),
        ({"reduce": {"by": True}}, ["reduce", "by"], "mean, maximum, or the level"),
        ({"reduce": {"by": 1.5}}, ["reduce", "by"], "between 0 and 1"),
        ({"reduce": {"box": [[0, 2]]}}, ["reduce", "box"], "each of 2 axes"),
        ({"reduce": {"box": [[0, 7], [0, 8]]}}, ["reduce", "box", 0], "6 at most"),
        ({"reduce": {"box": [[2, 2], [0, 8]]}}, ["reduce", "box", 0], "hold a position"),
        ({"reduce": {"box": [[0, 2], [0.5, 8]]}}, ["reduce", "box", 1], "two integers"),
        ({"reduce": {"labels": ["sea"]}}, ["reduce", "labels", 0], "sky, road, tree"),
        ({"reduce": {"labels": []}}, ["reduce", "labels"], "a list of classes"),
        ({"reduce": {"over": 1}}, ["reduce", "over"], "by, box, labels"),
        ({"reduce": {}, "quantiles": [0.5], "return_samples": True}, ["reduce"], "quantiles, return_samples"),
    ],
)
def test_what_cannot_be_reduced_is_told(maps: Served, asked: dict[str, Any], loc: list[Any], words: str) -> None:
    response = maps.ask("POST", "/predict_mc", json={**ASKED, **asked})
    assert response.status_code == 422
    problems = response.json()["errors"]
    assert [problem["loc"] for problem in problems] == [loc]
    assert words in problems[0]["msg"]


def test_an_answer_too_large_for_its_maps_is_given_reduced(maps: Served) -> None:
    many = {**ASKED, "inputs": np.repeat(IMAGE, 40, axis=0).tolist(), "n_samples": 4}
    assert maps.ask("POST", "/predict_mc", json=many).status_code == 422
    assert maps.ask("POST", "/predict_mc", json={**many, "reduce": {}}).status_code == 422  # passes are kept
    few = {**ASKED, "n_samples": 60, "reduce": {}}
    assert maps.ask("POST", "/predict_mc", json=few).status_code == 200


def test_a_model_without_maps_has_no_such_field(classes: Served, tmp_path: Path) -> None:
    response = classes.ask("POST", "/predict_mc", json={"inputs": [[0.5, -1, 2]], "reduce": {}})
    assert response.status_code == 422
    assert "no output of this model has several positions" in response.text
    assert (
        "reduce"
        not in classes.ask("GET", "/docs.json").json()["components"]["schemas"]["PredictMcRequest"]["properties"]
    )
