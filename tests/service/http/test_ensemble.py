"""Ensembles over HTTP: both parts of the variance by name, and everything that may be asked for beside them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.service.conftest import Served
from tests.service.http.test_streams import stream_like_plain
from thinned.models.calibration import PolicyRequest, fit, store_calibrated
from thinned.models.evaluation import evaluate
from thinned.models.evaluation.predictive import values_of
from thinned.models.loading import load_stored
from thinned.models.storage.ensemble import make_ensemble
from thinned.models.storage.importing import import_model
from thinned.models.storage.model_store import StoredModel
from thinned.models.uncertainty import entropy, split_gaussian

Serve = Callable[..., Served]
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(60, 3)).astype("float32")
ROWS = X[:4].tolist()
MEMBERS, PASSES = 2, 40
ASK = {"inputs": ROWS, "n_samples": PASSES, "seed": 3, "estimator": "passes"}
KINDS: dict[str, tuple[Any, int, str | None, float]] = {
    "values": ("regression", 2, None, 0.5),
    "classes": ("classification", 3, "softmax", 0.5),
    "logits": ("classification", 3, None, 0.5),
    "gaussian": ("gaussian", 2, None, 0.5),
    "deep": ("regression", 1, None, 0.0),
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StoredModel]:
    import keras
    from keras import layers as L

    folder = tmp_path_factory.mktemp("ensembles")

    def put(name: str, model: Any, task: Any, **options: Any) -> StoredModel:
        model.save(folder / f"{name}.keras")
        return import_model(folder / f"{name}.keras", name=name, tasks={None: task}, **options)

    made = {}
    for kind, (task, units, last, rate) in KINDS.items():
        members = []
        for seed in range(MEMBERS):
            keras.utils.set_random_seed(seed)
            x = keras.Input((3,), name="x")
            y = L.Dense(units, last, name="y")(L.Dropout(rate)(L.Dense(16, "relu")(x)))
            options: dict[str, Any] = {"scale": "logits"} if kind == "logits" else {}
            if task == "classification":
                options["labels"] = ("a", "b", "c")
            members.append(put(f"http-{kind}-{seed}", keras.Model(x, y), task, **options))
        made[kind] = make_ensemble(members, name=f"http-{kind}")
    members = []
    for seed in range(MEMBERS):
        keras.utils.set_random_seed(seed)
        x = keras.Input((4, 4, 2), name="image")
        y = L.SpatialDropout2D(0.4)(L.Conv2D(8, 3, padding="same", activation="relu")(x))
        members.append(put(f"http-map-{seed}", keras.Model(x, L.Conv2D(1, 1, name="y")(y)), "regression"))
    made["map"] = make_ensemble(members, name="http-map")
    return made


@pytest.fixture(scope="module")
def served(stored: dict[str, StoredModel], serve: Serve) -> Callable[[str], Served]:
    loaded: dict[str, Served] = {}

    def served(kind: str) -> Served:
        if kind not in loaded:
            loaded[kind] = serve(stored[kind].tag)
        return loaded[kind]

    return served


def ask(service: Served, **fields: Any) -> dict[str, Any]:
    response = service.ask("POST", "/predict_mc", json={**ASK, **fields})
    assert response.status_code == 200, response.text
    service.fits(response.json(), "PredictMcAnswer")
    return dict(response.json())


def apart(answer: dict[str, Any]) -> np.ndarray:
    """The passes of each member, (S, M, B, ...)."""
    samples = np.asarray(answer["samples"])
    return samples.reshape(-1, MEMBERS, *samples.shape[1:])


@pytest.mark.parametrize("kind", ["values", "classes", "logits", "gaussian"])
def test_both_parts_are_told_and_are_those_of_the_passes(served: Any, kind: str) -> None:
    answer = ask(served(kind), return_samples=True, quantiles=[0.5])
    passes = apart(answer)
    assert (answer["n_samples"], len(answer["samples"])) == (PASSES, PASSES * MEMBERS)
    assert_allclose(answer["mean"], passes.mean(axis=(0, 1)), rtol=1e-5, atol=1e-7)
    assert_allclose(answer["variance_within"], passes.var(axis=0, ddof=1).mean(axis=0), rtol=1e-4, atol=1e-8)
    assert_allclose(answer["variance_between"], passes.mean(axis=0).var(axis=0), rtol=1e-4, atol=1e-8)
    parts = np.add(answer["variance_within"], answer["variance_between"])
    assert_allclose(answer["variance"], parts, rtol=1e-9)
    errors = passes.var(axis=0, ddof=1) / PASSES
    assert_allclose(answer["standard_error"], np.sqrt(errors.sum(axis=0)) / MEMBERS, rtol=1e-4, atol=1e-8)
    assert_allclose(answer["quantiles"][0], np.quantile(answer["samples"], 0.5, axis=0), rtol=1e-6)
    again = ask(served(kind), return_samples=True, quantiles=[0.5])
    assert_allclose(again["samples"], answer["samples"], rtol=1e-4, atol=1e-6)


def test_entropies_are_those_of_all_passes_of_all_members(served: Any) -> None:
    answer = ask(served("classes"), return_samples=True, separate=True)
    probs = np.asarray(answer["samples"])
    assert_allclose(answer["predictive_entropy"], entropy(probs.mean(axis=0)), rtol=1e-5)
    assert_allclose(answer["expected_entropy"], entropy(probs).mean(axis=0), rtol=1e-5)
    difference = np.subtract(answer["predictive_entropy"], answer["expected_entropy"])
    assert_allclose(answer["mutual_information"], difference, atol=1e-12)
    assert_allclose(answer["epistemic"], probs.var(axis=0), rtol=1e-4)
    assert_allclose(answer["aleatoric"], (probs * (1 - probs)).mean(axis=0), rtol=1e-4)


def test_a_gaussian_output_parts_its_own_noise_from_both(served: Any) -> None:
    answer = ask(served("gaussian"), return_samples=True, separate=True)
    _, noises = split_gaussian(np.asarray(answer["samples"]))
    assert_allclose(answer["aleatoric"], noises.mean(axis=0), rtol=1e-5)
    assert_allclose(answer["epistemic"], np.asarray(answer["variance"])[:, :1], rtol=1e-6)
    assert_allclose(answer["total"], np.add(answer["aleatoric"], answer["epistemic"]), rtol=1e-9)


def test_plain_answers_of_logits_have_the_label_of_the_mean_probabilities(served: Any) -> None:
    plain = served("logits").ask("POST", "/predict", json={"inputs": ROWS}).json()
    model = load_stored(served("logits").manager.stored)
    own = model.apart.predict({"x": X[:4]})
    probs = np.mean([np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True) for z in own.values()], axis=0)
    told = np.exp(plain["outputs"])
    assert_allclose(told / told.sum(axis=-1, keepdims=True), probs, rtol=1e-5)
    assert plain["predicted_label"] == ["abc"[i] for i in probs.argmax(axis=-1)]


def test_members_without_dropout_answer_at_once_and_exactly(served: Any) -> None:
    service = served("deep")
    answer = ask(service, n_samples=1000, return_samples=True, separate=True, tolerance=1e-9)
    samples = np.asarray(answer["samples"])
    assert samples.shape[0] == MEMBERS
    assert (answer["n_samples"], answer["estimator"], answer["stopped_by"]) == (0, "exact", "exact")
    assert answer["converged"] == [True] * 4
    assert not np.any(answer["standard_error"])
    assert not np.any(answer["variance_within"])
    assert_allclose(answer["variance"], samples.var(axis=0), rtol=1e-5, atol=1e-9)
    plain = service.ask("POST", "/predict", json={"inputs": ROWS}).json()["outputs"]
    assert_allclose(answer["mean"], plain, rtol=1e-5)


@pytest.mark.parametrize("kind", ["values", "deep"])
def test_requests_that_are_joined_get_what_they_get_alone(served: Any, kind: str) -> None:
    service = served(kind)
    bodies = [
        {**ASK, "inputs": X[i : i + 1 + i % 3].tolist(), "seed": i % 4, "n_samples": 8 * (1 + i % 5)} for i in range(12)
    ]
    alone = [service.ask("POST", "/predict_mc", json=body).json() for body in bodies]
    joined = [future.result(60).json() for future in [service.begin("POST", "/predict_mc", json=b) for b in bodies]]
    for one, other in zip(alone, joined, strict=True):
        for field in ("mean", "variance", "variance_within", "variance_between", "standard_error"):
            assert_allclose(one[field], other[field], rtol=1e-4, atol=1e-7)


def test_a_tolerance_looks_at_the_error_of_the_pooled_mean(served: Any) -> None:
    error = max(map(max, ask(served("values"), n_samples=512)["standard_error"]))
    answer = ask(served("values"), n_samples=1000, tolerance=2 * error)
    assert answer["stopped_by"] == "tolerance"
    assert answer["converged"] == [True] * 4
    assert 128 <= answer["n_samples"] < 1000


def test_the_model_says_its_members_and_the_protocol_offers_both_parts(served: Any) -> None:
    service = served("values")
    card = service.ask("GET", "/model").json()
    assert [member["name"] for member in card["members"]] == ["http-values-0", "http-values-1"]
    service.fits(card, "Model")
    rows = {"name": "x", "datatype": "FP32", "shape": [4, 3], "data": ROWS}
    parameters = {"n_samples": PASSES, "seed": 3, "estimator": "passes"}
    body = {"inputs": [rows], "parameters": parameters}
    found = service.ask("POST", "/v2/models/http-values/infer", json=body).json()
    told = {one["name"]: np.reshape(one["data"], one["shape"]) for one in found["outputs"]}
    expected = ask(service)
    for part in ("variance", "variance_within", "variance_between", "standard_error"):
        assert_allclose(told[f"y.{part}"], expected[part], rtol=1e-9)
    body["outputs"] = [{"name": "y.samples"}]
    samples = service.ask("POST", "/v2/models/http-values/infer", json=body).json()["outputs"][0]
    assert samples["shape"] == [PASSES * MEMBERS, 4, 2]


def test_maps_are_reduced_pass_by_pass_of_each_member(served: Any) -> None:
    image = DRAW.uniform(size=(2, 4, 4, 2)).round(3).tolist()
    passes = apart(ask(served("map"), inputs=image, return_samples=True)).mean(axis=(3, 4))
    answer = served("map").ask("POST", "/predict_mc", json={**ASK, "inputs": image, "reduce": {}})
    assert answer.status_code == 200, answer.text
    served("map").fits(answer.json(), "PredictMcAnswer")
    found = answer.json()["reduced"]
    within = passes.var(axis=0, ddof=1).mean(axis=0)
    assert_allclose(found["variance"], within + passes.mean(axis=0).var(axis=0), rtol=1e-4)
    assert_allclose(found["standard_error"], np.sqrt(within / (PASSES * MEMBERS)), rtol=1e-4)


def test_the_limits_count_the_passes_of_all_members(stored: dict[str, StoredModel], serve: Serve) -> None:
    service = serve(stored["values"].tag, max_returned_numbers=PASSES * 4 * 2 + 100)
    response = service.ask("POST", "/predict_mc", json={**ASK, "return_samples": True})
    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == ["inputs"]
    most = service.ask("POST", "/predict_mc", json={**ASK, "n_samples": PASSES // 2, "return_samples": True})
    assert most.status_code == 200, most.text


@pytest.mark.parametrize("kind", ["values", "gaussian"])
def test_what_is_calibrated_is_what_is_served(stored: dict[str, StoredModel], kind: str) -> None:
    """The scores of a calibration hold for the very variance that an answer has."""
    model, spec = load_stored(stored[kind]), stored[kind].card.outputs[0]
    passes = model.sample({"x": X}, n_samples=64, seed=1)["y"]
    values = values_of(passes, spec, calibrated=False)
    found = model.summary({"x": X}, n_samples=64, seed=1, estimator="passes")["y"]
    width = values.mean.shape[1]
    assert_allclose(values.mean, found.mean[:, :width], rtol=1e-5, atol=1e-6)
    assert_allclose(values.epistemic, found.variance[:, :width], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("kind", ["values", "classes", "gaussian", "deep"])
def test_an_ensemble_is_calibrated_and_scored(stored: dict[str, StoredModel], serve: Serve, kind: str) -> None:
    member = stored[kind]
    model, spec = load_stored(member), member.card.outputs[0]
    draw = np.random.default_rng(1)
    classes, units = spec.task == "classification", 2 if kind == "values" else 1
    targets = draw.normal(size=60 * units)
    if classes:  # right four times of five
        own = model.predict({"x": X})["y"].argmax(axis=-1)
        targets = (own + (np.arange(60) % 5 == 0)) % 3
    policy = PolicyRequest(0.5, 0.8, None, None if classes else 3.0)
    fitted = fit(model, spec, {"x": X}, targets, n_samples=32, policy=policy)
    service = serve(store_calibrated(member, fitted.spec).tag)
    answer = ask(service, n_samples=32, coverage=0.8, policy=True, estimator=None)
    assert ("prediction_set" if classes else "interval") in answer
    assert set(answer["decision"]) <= {"accept", "abstain"}
    other = service.ask("POST", "/predict_mc", json={**ASK, "n_samples": 50, "coverage": 0.8, "estimator": None})
    # Members that draw nothing answer the same, whatever passes are asked for.
    assert other.status_code == (200 if kind == "deep" else 409), other.text
    if kind == "deep":
        assert other.json().get("interval") == answer.get("interval")
    found = evaluate(model, fitted.spec, {"x": X}, targets, counts=[1, 8])
    scores = {series.name: series for series in found.series}
    assert max(scores["passes"].n_samples) == 32
    assert (kind == "deep") == (scores["passes"].n_samples == (32,))
    bare = evaluate(model, spec, {"x": X}, targets, counts=[1, 8])
    assert any("draw no noise" in note for note in bare.notes) == (kind == "deep")


def test_a_model_by_itself_tells_no_parts(stored: dict[str, StoredModel], serve: Serve) -> None:
    alone = serve("http-values-0")
    assert "variance_within" not in ask(alone)
    assert alone.ask("GET", "/model").json()["members"] == []


@pytest.mark.parametrize("kind", ["classes", "deep"])
def test_a_stream_and_an_archive_hold_the_plain_answer(served: Any, kind: str) -> None:
    fields = {**ASK, "n_samples": 70}
    *before, (_, data) = stream_like_plain(served(kind), **fields)
    progress = [json.loads(data)["n_samples"] for name, data in before if name == "progress"]
    assert progress == ([] if kind == "deep" else [32, 64])
    assert json.loads(data)["n_samples"] == (0 if kind == "deep" else 70)
    response = served(kind).ask(
        "POST", "/predict_mc", json={**fields, "return_samples": True}, headers={"accept": "application/x-npz"}
    )
    with np.load(io.BytesIO(response.content), allow_pickle=False) as archive:
        assert archive["samples"].shape[:2] == (MEMBERS * (1 if kind == "deep" else 70), len(ROWS))
        assert_allclose(archive["variance_between"], json.loads(data)["variance_between"], rtol=1e-4, atol=1e-8)
