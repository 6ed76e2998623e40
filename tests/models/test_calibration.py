"""Calibration finds what was put in, promises what it keeps, and makes no likelihood worse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thinned.loadtest.studies.coverage import COVERAGES, measure
from thinned.models.calibration import calibrate_classes, calibrate_values, fit, store_calibrated
from thinned.models.card import OutputSpec
from thinned.models.dropout import enable_mc_dropout
from thinned.models.errors import AnswerNotFiniteError, CalibrationError, InputError, NoSitesError
from thinned.models.evaluation.own_passes import own_passes
from thinned.models.evaluation.predictive import Values
from thinned.models.storage import model_store
from thinned.models.storage.importing import import_model
from thinned.models.uncertainty import temper
from thinned.models.uncertainty.promises import describe_promise, interval, prediction_set, scored_as

REGRESSION = OutputSpec(name="y", shape=(2,), dtype="float32", task="regression")
CLASSES = OutputSpec(name="y", shape=(4,), dtype="float32", task="classification", scale="probabilities")


def test_the_noise_that_was_put_in_is_found() -> None:
    draw = np.random.default_rng(0)
    mean = draw.normal(size=(3000, 2))
    means = mean + 0.3 * draw.normal(size=(64, 3000, 2))
    targets = mean + draw.normal(size=(3000, 2)) * [0.5, 2.0]
    found = calibrate_values(Values(means, None), targets, REGRESSION, 64)
    # The passes' own spread of 0.09 is part of the predictive variance, and not of the noise.
    assert found.spec.noise == pytest.approx([0.25 - 0.09, 4.0 - 0.09], rel=0.1)
    assert found.nll_before is None


def test_a_factor_mends_variances_that_the_network_answers_wrong() -> None:
    draw = np.random.default_rng(1)
    means, noises = np.zeros((16, 3000, 1)), np.full((16, 3000, 1), 0.25)
    spec = REGRESSION.model_copy(update={"task": "gaussian"})
    found = calibrate_values(Values(means, noises), draw.normal(size=(3000, 1)), spec, 16)
    assert found.spec.calibration is not None
    assert found.spec.calibration.variance_factor == pytest.approx(4.0, rel=0.1)
    assert found.nll_before is not None
    assert found.nll_after < found.nll_before


@pytest.mark.parametrize("heat", [0.5, 1.0, 2.5])
def test_the_temperature_that_was_put_in_is_found(heat: float) -> None:
    draw = np.random.default_rng(2)
    right = draw.dirichlet(np.full(4, 0.5), size=4000)
    labels = (right.cumsum(axis=1) > draw.uniform(size=(4000, 1))).argmax(axis=1)
    found = calibrate_classes(temper(right, 1 / heat)[np.newaxis], labels, CLASSES, 2)
    assert found.spec.calibration is not None
    assert found.spec.calibration.temperature == pytest.approx(heat, rel=0.1)
    assert found.nll_before is not None
    assert found.nll_after <= found.nll_before


def test_a_model_that_errs_nowhere_is_not_made_boundlessly_sure() -> None:
    probs = np.full((1, 100, 4), 0.02)
    labels = np.arange(100) % 4
    probs[0, np.arange(100), labels] = 0.94
    fitted = calibrate_classes(probs, labels, CLASSES, 2).spec.calibration
    assert fitted is not None
    assert fitted.temperature is not None
    assert 0.5 < fitted.temperature < 1


def test_intervals_hold_what_they_promise_whatever_the_network() -> None:
    """Its deviations are wrong tenfold, and the noise has heavy tails."""
    draw = np.random.default_rng(3)
    means = 10 * draw.normal(size=(32, 4000, 2))
    targets = draw.standard_t(3, size=(4000, 2))
    spec = calibrate_values(Values(means[:, :1000], None), targets[:1000], REGRESSION, 32).spec
    rest = Values(means[:, 1000:], np.asarray(scored_as(spec).noise))
    for coverage in COVERAGES:
        low, high = interval(spec, rest.mean, rest.variance, coverage)
        assert ((targets[1000:] >= low) & (targets[1000:] <= high)).mean() == pytest.approx(coverage, abs=0.03)


def test_sets_hold_what_they_promise() -> None:
    draw = np.random.default_rng(4)
    probs = draw.dirichlet(np.full(4, 0.7), size=4000)
    labels = draw.integers(0, 4, 4000)
    spec = calibrate_classes(probs[np.newaxis, :1000], labels[:1000], CLASSES, 2).spec
    for coverage in COVERAGES:
        members = prediction_set(spec, probs[1000:], coverage)
        assert members[np.arange(3000), labels[1000:]].mean() == pytest.approx(coverage, abs=0.03)


def test_what_cannot_be_promised_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"not calibrated.*thinned calibrate"):
        interval(REGRESSION, np.zeros((1, 2)), np.ones((1, 2)), 0.9)
    draw = np.random.default_rng(5)
    few = calibrate_values(Values(draw.normal(size=(8, 12, 2)), None), np.zeros((12, 2)), REGRESSION, 8).spec
    with pytest.raises(CalibrationError, match=r"0\.95 needs the scores of 19 .* there are 8; .* with 28 or more rows"):
        interval(few, np.zeros((1, 2)), np.ones((1, 2)), 0.95)
    interval(few, np.zeros((1, 2)), np.ones((1, 2)), 0.8)
    assert "for C up to 0.8889. n = 8 counts rows," in describe_promise(few)
    assert few.calibration is not None
    old = few.model_copy(update={"calibration": few.calibration.model_copy(update={"promise": None})})
    with pytest.raises(CalibrationError, match=r"earlier version of Thinned.*calibrate again"):
        interval(old, np.zeros((1, 2)), np.ones((1, 2)), 0.8)
    assert "promises no coverage" in describe_promise(old)


def test_a_calibrated_model_is_a_new_version(files: Path, store: Path) -> None:
    first = import_model(files / "sound.keras", name="sound", tasks={None: "regression"})
    stochastic = enable_mc_dropout(model_store.load_keras(first))
    rows = {"x": np.random.default_rng(0).normal(size=(50, 4)).astype("float32")}
    found = fit(stochastic, first.card.outputs[0], rows, np.zeros((50, 2)), n_samples=32)
    second = store_calibrated(first, found.spec)
    assert model_store.find("sound").version == second.version != first.version
    assert model_store.find("sound", first.version).card.outputs[0].calibration is None
    card = model_store.find("sound").card
    assert card.outputs[0].noise is not None
    assert len(card.outputs[0].noise) == 2
    assert card.outputs[0].calibration == found.spec.calibration
    with pytest.raises(CalibrationError, match=r"10 or more rows.* needs 13, one of 0\.95 28"):
        fit(stochastic, first.card.outputs[0], {"x": rows["x"][:9]}, np.zeros((9, 2)))
    with pytest.raises(CalibrationError, match="10 or more groups to calibrate with, received 5"):
        fit(stochastic, first.card.outputs[0], rows, np.zeros((50, 2)), groups=np.arange(50) % 5)
    grouped = fit(stochastic, first.card.outputs[0], rows, np.zeros((50, 2)), n_samples=8, groups=np.arange(50) % 25)
    promise = grouped.spec.calibration.promise if grouped.spec.calibration else None
    assert promise is not None
    assert (promise.n, promise.counted) == (17, "groups")


def test_each_calibration_row_has_passes_of_its_own(files: Path, store: Path) -> None:
    """As requests have; rows that share their masks would share the error of the mean."""
    model = enable_mc_dropout(
        model_store.load_keras(import_model(files / "sound.keras", name="sound-own", tasks={None: "regression"}))
    )
    output, rows = model.outputs[0].name, {"x": np.ones((100, 4), "float32")}
    passes = own_passes(model, output, rows, n_samples=8, seed=3)
    assert passes.shape[:2] == (8, 100)
    assert len(np.unique(passes.mean(axis=0).round(4), axis=0)) > 20
    again = own_passes(model, output, {"x": rows["x"][:2]}, n_samples=8, seed=3)
    np.testing.assert_allclose(again, passes[:, :2], rtol=1e-5, atol=1e-6)


def test_a_model_that_answers_no_number_is_not_calibrated(tmp_path: Path, store: Path) -> None:
    import keras

    # No ReLU: TensorFlow's graphs fuse it with the product before it, and then NaN may come out as 0.
    x = keras.Input((4,), name="x")
    keras.Model(x, keras.layers.Dense(2, name="y")(keras.layers.Dropout(0.3)(x))).save(tmp_path / "linear.keras")
    stored = import_model(tmp_path / "linear.keras", name="linear-nan", tasks={None: "regression"})
    rows = {"x": np.zeros((50, 4), "float32")}
    rows["x"][7] = np.inf
    with pytest.raises(AnswerNotFiniteError, match=r"NaN or infinity .* for rows \[7\]"):
        fit(enable_mc_dropout(model_store.load_keras(stored)), stored.card.outputs[0], rows, np.zeros((50, 2)))


def test_a_model_without_sites_has_nothing_to_calibrate(files: Path, store: Path) -> None:
    stored = import_model(files / "still.keras", name="still", tasks={None: "regression"})
    rows = {"x": np.zeros((50, 4), "float32")}
    with pytest.raises(NoSitesError):
        fit(enable_mc_dropout(model_store.load_keras(stored)), stored.card.outputs[0], rows, np.zeros((50, 2)))


def within_two_points(found: Any) -> bool:
    return all(abs(found.measured[coverage] - coverage) <= 0.02 for coverage in COVERAGES)


def test_digits_keeps_its_promise_over_50_splits(digits: str) -> None:
    from thinned.models.examples import digits as example

    stored, split = model_store.find(digits), example.data()
    stochastic, rows = enable_mc_dropout(model_store.load_keras(stored)), {"image": split.x_test}
    passes = stochastic.sample(rows, n_samples=128, seed=1)["digit"]
    found = measure(passes, stochastic.predict(rows)["digit"], split.y_test, stored.card.outputs[0])
    assert within_two_points(found)
    assert found.nll_after <= found.nll_before


def test_diabetes_keeps_its_promise_over_50_splits() -> None:
    import keras

    from thinned.models.examples import diabetes as example
    from thinned.models.examples.training import fit as train

    keras.utils.set_random_seed(0)
    split = example.data()
    mean, deviation = float(split.y_train.mean()), float(split.y_train.std())
    core = example.build(split.x_train)
    target = (split.y_train - mean) / deviation
    train(
        core,
        split.x_train,
        target,
        epochs=40,
        batch_size=64,
        learning_rate=2e-3,
        weight_decay=1e-2,
        loss="mean_squared_error",
        on_epoch=None,
    )
    stochastic = enable_mc_dropout(example.in_own_units(core, mean, deviation))
    rows, (output,) = {"patient": split.x_test}, stochastic.outputs
    spec = OutputSpec(name=output.name, shape=(1,), dtype="float32", task="regression")
    passes = stochastic.sample(rows, n_samples=128, seed=1)[output.name]
    found = measure(passes, stochastic.predict(rows)[output.name], split.y_test, spec)
    assert within_two_points(found)
    assert found.nll_after <= found.nll_before


def test_a_map_of_classes_is_calibrated_by_images() -> None:
    import keras

    keras.utils.set_random_seed(2)
    image = keras.Input((4, 4, 1), name="image")
    hidden = keras.layers.Dropout(0.3)(keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image))
    model = enable_mc_dropout(
        keras.Model(image, keras.layers.Conv2D(3, 1, activation="softmax", name="kind")(hidden)),
        classes={"kind": "probabilities"},
    )
    draw = np.random.default_rng(3)
    rows, kinds = {"image": draw.normal(size=(30, 4, 4, 1)).astype("float32")}, draw.integers(0, 3, (30, 4, 4))
    spec = OutputSpec(name="kind", shape=(4, 4, 3), dtype="float32", task="classification", scale="probabilities")
    fitted = fit(model, spec, rows, kinds, n_samples=4).spec
    assert fitted.calibration is not None
    assert fitted.calibration.promise is not None
    assert (fitted.calibration.rows, fitted.calibration.promise.n, fitted.calibration.promise.positions) == (30, 20, 16)
    assert prediction_set(fitted, np.full((2, 4, 4, 3), 1 / 3), 0.9).shape == (2, 4, 4, 3)
    with pytest.raises(CalibrationError, match=r"0\.99 needs the scores of 99 or more rows, there are 20"):
        prediction_set(fitted, np.full((2, 4, 4, 3), 1 / 3), 0.99)
    with pytest.raises(InputError, match="expected 16 targets for each of 30 rows, received 30 in all"):
        fit(model, spec, rows, kinds[:, 0, 0], n_samples=4)
