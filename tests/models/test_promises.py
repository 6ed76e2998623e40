"""The law of coverage: over repeated calibrations the answers hold the truth as often as is stated, and hardly more."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from thinned.models.calibration import calibrate_classes, calibrate_quantiles, calibrate_values
from thinned.models.card import InputSpec, ModelCard, OutputSpec, SplitSpec
from thinned.models.errors import CalibrationError
from thinned.models.evaluation.predictive import Values
from thinned.models.uncertainty import temper
from thinned.models.uncertainty.folds import Units, units_for
from thinned.models.uncertainty.promises import (
    calibrated_passes,
    check_coverage,
    check_passes,
    describe_promise,
    interval,
    prediction_set,
    quantile_interval,
    scored_as,
)

REPEATS = 500
FRESH = 200
COVERAGES = (0.8, 0.9)
Draw = np.random.Generator
Measured = dict[float, list[float]]


def spec(task: str, shape: tuple[int, ...]) -> OutputSpec:
    scale = "probabilities" if task in ("classification", "multilabel") else "values"
    return OutputSpec.model_validate({"name": "y", "shape": shape, "dtype": "float32", "task": task, "scale": scale})


def values(task: str, n: int, draw: Draw) -> Iterator[tuple[float, float]]:
    """A network that errs in a way of its own for each row, is too sure, and has noise with heavy tails."""
    rows = n + FRESH
    mean = draw.normal(size=(rows, 1))
    means = mean + draw.gamma(2, 0.2, size=(rows, 1)) * draw.normal(size=(4, rows, 1))
    noises = np.exp(draw.normal(-1, 0.5, size=(1, rows, 1))) * np.ones((4, 1, 1)) if task == "gaussian" else None
    targets = mean + draw.standard_t(3, size=(rows, 1)) * (0.5 + np.abs(mean))
    own = spec(task, (2,) if task == "gaussian" else (1,))
    known = Values(means[:, :n], None if noises is None else noises[:, :n])
    fitted = calibrate_values(known, targets[:n], own, 4).spec
    scored = scored_as(fitted)
    factor = scored.calibration.variance_factor if scored.calibration is not None else None
    noise = np.asarray(scored.noise) if noises is None else noises[:, n:] * (factor or 1.0)
    rest = Values(means[:, n:], noise)
    for coverage in COVERAGES:
        low, high = interval(fitted, rest.mean, rest.variance, coverage)
        yield coverage, float(((targets[n:] >= low) & (targets[n:] <= high)).mean())


def classes(per_row: int, n: int, draw: Draw, *, count: int = 3, **sets: Any) -> Iterator[tuple[float, float]]:
    """Probabilities that are too sure; of several positions in a row, all of a row are about as hard."""
    rows = n + FRESH
    hard = draw.normal(size=(rows, 1, 1)) if per_row > 1 else np.zeros((rows, 1, 1))
    logits = 2.0 * np.exp(-hard) * draw.normal(size=(rows, per_row, count))
    right = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    labels = (right.cumsum(axis=-1) > draw.uniform(size=(rows, per_row, 1))).argmax(axis=-1)
    probs = temper(right.reshape(-1, count), 0.5).reshape(right.shape)
    own = spec("classification", (per_row, count) if per_row > 1 else (count,))
    known = probs[:n].reshape(1, -1, count)
    fitted = calibrate_classes(known, labels[:n].ravel(), own, 2, Units.of_rows(n, per_row), **sets).spec
    for coverage in COVERAGES:
        members = prediction_set(fitted, probs[n:], coverage)
        yield coverage, float(np.take_along_axis(members, labels[n:, :, np.newaxis], axis=-1).mean())


def labels_of(n: int, draw: Draw) -> Iterator[tuple[float, float]]:
    """Five labels that hold together by rows, one row in three has none; the probabilities are too sure."""
    rows = n + FRESH
    right = 1 / (1 + np.exp(1.5 - draw.normal(size=(rows, 1)) - 1.5 * draw.normal(size=(rows, 5))))
    truth = (draw.uniform(size=right.shape) < right).astype(np.int64)
    probs = temper(np.stack([1 - right, right], axis=-1), 0.5)
    own = spec("multilabel", (5,))
    known, units = probs[:n].reshape(1, -1, 2), Units.of_rows(n, 5)
    fitted = calibrate_classes(known, truth[:n].ravel(), own, 2, units).spec
    for coverage in COVERAGES:
        members, true = prediction_set(fitted, probs[n:, :, 1], coverage), truth[n:] == 1
        held = (members & true).sum(axis=1) / np.maximum(true.sum(axis=1), 1)
        yield coverage, float(np.where(true.any(axis=1), held, 1.0).mean())


def quantiles(n: int, draw: Draw) -> Iterator[tuple[float, float]]:
    """Quantiles of two numbers, too near to each other or too far apart, and noise that grows with the mean."""
    rows = n + FRESH
    mean = draw.normal(size=(rows, 2))
    spread = 0.5 + np.abs(mean)
    targets = mean + spread * draw.standard_t(3, size=(rows, 2))
    told = mean[..., np.newaxis] + spread[..., np.newaxis] * [[-0.5, 0, 0.5], [-9.0, 0, 9.0]]
    own = spec("quantile", (2, 3)).model_copy(update={"levels": (0.1, 0.5, 0.9)})
    fitted = calibrate_quantiles(told[:n], targets[:n], own, 2).spec
    for coverage in COVERAGES:
        low, high = quantile_interval(fitted, told[n:], coverage)
        assert (low <= high).all()
        yield coverage, float(((targets[n:] >= low) & (targets[n:] <= high)).mean())


KINDS: dict[str, Callable[[int, Draw], Iterator[tuple[float, float]]]] = {
    "regression": lambda n, draw: values("regression", n, draw),
    "gaussian": lambda n, draw: values("gaussian", n, draw),
    "classification": lambda n, draw: classes(1, n, draw, empty_sets=True),
    "never empty": lambda n, draw: classes(1, n, draw, count=6),
    "aps": lambda n, draw: classes(1, n, draw, count=6, sets="aps"),
    "raps": lambda n, draw: classes(1, n, draw, count=6, sets="raps"),
    "labels": labels_of,
    "quantiles": quantiles,
    "positions": lambda n, draw: classes(9, n, draw),
}


@pytest.mark.parametrize("n", [20, 50, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_over_500_calibrations_coverage_is_what_is_stated(kind: str, n: int) -> None:
    draw = np.random.default_rng([n, len(kind)])
    measured: Measured = {coverage: [] for coverage in COVERAGES}
    for _ in range(REPEATS):
        for coverage, share in KINDS[kind](n, draw):
            measured[coverage].append(share)
    for coverage, shares in measured.items():
        error = np.std(shares) / REPEATS**0.5  # of the mean over repeats
        assert np.mean(shares) >= coverage - 3 * error
        assert np.mean(shares) <= coverage + 0.02 + 1 / (n + 1) + 3 * error


@pytest.mark.parametrize("sets", ["plain", "aps", "raps"])
def test_a_set_is_empty_only_where_that_was_asked_for(sets: Any) -> None:
    """The likeliest class is right in nine of ten rows, so that a plain set of coverage 0.5 may be empty."""
    draw = np.random.default_rng(7)
    probs = draw.dirichlet(np.ones(4) / 4, size=400)
    labels = (probs.cumsum(axis=1) > draw.uniform(size=(400, 1))).argmax(axis=1)

    def sizes(**more: Any) -> np.ndarray:
        fitted = calibrate_classes(probs[np.newaxis], labels, spec("classification", (4,)), 2, sets=sets, **more).spec
        assert OutputSpec.model_validate_json(fitted.model_dump_json()) == fitted
        assert ("may be empty" in describe_promise(fitted)) == bool(more)
        members = prediction_set(fitted, probs, 0.5)
        assert more or members[np.arange(400), probs.argmax(axis=1)].all()
        return np.asarray(members.sum(axis=1))

    assert sizes().min() == 1
    if sets == "plain":
        assert sizes(empty_sets=True).min() == 0
    else:
        with pytest.raises(CalibrationError, match="never empty: leave --empty-sets out"):
            sizes(empty_sets=True)


def test_adaptive_sets_are_larger_where_the_model_is_less_sure() -> None:
    """Half of the rows are easy: plain sets fail the hard half, adaptive ones hold both about as often."""
    draw = np.random.default_rng(8)
    logits = np.repeat([5.0, 1.0], 3000)[:, np.newaxis] * draw.normal(size=(6000, 8))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probs.cumsum(axis=1) > draw.uniform(size=(6000, 1))).argmax(axis=1)
    hard: dict[str, float] = {}
    for sets in ("plain", "aps", "raps"):
        own = spec("classification", (8,))
        fitted = calibrate_classes(probs[np.newaxis, ::2], labels[::2], own, 2, sets=sets).spec
        members = prediction_set(fitted, probs[1::2], 0.9)
        held = members[np.arange(3000), labels[1::2]]
        assert held.mean() == pytest.approx(0.9, abs=0.02)
        hard[sets] = float(held[1500:].mean())
    assert hard["plain"] < 0.85 < hard["raps"]
    assert hard["aps"] > 0.85


def test_rows_of_a_group_are_not_counted_as_rows() -> None:
    """10 patients with 30 rows each, each patient off by an error of its own: rows would promise too much."""
    draw = np.random.default_rng(5)
    share: dict[str, list[float]] = {"rows": [], "groups": []}
    for _ in range(200):
        off = np.repeat(draw.normal(size=(110, 1)), 30, axis=0) + 0.1 * draw.normal(size=(3300, 1))
        known = Values(np.zeros((2, 300, 1)), None)
        groups = np.repeat(np.arange(10), 30)
        for name, units in {"rows": Units.of_rows(300), "groups": Units.of_groups(groups)}.items():
            fitted = calibrate_values(known, off[:300], spec("regression", (1,)), 2, units).spec
            noise = np.asarray(scored_as(fitted).noise)
            low, high = interval(fitted, np.zeros((3000, 1)), np.ones((3000, 1)) * noise, 0.8)
            share[name].append(float(((off[300:] >= low) & (off[300:] <= high)).mean()))
    assert np.mean(share["rows"]) < 0.78
    assert 0.8 <= np.mean(share["groups"]) <= 0.8 + 2 / 8


@pytest.mark.parametrize("n", [10, 11, 12, 13, 200])
def test_no_unit_fits_and_is_scored(n: int) -> None:
    units = Units.of_groups(np.arange(3 * n) % n)
    fits, scored = units.parted(1)
    assert not set(units.of[fits]) & set(units.of[~fits])
    assert scored.count == len(set(units.of[~fits])) == n - n // 3
    assert set(scored.of) == set(range(scored.count))
    assert units_for(scored.count) <= n
    assert units_for(scored.count) - units_for(scored.count) // 3 == scored.count


def card(*outputs: OutputSpec) -> ModelCard:
    return ModelCard(
        name="c",
        inputs=(InputSpec(name="x", shape=(1,), dtype="float32"),),
        outputs=outputs,
        sites=(),
        split=SplitSpec(prefix_layers=(), suffix_layers=(), frontier=()),
        sha256="0" * 64,
        keras_version="3",
        thinned_version="0",
        created=datetime.datetime.now(datetime.UTC),
    )


def fitted_with(n_samples: int, name: str) -> OutputSpec:
    off = np.random.default_rng(1).normal(size=(60, 1))
    found = calibrate_values(Values(np.zeros((2, 60, 1)), None), off, spec("regression", (1,)), n_samples)
    return found.spec.model_copy(update={"name": name})


def test_a_coverage_of_other_passes_is_refused() -> None:
    held = card(fitted_with(64, "y"))
    check_coverage(held, 0.9)
    check_passes(held, n_samples=64, sampling="stratified", adaptive=False, limit=100)
    for asked, said in (
        ({"n_samples": 2}, "64 stratified passes, as calibrated, and this asks for one with 2 passes"),
        ({"sampling": "independent"}, "one with independent passes; leave that out"),
        ({"adaptive": True}, "a tolerance or a budget of time"),
        ({"limit": 32}, "at most 32 may be asked for"),
    ):
        given = {"n_samples": 64, "sampling": "stratified", "adaptive": False, "limit": 100, **asked}
        with pytest.raises(CalibrationError, match=said):
            check_passes(held, **given)  # type: ignore[arg-type]


def test_outputs_that_were_calibrated_with_different_passes_promise_nothing_together() -> None:
    apart = card(fitted_with(64, "y"), fitted_with(128, "z"))
    assert calibrated_passes(apart) is None
    with pytest.raises(CalibrationError, match=r"y with 64, z with 128.*the same --n-samples"):
        check_coverage(apart, 0.9)


def test_a_card_says_what_it_promises_and_what_is_counted() -> None:
    probs = np.random.default_rng(2).dirichlet(np.ones(3), size=(2, 30 * 4))
    made = spec("classification", (2, 2, 3))
    fitted = calibrate_classes(probs, np.zeros(120, np.int64), made, 2, Units.of_rows(30, 4)).spec
    calibration = fitted.calibration
    assert calibration is not None
    assert calibration.promise is not None
    assert (calibration.rows, calibration.promise.n, calibration.promise.positions) == (30, 20, 4)
    said = describe_promise(fitted)
    assert "the class of the positions of a new row, on average over them" in said
    assert "n = 20 counts rows, not positions" in said
    assert OutputSpec.model_validate_json(fitted.model_dump_json()) == fitted
