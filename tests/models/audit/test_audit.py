"""The audit finds nothing wrong where nothing is, and finds what is."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
import pytest
from keras.src import backend

from tests import zoo
from tests.models.audit.audited import audited, codes
from thinned.models.audit.report import confidence
from thinned.models.dropout import enable_mc_dropout
from thinned.models.dropout.noise.noise_context import Draw
from thinned.models.dropout.partition.signature import UNKNOWN_LENGTH

L = keras.layers
FAMILIES = (
    "sequential",
    "convolutional",
    "nested",
    "attention",
    "lstm",
    "drop_path",
    "time_distributed",
    "self_normalising",
    "masked_embedding",
    "subclassed",
    "registered",
    "mixed_float16",
)


@pytest.mark.parametrize("family", FAMILIES)
def test_sound_models_are_found_sound_and_stay_as_they_are(family: str) -> None:
    model = zoo.build(family)
    before = [variable.numpy() for variable in model.variables]
    found = audited(model, short=True)
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, model.variables, strict=True))
    assert all(site.correct and (site.keras is None or site.keras.correct) for site in found.sites)
    assert "NOT" not in found.verdict
    assert not codes(found) & {"site-incorrect", "keras-incorrect", "off-is-not-deterministic"}
    json.dumps(found.to_json(), allow_nan=False)
    assert found.short().sites[0].path == found.sites[0].path


def test_every_site_is_measured() -> None:
    found = audited(zoo.build("sequential"))
    for site, rate in zip(found.sites, (0.3, 0.5), strict=True):
        assert site.low is not None
        assert site.high is not None
        assert site.low <= rate <= site.high
        assert site.scale_error == pytest.approx(0, abs=1e-6)
        assert site.mean_factor == pytest.approx(1, abs=0.02)
        assert site.identity_in_inference
        assert site.keras is not None
        assert site.keras.low <= rate <= site.keras.high
    assert [name.partition("_")[0] for site in found.sites for name in (*site.after, *site.before)] == ["dense"] * 4
    assert "kept with probability one half" in found.sites[1].words
    assert not found.warned


def test_shares_of_the_variance_are_those_of_a_linear_network() -> None:
    """Two sites in a row on a linear network: each alone adds r / (1 - r) times the same square."""
    inputs = keras.Input((40,))
    x = L.Dropout(0.5)(L.Dropout(0.2)(inputs))
    model = keras.Model(inputs, L.Dense(1, use_bias=False)(x))
    share = [site.variance_share[model.output_names[0]] for site in audited(model).sites]
    assert share == pytest.approx([0.25 / 1.5, 1 / 1.5], rel=0.15)


def test_what_keras_does_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unscaled(x: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
        return x * keras.ops.cast(keras.random.uniform(x.shape, seed=1) >= rate, x.dtype)

    monkeypatch.setattr(backend.random, "dropout", unscaled)
    found = audited(zoo.build("sequential"), short=True)
    assert found.verdict.startswith("Keras's dropout is NOT correct here")
    assert [site.correct for site in found.sites] == [True, True]
    assert found.warned
    assert "keras-incorrect" in codes(found)


def test_what_is_armed_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Draw.bernoulli
    monkeypatch.setattr(
        Draw, "bernoulli", lambda self, x, rate, noise_shape=None: right(self, x, rate / 2, noise_shape)
    )
    monkeypatch.setattr("thinned.models.dropout.noise.noise_context._POOLED_UNITS", 0)
    found = audited(zoo.build("sequential"), short=True)
    assert [site.correct for site in found.sites] == [False, False]
    assert "NOT correct" in found.verdict
    assert found.findings[0].level == "error"


def test_passes_that_are_not_keras_own_draws_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Draw.bernoulli
    monkeypatch.setattr(
        Draw, "bernoulli", lambda self, x, rate, noise_shape=None: right(self, x, rate / 2, noise_shape)
    )
    monkeypatch.setattr("thinned.models.dropout.noise.noise_context._POOLED_UNITS", 0)
    found = audited(zoo.build("sequential"))
    (gap,) = [finding for finding in found.findings if finding.code == "passes-differ-from-keras"]
    assert gap.level == "error"
    assert "variance over passes is" in gap.text


def test_a_network_built_wrong_is_told_each_of_its_faults() -> None:
    inputs = keras.Input((12, 12, 2))
    x = L.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = L.Dropout(0.4, name="speckle")(x)
    x = L.MaxPooling2D(name="pool")(x)
    x = L.Dropout(0.8, name="heavy")(L.Flatten()(x))
    x = L.BatchNormalization(name="norm")(x)
    x = L.Dropout(0.0, name="nothing")(x)
    x = L.Dropout(0.3, name="baked")(L.Dense(8, "relu")(x), training=True)
    x = L.Dense(3, "softmax")(x)
    found = audited(keras.Model(inputs, L.Dropout(0.2, name="last")(x)), short=True)
    by_code = {finding.code: finding for finding in found.findings}
    for code, site, level in (
        ("not-spatial", "speckle", "warning"),
        ("rate-over-half", "heavy", "warning"),
        ("batch-normalization-after-dropout", "norm", "warning"),
        ("rate-0", "nothing", "note"),
        ("built-with-training-true", "baked", "warning"),
        ("dropout-on-output", "last", "warning"),
        ("training-true-changes-the-model", None, "note"),
    ):
        assert (by_code[code].site, by_code[code].level) == (site, level)
    assert "pool" in by_code["not-spatial"].text
    assert [finding.level for finding in found.findings] == sorted(
        (finding.level for finding in found.findings), key=("error", "warning", "note").index
    )


def test_the_shift_of_batch_normalization_is_that_of_the_variance() -> None:
    """Dropout at rate r turns the second moment m2 into m2 / (1 - r): for centred inputs, so the variance."""
    inputs = keras.Input((6,))
    model = keras.Model(inputs, L.Dense(1)(L.BatchNormalization()(L.Dropout(0.5)(inputs))))
    rows = {enable_mc_dropout(model).inputs[0].name: np.random.default_rng(0).normal(size=(64, 6)).astype("float32")}
    (shift,) = audited(model, inputs=rows).figures["batch_normalization_shifts"]
    assert shift["ratio"] == pytest.approx(2.0, rel=0.1)


def test_the_rows_that_were_used_are_said() -> None:
    inputs = [keras.Input((None, 2), name="words"), keras.Input((3,), dtype="int32", name="kind")]
    x = L.Concatenate()([L.GlobalAveragePooling1D()(L.Dropout(0.2)(inputs[0])), L.Embedding(2, 1)(inputs[1])[..., 0]])
    model = keras.Model(inputs, L.Dense(1)(x))
    found = audited(model, short=True)
    words = f"words ({UNKNOWN_LENGTH}, 2) standard normal numbers"
    assert found.rows_used == f"8 rows made up: {words}, kind (3,) integers from 0 to 1"
    rows = {"words": np.zeros((9, 5, 2), "float32"), "kind": np.zeros((9, 3), "int32")}
    assert audited(model, inputs=rows, short=True).rows_used == (
        "the first 8 of the 9 rows given: words (8, 5, 2), kind (8, 3)"
    )
    few = {name: x[:2] for name, x in rows.items()}
    assert audited(model, inputs=few, short=True).rows_used.startswith("all 2 rows given: words (2, 5, 2)")


def test_a_model_without_sites_has_nothing_to_judge() -> None:
    inputs = keras.Input((3,))
    found = audited(keras.Model(inputs, L.Dense(1)(inputs)))
    assert found.sites == ()
    assert "no active site" in found.verdict


def test_wilson_intervals_hold_the_share_they_are_of() -> None:
    assert confidence(50, 100)[0] < 0.5 < confidence(50, 100)[1]
    assert confidence(0, 10)[0] == pytest.approx(0.0)
    assert confidence(10, 10)[1] == pytest.approx(1.0)
    wide, narrow = confidence(3, 10), confidence(3000, 10000)
    assert wide[0] < narrow[0] < 0.3 < narrow[1] < wide[1]
