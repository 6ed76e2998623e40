"""Answers that part the variance and promise a coverage: right by task, refused where nothing stands behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.service.conftest import Served
from thinned.models.calibration import PolicyRequest, fit, store_calibrated
from thinned.models.dropout import enable_mc_dropout
from thinned.models.errors import CalibrationError, UnsupportedModelError
from thinned.models.evaluation import evaluate
from thinned.models.evaluation.page import page
from thinned.models.evaluation.plots import drawings
from thinned.models.evaluation.predictive import classes_of
from thinned.models.storage.importing import import_model
from thinned.models.storage.model_store import StoredModel, load_keras
from thinned.models.uncertainty import entropy, softmax, split_gaussian, temper

X = np.random.default_rng(0).normal(size=(60, 3)).astype("float32")
ASK = {"inputs": X[:4].tolist(), "n_samples": 32, "seed": 3, "return_samples": True, "estimator": "passes"}
Serve = Callable[..., Served]
TASKS: dict[str, tuple[Any, int, str | None, Any]] = {
    "part-classes": ("classification", 3, "softmax", None),
    "part-logits": ("classification", 3, None, "logits"),
    "part-unit": ("classification", 1, "sigmoid", None),
    "part-labels": ("multilabel", 3, "sigmoid", None),
    "part-values": ("regression", 2, None, None),
    "part-gaussian": ("gaussian", 2, None, None),
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StoredModel]:
    import keras
    from keras import layers

    folder = tmp_path_factory.mktemp("parts")
    made = {}
    for name, (task, units, activation, scale) in TASKS.items():
        keras.utils.set_random_seed(1)
        x = keras.Input((3,), name="x")
        hidden = layers.Dropout(0.5)(layers.Dense(16, "relu")(x))
        keras.Model(x, layers.Dense(units, activation, name="y")(hidden)).save(folder / f"{name}.keras")
        made[name] = import_model(folder / f"{name}.keras", name=name, tasks={None: task}, scale=scale)
    return made


@pytest.fixture(scope="module")
def calibrated(stored: dict[str, StoredModel], serve: Serve) -> Callable[[str], Served]:
    def calibrated(name: str) -> Served:
        card = stored[name].card
        draw = np.random.default_rng(1)
        targets = draw.integers(0, 2, 60) if card.outputs[0].task == "classification" else draw.normal(size=60)
        units = {"part-values": 2, "part-gaussian": 1}.get(name, 1)
        targets = np.stack([targets] * units, axis=1) if units > 1 else targets
        if name == "part-labels":
            targets = draw.integers(0, 2, (60, 3))
        found = fit(enable_mc_dropout(load_keras(stored[name])), card.outputs[0], {"x": X}, targets, n_samples=32)
        return serve(store_calibrated(stored[name], found.spec).tag)

    return calibrated


def asked(served: Served, **more: Any) -> dict[str, Any]:
    response = served.ask("POST", "/predict_mc", json={**ASK, **more})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    served.fits(answer, "PredictMcAnswer")
    return answer


@pytest.mark.parametrize("name", TASKS)
def test_the_parts_are_those_of_the_passes(serve: Serve, stored: dict[str, StoredModel], name: str) -> None:
    answer = asked(serve(stored[name].tag), separate=True)
    passes = np.asarray(answer["samples"])
    task, _, _, scale = TASKS[name]
    epistemic = np.asarray(answer["epistemic"])
    if task == "regression":
        assert answer["aleatoric"] is None
        assert answer["total"] is None
        assert "thinned calibrate" in answer["not_known"]
        assert_allclose(epistemic, answer["variance"])
        return
    assert "not_known" not in answer
    assert_allclose(epistemic + answer["aleatoric"], answer["total"])
    if task == "gaussian":
        means, variances = split_gaussian(passes)
        assert_allclose(epistemic, means.var(axis=0, ddof=1), rtol=1e-5)
        assert_allclose(answer["aleatoric"], variances.mean(axis=0), rtol=1e-5)
        return
    probs = softmax(passes) if scale == "logits" else passes
    assert_allclose(epistemic, probs.var(axis=0), rtol=1e-4, atol=1e-9)
    assert_allclose(answer["aleatoric"], (probs * (1 - probs)).mean(axis=0), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["part-values", "part-gaussian"])
def test_a_calibrated_regression_gives_an_interval(calibrated: Callable[[str], Served], name: str) -> None:
    served = calibrated(name)
    wide, narrow = (asked(served, coverage=coverage, separate=True) for coverage in (0.95, 0.5))
    assert wide["coverage"] == 0.95
    mean = np.asarray(wide["mean"])[:, : 2 if name == "part-values" else 1]
    lower, upper = np.asarray(wide["interval"]["lower"]), np.asarray(wide["interval"]["upper"])
    assert_allclose((lower + upper) / 2, mean, atol=1e-6)
    assert (upper - lower > np.asarray(narrow["interval"]["upper"]) - narrow["interval"]["lower"]).all()
    assert wide["aleatoric"] is not None


@pytest.mark.parametrize("name", ["part-classes", "part-logits", "part-unit"])
def test_a_calibrated_classification_gives_sets(calibrated: Callable[[str], Served], name: str) -> None:
    served = calibrated(name)
    large, small = (asked(served, coverage=coverage)["prediction_set"] for coverage in (0.95, 0.4))
    assert len(large) == 4
    assert all(set(few) <= set(many) for few, many in zip(small, large, strict=True))
    assert all(0 <= member < 3 for row in large for member in row)


def test_several_labels_have_sets_of_their_true_ones(calibrated: Callable[[str], Served]) -> None:
    served = calibrated("part-labels")
    large, small = (asked(served, coverage=coverage)["prediction_set"] for coverage in (0.95, 0.4))
    assert all(set(few) <= set(many) for few, many in zip(small, large, strict=True))
    assert all(0 <= member < 3 for row in large for member in row)
    calibration = served.manager.stored.card.outputs[0].calibration
    assert calibration is not None
    assert calibration.promise is not None
    # 40 of 60 rows with 3 labels each are scored: rows are counted, not labels.
    assert (calibration.promise.n, calibration.promise.positions) == (40, 3)


def test_a_coverage_brings_the_passes_that_were_calibrated(calibrated: Callable[[str], Served]) -> None:
    served = calibrated("part-values")
    body = {"inputs": ASK["inputs"], "coverage": 0.9}
    assert served.ask("POST", "/predict_mc", json=body).json()["n_samples"] == 32
    refused = served.ask("POST", "/predict_mc", json={**body, "coverage": 0.999})
    assert refused.status_code == 409
    assert "needs the scores of 999 or more rows, there are 40" in refused.json()["detail"]
    for other in (
        {"n_samples": 64},
        {"sampling": "independent"},
        {"tolerance": 1.0},
        {"budget_ms": 5},
        {"estimator": "best"},
    ):
        refused = served.ask("POST", "/predict_mc", json={**body, **other})
        assert refused.status_code == 409
        assert "holds for answers of 32 stratified passes" in refused.json()["detail"]
    assert served.ask("POST", "/predict_mc", json={**body, "n_samples": 32}).status_code == 200


def test_a_calibration_of_an_earlier_version_is_read_and_its_coverage_refused(
    stored: dict[str, StoredModel], calibrated: Callable[[str], Served], serve: Serve
) -> None:
    spec = calibrated("part-values").manager.stored.card.outputs[0]
    assert spec.calibration is not None
    old = spec.model_copy(update={"calibration": spec.calibration.model_copy(update={"promise": None})})
    served = serve(store_calibrated(stored["part-values"], old).tag)
    assert served.ask("POST", "/predict_mc", json={**ASK, "separate": True}).json()["aleatoric"] is not None
    refused = served.ask("POST", "/predict_mc", json={**ASK, "coverage": 0.9})
    assert refused.status_code == 409
    assert "calibrate again" in refused.json()["detail"]


def test_a_model_that_is_not_calibrated_says_what_to_run(serve: Serve, stored: dict[str, StoredModel]) -> None:
    served = serve(stored["part-classes"].tag)
    refused = served.ask("POST", "/predict_mc", json={**ASK, "coverage": 0.9})
    assert refused.status_code == 409
    assert "thinned calibrate" in refused.json()["detail"]
    served.fits(refused.json(), "Problem")
    several = serve(stored["part-labels"].tag).ask("POST", "/predict_mc", json={**ASK, "coverage": 0.9})
    assert several.status_code == 409


@pytest.mark.parametrize(
    "field", [{"coverage": 1}, {"coverage": "0.9"}, {"coverage": True}, {"separate": 1}, {"calibrated": None}]
)
def test_wrong_fields_are_named(classes: Served, field: dict[str, Any]) -> None:
    refused = classes.ask("POST", "/predict_mc", json={"inputs": X[:1].tolist(), **field})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["loc"] == list(field)


def test_several_outputs_are_parted_by_name(several: Served) -> None:
    body = {"inputs": {"x": X[:2].tolist(), "tokens": [[1, 2], [3, 4]]}, "n_samples": 8, "separate": True}
    response = several.ask("POST", "/predict_mc", json=body)
    answer = response.json()
    several.fits(answer, "PredictMcAnswer")
    assert answer["aleatoric"]["amount"] is None
    assert set(answer["not_known"]) == {"amount"}
    assert np.shape(answer["epistemic"]["kind"]) == (2, 4)


def uncalibrated(served: Served, **more: Any) -> dict[str, Any]:
    return asked(served, calibrated=False, **more)


@pytest.mark.parametrize("name", ["part-classes", "part-logits", "part-unit", "part-labels"])
def test_a_fitted_temperature_is_served_as_it_is_evaluated(calibrated: Callable[[str], Served], name: str) -> None:
    served = calibrated(name)
    spec = served.manager.stored.card.outputs[0]
    temperature = spec.calibration.temperature if spec.calibration is not None else None
    assert temperature is not None
    assert temperature != 1
    answer, plain = asked(served), uncalibrated(served)
    passes = classes_of(np.asarray(answer["samples"]), spec)
    expected = temper(passes.mean(axis=0), temperature)  # what `thinned evaluate` scores as calibrated
    field = "mean_probabilities" if spec.scale == "logits" else "mean"
    received = classes_of(np.asarray(answer[field])[np.newaxis], spec.model_copy(update={"scale": "probabilities"}))[0]
    assert_allclose(received, expected, rtol=1e-4, atol=1e-7)
    assert answer["calibrated"] is True
    assert not [name for name in plain if name.startswith("plain_") or name == "calibrated"]
    assert answer[f"plain_{field}"] == plain[field]
    assert answer[field] != plain[field]
    if spec.task == "classification":
        assert_allclose(answer["predictive_entropy"], entropy(expected), rtol=1e-4, atol=1e-6)
        assert answer["plain_predictive_entropy"] == plain["predictive_entropy"]
    # What is of the passes stays.
    for same in ("variance", "standard_error", "expected_entropy", "mutual_information", "samples"):
        assert answer.get(same) == plain.get(same)


def test_the_sets_are_those_of_the_tempered_mean_either_way(calibrated: Callable[[str], Served]) -> None:
    served = calibrated("part-classes")
    assert (
        asked(served, coverage=0.8)["prediction_set"] == asked(served, coverage=0.8, calibrated=False)["prediction_set"]
    )


def test_calibrated_answers_of_what_has_no_temperature(
    serve: Serve, stored: dict[str, StoredModel], calibrated: Callable[[str], Served]
) -> None:
    refused = serve(stored["part-classes"].tag).ask("POST", "/predict_mc", json={**ASK, "calibrated": True})
    assert refused.status_code == 409
    assert "the model is not calibrated, so there are no calibrated answers" in refused.json()["detail"]
    assert "plain_mean" not in asked(serve(stored["part-logits"].tag))
    regression = calibrated("part-values")
    assert asked(regression, calibrated=True) == asked(regression) == asked(regression, calibrated=False)


def test_the_mean_probabilities_of_logits(serve: Serve, stored: dict[str, StoredModel]) -> None:
    answer = asked(serve(stored["part-logits"].tag))
    assert_allclose(answer["mean_probabilities"], softmax(np.asarray(answer["samples"])).mean(axis=0), rtol=1e-4)


def test_the_card_tells_what_was_calibrated_without_its_scores(calibrated: Callable[[str], Served]) -> None:
    served = calibrated("part-classes")
    response = served.ask("GET", "/model")
    served.fits(response.json(), "Model")
    found = response.json()["outputs"][0]["calibration"]
    assert (found["rows"], found["n_samples"]) == (60, 32)
    assert found["created"] is not None
    assert "scores" not in found


def test_several_labels_are_named_where_they_are_likely(stored: dict[str, StoredModel], serve: Serve) -> None:
    labelled = stored["part-labels"]
    output = labelled.card.outputs[0].model_copy(update={"labels": ("red", "wet", "old")})
    served = serve(store_calibrated(labelled, output).tag)
    answer = asked(served)
    expected = [
        [label for label, p in zip(output.labels or (), row, strict=True) if p >= 0.5] for row in answer["mean"]
    ]
    assert answer["predicted_label"] == expected
    assert any(expected)
    plain = served.ask("POST", "/predict", json={"inputs": ASK["inputs"]}).json()
    served.fits(plain, "PredictAnswer")
    assert plain["predicted_label"] == [
        [label for label, p in zip(output.labels or (), row, strict=True) if p >= 0.5] for row in plain["outputs"]
    ]


@pytest.fixture(scope="module")
def deciding(stored: dict[str, StoredModel], serve: Serve) -> Callable[[str], Served]:
    """Models whose calibration rows are as they say, but for every twentieth."""

    def deciding(name: str) -> Served:
        model, output = enable_mc_dropout(load_keras(stored[name])), stored[name].card.outputs[0]
        plain = model.predict({"x": X})["y"]
        targets = plain[:, :1] if name == "part-gaussian" else plain
        asked = PolicyRequest(0.4, max_error=5.0)
        if output.task in ("classification", "multilabel"):
            probs = classes_of(plain[np.newaxis], output)[0]
            targets = probs.argmax(axis=1).reshape(60, -1) if output.task == "multilabel" else probs.argmax(axis=1)
            asked = PolicyRequest(0.4)
            targets[::20] = 1 - np.minimum(targets[::20], 1)
        found = fit(model, output, {"x": X}, np.squeeze(targets), n_samples=32, policy=asked)
        return serve(store_calibrated(stored[name], found.spec).tag)

    return deciding


@pytest.mark.parametrize("name", TASKS)
def test_a_policy_accepts_the_rows_whose_score_is_below_its_threshold(
    deciding: Callable[[str], Served], name: str
) -> None:
    served = deciding(name)
    body = {"inputs": X.tolist(), "policy": True, "seed": 5, "separate": True}
    response = served.ask("POST", "/predict_mc", json=body)
    assert response.status_code == 200, response.text
    answer = response.json()
    served.fits(answer, "PredictMcAnswer")
    assert answer["n_samples"] == 32
    score = np.asarray(answer["score"])
    assert_allclose(score <= answer["threshold"], np.asarray(answer["decision"]) == "accept")
    assert (answer["promised"]["risk"], answer["promised"]["confidence"]) == (0.4, 0.95)
    assert (answer["promised"]["n"], answer["promised"]["counted"]) == (40, "rows")
    what = answer["promised"]["score"]
    if what == "mutual_information":
        assert_allclose(score, answer["mutual_information"], atol=1e-9)
    elif what == "variance":
        assert_allclose(score, np.mean(answer["variance"], axis=1) if name == "part-values" else score)
    calibrated = served.ask("POST", "/predict_mc", json={**body, "calibrated": False}).json()
    assert (calibrated["decision"], calibrated["score"]) == (answer["decision"], answer["score"])


def test_a_policy_is_refused_where_there_is_none_or_for_other_passes(
    deciding: Callable[[str], Served], calibrated: Callable[[str], Served]
) -> None:
    body = {"inputs": X[:2].tolist(), "policy": True}
    refused = calibrated("part-values").ask("POST", "/predict_mc", json=body)
    assert refused.status_code == 409
    assert "has no policy" in refused.json()["detail"]
    served = deciding("part-classes")
    assert "decision" not in served.ask("POST", "/predict_mc", json={"inputs": X[:2].tolist()}).json()
    for other in ({"n_samples": 64}, {"sampling": "independent"}, {"tolerance": 1.0}, {"budget_ms": 5}):
        refused = served.ask("POST", "/predict_mc", json={**body, **other})
        assert refused.status_code == 409
        assert "the policy holds for answers of 32 stratified passes" in refused.json()["detail"]
    assert served.ask("POST", "/predict_mc", json={**body, "policy": "yes"}).status_code == 422


def test_quantiles_are_imported_calibrated_scored_and_served(serve: Serve, tmp_path: Path) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(4)
    x = keras.Input((3,), name="x")
    hidden = layers.Dropout(0.5)(layers.Dense(16, "relu")(x))
    keras.Model(x, layers.Dense(3, name="y")(hidden)).save(tmp_path / "part-quantiles.keras")
    given: dict[str, Any] = {"name": "part-quantiles", "tasks": {None: "quantile"}}
    for levels, said in (
        (None, r"say of which levels.*--levels y=0\.05,0\.5,0\.95"),
        ((0.5, 0.1, 0.9), "ascending, between 0 and 1, received 0.5, 0.1, 0.9"),
        ((0.1, 0.9), "2 levels were given; its last axis needs one entry a level"),
    ):
        with pytest.raises(UnsupportedModelError, match=said):
            import_model(tmp_path / "part-quantiles.keras", levels=levels and {None: levels}, **given)
    made = import_model(tmp_path / "part-quantiles.keras", levels={"y": (0.05, 0.5, 0.95)}, **given)
    model, output = enable_mc_dropout(load_keras(made)), made.card.outputs[0]
    assert output.levels == (0.05, 0.5, 0.95)
    targets = np.random.default_rng(2).normal(size=60)
    with pytest.raises(CalibrationError, match="no policies: leave --risk out"):
        fit(model, output, {"x": X}, targets, policy=PolicyRequest(0.1))
    found = fit(model, output, {"x": X}, targets, n_samples=32)
    # Nothing but the scores is fitted, so that all rows are scored.
    assert found.spec.calibration is not None
    assert found.spec.calibration.promise is not None
    assert found.spec.calibration.promise.n == 60
    served = serve(store_calibrated(made, found.spec).tag)
    answer = asked(served, coverage=0.9, separate=True)
    mean = np.sort(answer["mean"], axis=1)
    lower, upper = np.asarray(answer["interval"]["lower"]), np.asarray(answer["interval"]["upper"])
    assert lower.shape == (4,)
    assert_allclose(mean[:, 0] - lower, upper - mean[:, 2], atol=1e-6)
    assert "tells the noise of the data by their distance" in answer["not_known"]
    scored = evaluate(model, found.spec, {"x": X}, targets, counts=[8], by=("half", np.repeat(["a", "b"], 30)))
    assert [series.name for series in scored.series] == ["deterministic", "passes", "calibrated passes"]
    assert scored.by is not None
    assert (scored.series[-1].scores[-1]["conformal_coverage_0.9"] or 0) > 0.8
    assert scored.series[0].intervals[0]["pinball"] is not None
    assert "pinball loss" in page(scored, drawings(scored))


def test_the_best_estimator_keeps_the_passes_and_their_noise(serve: Serve, stored: dict[str, StoredModel]) -> None:
    """A gaussian output has the variance of its means by the closed form, and its noise of the passes."""
    served = serve(stored["part-gaussian"].tag)
    best, plain = (asked(served, separate=True, seed=3, estimator=e) for e in (None, "passes"))
    assert best["estimator"] != plain["estimator"] == "passes"
    assert_allclose(best["samples"], plain["samples"], rtol=1e-6)
    assert_allclose(best["aleatoric"], plain["aleatoric"], rtol=1e-5)
    means = np.shape(best["epistemic"])[-1]
    assert_allclose(best["epistemic"], np.asarray(best["variance"])[:, :means])
    assert np.abs(np.asarray(best["variance"]) - plain["variance"]).max() > 0


def test_an_exact_model_draws_no_pass_unless_passes_are_asked_for(serve: Serve, stored: dict[str, StoredModel]) -> None:
    served = serve(stored["part-values"].tag)
    body = {"inputs": ASK["inputs"], "n_samples": 1000, "tolerance": 0.1}
    answer = served.ask("POST", "/predict_mc", json=body).json()
    served.fits(answer, "PredictMcAnswer")
    assert (answer["estimator"], answer["n_samples"], answer["degrees_of_freedom"]) == ("exact", 0, None)
    assert (answer["standard_error_from"], answer["stopped_by"], set(answer["converged"])) == ("exact", "exact", {True})
    assert np.max(answer["standard_error"]) == 0
    again = served.ask("POST", "/predict_mc", json={"inputs": ASK["inputs"], "seed": 5}).json()
    assert (again["mean"], again["variance"]) == (answer["mean"], answer["variance"])
    drawn = asked(served, estimator="best", n_samples=40)
    assert (drawn["estimator"], drawn["n_samples"], np.shape(drawn["samples"])[0]) == ("exact", 40, 40)
    assert_allclose(drawn["variance"], answer["variance"], rtol=1e-4)


@pytest.mark.parametrize("wrong", ["exact", "", 1, True, ["best"], {}])
def test_an_unknown_estimator_is_named(classes: Served, wrong: Any) -> None:
    refused = classes.ask("POST", "/predict_mc", json={"inputs": X[:1].tolist(), "estimator": wrong})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["loc"] == ["estimator"]
