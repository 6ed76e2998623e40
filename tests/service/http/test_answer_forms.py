"""Answers by `Accept`: archives and pictures hold the numbers of the JSON; large JSON is packed where that is taken."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.service.cards import CLASSES, VALUE, card
from tests.service.conftest import Served
from thinned.models.errors import NotAcceptableError
from thinned.models.storage.importing import import_model
from thinned.service.http.content_kinds import takes_gzip, terms_of
from thinned.service.schema.answer_files import arrays_of, picture_of
from thinned.service.schema.response_body import ClassSets

NPZ, PNG, JSON = "application/x-npz", "image/png", "application/json"
ROWS = [[0.5, -1, 2], [1, 0, 0.25]]
IMAGE = np.random.default_rng(5).uniform(size=(1, 6, 8, 3)).round(3).tolist()
ASKED = {"n_samples": 40, "seed": 3}


@pytest.fixture(scope="module")
def masks(serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Answers a map of four classes with names."""
    import keras
    from keras import layers as L

    keras.utils.set_random_seed(2)
    x = keras.Input((6, 8, 3), name="image")
    y = L.SpatialDropout2D(0.4)(L.Conv2D(8, 3, padding="same", activation="relu")(x))
    path = tmp_path_factory.mktemp("masks") / "masks.keras"
    keras.Model(x, L.Conv2D(4, 1, activation="softmax", name="mask")(y)).save(path)
    import_model(path, name="masks", tasks={None: "classification"}, labels={None: ("sky", "road", "tree", "car")})
    return serve("masks")


def ask(served: Served, path: str, accept: str, **fields: Any) -> Any:
    return served.ask("POST", path, json=fields, headers={"accept": accept})


def loaded(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == NPZ
    with np.load(io.BytesIO(response.content), allow_pickle=False) as archive:
        return dict(archive)


def alike(found: Any, told: Any) -> None:
    """The same but for rounding: two requests may be cut into calls of other sizes."""
    if np.asarray(told).dtype.kind == "f":
        np.testing.assert_allclose(found, told, rtol=1e-4, atol=1e-6)
    else:
        assert np.asarray(found).tolist() == told


def test_an_archive_has_all_of_the_json(classes: Served, several: Served) -> None:
    fields = {"inputs": ROWS, **ASKED, "separate": True, "quantiles": [0.1], "return_samples": True, "tolerance": 0.5}
    found, told = loaded(ask(classes, "/predict_mc", NPZ, **fields)), ask(classes, "/predict_mc", JSON, **fields).json()
    assert found.pop("model.name") == told["model"]["name"]
    assert found.pop("model.version") == told.pop("model")["version"]
    assert set(found) == set(told)
    for name, value in told.items():
        alike(found[name], value)
    inputs = {"x": ROWS, "tokens": [[1, 2], [3, 4]]}
    found, told = loaded(ask(several, "/predict_mc", NPZ, inputs=inputs, **ASKED)), None
    told = ask(several, "/predict_mc", JSON, inputs=inputs, **ASKED).json()
    alike(found["kind.mean"], told["mean"]["kind"])
    alike(found["amount.variance"], told["variance"]["amount"])
    alike(found["kind.mutual_information"], told["mutual_information"]["kind"])
    assert found["seed"] == 3
    plain = loaded(ask(classes, "/predict", NPZ, inputs=ROWS))
    assert plain["outputs"].dtype == np.float32
    assert plain["outputs"].tolist() == ask(classes, "/predict", JSON, inputs=ROWS).json()["outputs"]


def test_labels_and_the_same_bytes_again(masks: Served) -> None:
    ask(masks, "/predict_mc", NPZ, inputs=IMAGE, **ASKED)  # Graphs are traced, which takes longer than the rest.
    one, two = (ask(masks, "/predict", NPZ, inputs=IMAGE) for _ in range(2))
    assert one.content == two.content
    one = ask(masks, "/predict_mc", NPZ, inputs=IMAGE, **ASKED)
    labels = ask(masks, "/predict_mc", JSON, inputs=IMAGE, **ASKED).json()["predicted_label"]
    assert loaded(one)["predicted_label"].tolist() == labels


def test_sets_are_booleans_and_what_is_no_array_is_text() -> None:
    of = card(outputs=(CLASSES, VALUE))
    members = np.array([[True, False, False, True]])
    ends = {"lower": np.zeros(1), "upper": np.ones(1)}
    document = {
        "prediction_set": {"classes": ClassSets(members, CLASSES)},
        "interval": {"value": ends},
        "aleatoric": {"classes": None, "value": np.ones(1)},
        "promised": {"classes": {"risk": 0.1}},
        "converged": np.array([True]),
    }
    found = arrays_of(document, of)
    assert found["classes.prediction_set"].tolist() == members.tolist()
    assert json.dumps(document["prediction_set"]["classes"].tolist()) == "[[0, 3]]"
    assert (found["value.lower"][0], found["value.upper"][0]) == (0, 1)
    assert "classes.aleatoric" not in found
    assert json.loads(str(found["classes.promised"])) == {"risk": 0.1}
    assert set(arrays_of({"interval": ends}, card(outputs=(VALUE,)))) == {"lower", "upper"}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("query", "of"),
    [
        ("field=predictive_entropy", lambda told: told["predictive_entropy"]),
        ("field=mean&channel=2", lambda told: np.asarray(told["mean"])[..., 2]),
    ],
)
def test_a_picture_shows_a_map_with_its_scale(masks: Served, query: str, of: Any, bits: int) -> None:
    path = f"/predict_mc?{query}&bits={bits}"
    response = ask(masks, path, PNG, inputs=IMAGE, **ASKED)
    assert response.status_code == 200, response.text
    values = np.asarray(of(ask(masks, "/predict_mc", JSON, inputs=IMAGE, **ASKED).json()))[0]
    low, high = float(response.headers["x-image-low"]), float(response.headers["x-image-high"])
    assert (low, high) == (values.min(), values.max())
    assert query.startswith(f"field={response.headers['x-image-field']}")
    with Image.open(io.BytesIO(response.content)) as picture:
        assert picture.mode == {8: "L", 16: "I;16"}[bits]
        pixels = np.asarray(picture, np.float64)
    np.testing.assert_allclose(low + pixels / (2**bits - 1) * (high - low), values, atol=(high - low) / 2**bits)


def test_pictures_in_colour_and_of_one_value() -> None:
    of = card(outputs=(VALUE.model_copy(update={"shape": (4, 5, 3)}),))
    values = np.linspace(-1, 2, 60).reshape(1, 4, 5, 3)
    picture = picture_of({"mean": values}, of, field="mean")
    with Image.open(io.BytesIO(picture.content)) as opened:
        assert np.asarray(opened).tolist() == np.rint((values[0] + 1) / 3 * 255).astype(int).tolist()
    assert (picture.low, picture.high) == (-1, 2)
    same = picture_of({"mean": np.full((1, 4, 5, 1), 7.0)}, of, field="mean", bits=16)
    assert (same.low, same.high) == (7, 7)
    with pytest.raises(NotAcceptableError, match="there are mean"):
        picture_of({"mean": values, "n_samples": 3}, of, field="n_samples")


@pytest.mark.parametrize(
    ("path", "accept", "inputs", "status", "said"),
    [
        ("/predict_mc", "text/html", IMAGE, 406, "application/json or application/x-npz or image/png"),
        ("/predict_mc", "application/json;q=0", IMAGE, 406, "expected the header accept"),
        ("/predict_mc", PNG, IMAGE, 406, "a map of 4"),
        ("/predict_mc?field=seed", PNG, IMAGE, 406, "there are mean, variance, standard_error, predictive_entropy"),
        ("/predict_mc?field=n%C3%B6", PNG, IMAGE, 406, "not there"),
        ("/predict_mc?field=mean&channel=4", PNG, IMAGE, 406, "channel=4"),
        ("/predict_mc?field=mean&channel=-1", PNG, IMAGE, 422, "0 or more"),
        ("/predict_mc?field=mean&channel=x&bits=9", PNG, IMAGE, 422, "expected 8 or 16"),
        ("/predict_mc?field=variance", JSON, IMAGE, 422, "only an answer of image/png"),
        ("/predict_mc?field=variance&channel=1", PNG, [*IMAGE, *IMAGE], 406, "expected one row"),
        ("/predict_mc?field=predicted_label", PNG, IMAGE, 406, "no map"),
    ],
)
def test_what_cannot_be_had_is_refused(
    masks: Served, path: str, accept: str, inputs: Any, status: int, said: str
) -> None:
    response = ask(masks, path, accept, inputs=inputs, **ASKED)
    assert response.status_code == status, response.text
    assert said in response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_a_model_without_maps_has_no_pictures(classes: Served) -> None:
    response = ask(classes, "/predict", PNG, inputs=ROWS[:1])
    assert (response.status_code, response.json()["title"]) == (406, "The answer cannot be had in this form")


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("", JSON),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON),
        ("application/*", JSON),
        ("image/*", PNG),
        (f"{NPZ}, */*;q=0.1", NPZ),
        (f"{JSON};q=0.5, {NPZ}", NPZ),
        (f"{NPZ};q=0.5, {JSON}", JSON),
        (f"{JSON}, {NPZ}", JSON),
        (f"*/*, {JSON};q=0", NPZ),
        (f"{NPZ};q=high", NPZ),
        (f"{NPZ};q=nan, {JSON};q=0.1", JSON),
        (NPZ.upper(), NPZ),
    ],
)
def test_which_answer_is_accepted(accept: str | None, answer: str) -> None:
    headers = [] if accept is None else [(b"accept", accept.encode())]
    assert terms_of({"headers": headers}).answer == answer


def test_large_json_is_packed_where_the_client_takes_it(classes: Served) -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 3)).tolist()
    plain = classes.ask("POST", "/predict", json={"inputs": rows}, headers={"accept-encoding": "identity"})
    packed = classes.ask("POST", "/predict", json={"inputs": rows}, headers={"accept-encoding": "br, gzip;q=0.5"})
    assert "content-encoding" not in plain.headers
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "accept-encoding")
    assert packed.content == plain.content  # the client unpacks it
    assert int(packed.headers["content-length"]) < 0.6 * int(plain.headers["content-length"])
    for few in ({"inputs": rows[:50]}, {"inputs": [["x"]]}):
        short = classes.ask("POST", "/predict", json=few, headers={"accept-encoding": "gzip"})
        assert "content-encoding" not in short.headers
    archive = classes.ask("POST", "/predict", json={"inputs": rows}, headers={"accept": NPZ, "accept-encoding": "gzip"})
    assert "content-encoding" not in archive.headers


@pytest.mark.parametrize(
    ("said", "takes"),
    [("gzip", True), ("*", True), ("x-gzip", True), ("gzip;q=0, *", False), ("br", False), ("", False), ("GZip", True)],
)
def test_what_takes_gzip(said: str, takes: bool) -> None:
    assert takes_gzip([(b"accept-encoding", said.encode())]) is takes


def test_a_packed_body_and_a_packed_answer(classes: Served, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 3))
    content = io.BytesIO()
    np.save(content, rows)
    headers = {"content-type": "application/x-npy", "content-encoding": "gzip", "accept-encoding": "gzip"}
    body = gzip.compress(content.getvalue())
    answer = classes.ask("POST", "/predict", content=body, headers=headers)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json() == classes.ask("POST", "/predict", json={"inputs": rows.tolist()}).json()
