"""Float rounding is no finding, and a variance near zero forms no ratio."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.audit.audited import audited, codes, network, the_finding
from thinned.models.audit.model_checks import MeanGap, findings_of_gaps, findings_of_keras_gaps, shifts
from thinned.models.audit.probe import Normalised
from thinned.models.audit.rounding import telling
from thinned.models.dropout.keras_draws import Gap

L = keras.layers
UNIT = 2.0**-23


def scaled(scales: list[float]) -> Any:
    """Dropout and a normalisation of channels that vary as `scales` say."""
    layer = L.Dense(len(scales), use_bias=False, name="scaled")
    model = network(L.Dropout(0.3), layer, L.BatchNormalization(name="norm"), L.Dense(1))
    layer.set_weights([layer.get_weights()[0] * np.array(scales, "float32")])
    return model


@pytest.mark.parametrize("tiny", [0.0, 1e-6, 3e-7])
def test_a_channel_that_hardly_varies_is_left_out_of_the_range(tiny: float) -> None:
    found = audited(scaled([1.0, 2.0, 0.5, tiny]), short=True)
    (shift,) = found.figures["batch_normalization_shifts"]
    assert shift["channels"] == 3
    assert 0.5 < shift["least"] <= shift["ratio"] <= shift["most"] < 10
    text = the_finding(found, "batch-normalization-after-dropout").text
    assert all(float(number) < 10 for number in re.findall(r"\d+\.\d+", text))


def test_a_tenth_of_the_channels_does_not_stretch_the_range() -> None:
    off = Normalised("norm", np.zeros(100, "float32"), np.ones(100, "float32"))
    ratios = np.concatenate([np.full(95, 2.0), np.full(5, 900.0)]).astype("float32")
    (shift,) = shifts([Normalised("norm", off.mean, ratios)], [off], unit=UNIT)
    assert (shift.ratio, shift.least, shift.most) == (2.0, 2.0, 900.0)
    (shift,) = shifts(
        [Normalised("norm", off.mean, ratios[::-1][1:])],
        [Normalised("norm", off.mean[1:], off.variance[1:])],
        unit=UNIT,
    )
    assert shift.most == 2.0


def test_where_no_channel_varies_no_ratio_is_told() -> None:
    found = audited(scaled([0.0, 0.0]), short=True)
    assert found.figures["batch_normalization_shifts"] == []
    assert "batch-normalization-after-dropout" not in codes(found)


def test_a_constant_beside_its_rounding_is_no_variance() -> None:
    off = Normalised("norm", np.array([1e4, 0.0], "float32"), np.array([1e-9, 1e-8], "float32"))
    on = Normalised("norm", off.mean, np.array([9.0, 2e-8], "float32"))
    (shift,) = shifts([on], [off], unit=UNIT)
    assert (shift.channels, shift.most) == (1, pytest.approx(2.0))


class Ahead(keras.Model):
    """A normalisation before the only site, in a model whose graph is not known: its input is repeated for passes."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.last = L.BatchNormalization(), L.Dropout(0.5), L.Dense(2)

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.last(self.drop(self.norm(x, training=training), training=training))


def test_a_normalisation_that_no_noise_reaches_is_no_finding() -> None:
    model = Ahead()
    model(np.ones((2, 7), "float32"))
    assert "batch-normalization-after-dropout" not in codes(audited(model, short=True))


@given(
    st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=6),
    st.integers(0, 5),
    st.floats(0, 1e-5),
)
def test_a_negligible_unit_never_tells_and_the_largest_always_does(
    variances: list[float], place: int, part: float
) -> None:
    largest = max(variances)
    values = np.insert(np.array(variances, "float32"), place % (len(variances) + 1), np.float32(largest * part))
    there = telling(values, np.zeros_like(values), unit=UNIT)
    assert there[values.argmax()] == (largest > 0)
    assert not there[values < 1e-5 * largest].any()


def test_a_difference_of_rounding_between_plain_answer_and_mean_is_no_finding() -> None:
    """A weight of 6.7e-8 behind the site: the passes differ from the plain answer by no more than that."""
    base, faint = L.Dense(1, name="base"), L.Dense(1, use_bias=False, name="faint")

    def both(x: Any) -> Any:
        return L.Add()([base(x), faint(L.GaussianNoise(1.0)(L.Dense(4, "relu")(x)))])

    model = network(both)
    base.set_weights([np.zeros((6, 1), "float32"), np.ones(1, "float32")])
    faint.set_weights([np.full((4, 1), 6.7e-8, "float32")])
    found = audited(model, inputs={"x": np.ones((32, 6), "float32")})
    assert not [finding for finding in found.findings if finding.code != "dropout-before-output"], found.findings
    assert found.sites[0].variance_share == {}  # a share of what is only rounding says nothing


def test_a_real_difference_between_plain_answer_and_mean_is_still_told() -> None:
    model = network(L.Dense(32, "relu"), L.Dropout(0.5), L.Dense(32, "relu"), L.Dense(1, "exponential"))
    assert "deterministic-is-not-the-mean" in codes(audited(model))


def test_averages_that_move_by_rounding_are_no_finding() -> None:
    """A moving mean of 0 of inputs whose mean is 0 but for rounding."""
    norm = L.BatchNormalization(momentum=0.0)
    model = network(norm, L.Dropout(0.3), L.Dense(1))
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    rows = np.concatenate([x, -x])
    norm.set_weights([np.ones(6), np.zeros(6), np.full(6, 6.7e-8), rows.var(axis=0)])
    assert "training-true-changes-the-model" not in codes(audited(model, inputs={"x": rows}, short=True))


def test_averages_that_move_are_told_and_answers_that_do_not_are_not_given_as_numbers() -> None:
    norm = L.BatchNormalization(momentum=0.0)
    model = network(L.Dropout(0.3), L.Dense(3), norm, L.Dense(1, name="y"))
    model.get_layer("y").set_weights([np.full((3, 1), 2e-7, "float32"), np.ones(1, "float32")])
    found = audited(model, short=True)
    assert found.figures["naive_training"]["answers"] == 0
    text = the_finding(found, "training-true-changes-the-model").text
    assert "no plain answer to these rows by more than float rounding" in text


def test_no_text_divides_by_nothing() -> None:
    (far,) = findings_of_keras_gaps([Gap("y", "mean", 1.0, 2.0, 1e290)])
    assert "further than any chance apart" in far.text
    (still,) = findings_of_gaps([MeanGap("y", 0.1, 0.1, None, 0.5, None)], made_up=False)
    assert "standard deviations" not in still.text


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_has_more_rounding(policy: str) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = network(L.Dense(16), L.Dropout(0.2), L.Dense(16), L.Dense(2, dtype="float32"))
    finally:
        keras.config.set_dtype_policy(before)
    found = audited(model, short=True)
    assert not found.warned
    assert "deterministic-is-not-the-mean" not in codes(found)  # linear: the mean is the plain answer
