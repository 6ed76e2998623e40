"""An evaluation scores the same passes that the model draws, and its page stands alone."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from thinned.models.card import Calibration, OutputSpec, Promise
from thinned.models.dropout import StochasticModel, enable_mc_dropout
from thinned.models.errors import InputError
from thinned.models.evaluation import Evaluation, evaluate
from thinned.models.evaluation.meanings import meaning_of
from thinned.models.evaluation.page import page
from thinned.models.evaluation.plots import _score, drawings
from thinned.models.evaluation.run import SEED
from thinned.models.evaluation.theme import LIGHT, figure
from thinned.models.uncertainty.answer import OutputAnswer, answer_output
from thinned.models.uncertainty.running_statistics import BlockStatistics, RunningStatistics

L = keras.layers
ROWS = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
TASKS = {
    "classification": ("softmax", 3, "probabilities"),
    "multilabel": ("sigmoid", 2, "probabilities"),
    "regression": (None, 2, "values"),
    "gaussian": (None, 2, "values"),
}


def network(activation: str | None, units: int) -> StochasticModel:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,), name="x")
    x = L.Dropout(0.4)(L.Dense(16, "relu")(inputs))
    return enable_mc_dropout(keras.Model(inputs, L.Dense(units, activation, name="y")(x)))


def evaluated(
    task: Any,
    *,
    calibration: Calibration | None = None,
    noise: Any = None,
    counts: tuple[int, ...] | list[int] = (1, 8, 64),
    **options: Any,
) -> Evaluation:
    activation, units, scale = TASKS[task]
    stochastic = network(activation, units)
    draw = np.random.default_rng(1)
    targets = {
        "classification": draw.integers(0, 3, 60),
        "multilabel": draw.integers(0, 2, (60, 2)),
        "regression": draw.normal(size=(60, 2)),
        "gaussian": draw.normal(size=(60, 1)),
    }[task]
    spec = OutputSpec(
        name="y", shape=(units,), dtype="float32", task=task, scale=scale, calibration=calibration, noise=noise
    )
    return evaluate(stochastic, spec, {"x": ROWS}, targets, counts=counts, **options)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_scored_drawn_and_written(task: str) -> None:
    found = evaluated(task, ood={"x": ROWS * 5})
    assert [series.n_samples for series in found.series][:2] == [(0,), (1, 8, 64)]
    json.dumps(found.to_json(), allow_nan=False)
    made = list(drawings(found))
    assert any(drawing.name.startswith("passes_") for drawing in made)
    assert all(png.startswith(b"\x89PNG") for drawing in made for png in (drawing.light, drawing.dark))
    text = page(found, made)
    assert not re.search(r"""(?:src|srcset|href)=["'](?!data:)""", text)
    assert "://" not in text
    last, intervals = found.series[1].scores[-1], found.series[1].intervals[-1]
    assert any(name.startswith("auroc_strange") for name in last)
    assert last.keys() == intervals.keys()
    for name, value in last.items():
        meaning = meaning_of(name)
        assert meaning.definition
        assert meaning.definition.partition("{")[0] in html.unescape(text)
        assert "is better" in meaning.better or "is best" in meaning.better
        if value is not None:
            low, high = intervals[name]  # type: ignore[misc]
            assert low <= value <= high


def test_scores_are_those_of_the_first_passes() -> None:
    found = evaluated("regression")
    stochastic = network(None, 2)
    passes = stochastic.sample({"x": ROWS}, n_samples=8, seed=SEED)["y"]
    targets = np.random.default_rng(1)
    targets.integers(0, 3, 60), targets.integers(0, 2, (60, 2))
    truth = targets.normal(size=(60, 2))
    assert_allclose(found.series[1].scores[1]["rmse"], np.sqrt(((passes.mean(axis=0) - truth) ** 2).mean()), rtol=1e-5)
    assert "thinned calibrate" in found.notes[0]


SCORES = tuple((i / 20,) for i in range(20))
TWO = tuple((i / 5, i / 4) for i in range(20))
OF_CLASSES = Promise(n=20, counted="rows", temperature=1.5)
OF_VALUES = Promise(n=20, counted="rows", noise=(1.5, 1.0))


def answered(spec: OutputSpec, n_samples: int, coverage: float) -> OutputAnswer:
    """What the service computes for a request with `coverage`."""
    activation, units, _ = TASKS[spec.task]
    passes = network(activation, units).sample({"x": ROWS}, n_samples=n_samples, seed=SEED)["y"]
    statistics = RunningStatistics().update(BlockStatistics.of_passes(passes))
    return answer_output(
        spec, statistics, sampling="stratified", passes=passes, coverage=coverage, separate=True, calibrated=True
    )


def test_sets_that_are_served_are_scored() -> None:
    fitted = Calibration(rows=20, n_samples=48, temperature=2.0, scores=SCORES, promise=OF_CLASSES)
    found = evaluated("classification", calibration=fitted)
    assert [series.name for series in found.series] == ["deterministic", "passes", "calibrated"]
    assert found.series[2].n_samples == (1, 8, 48, 64)
    assert (found.calibrated_with, found.curves_at) == (48, 48)
    scores = found.series[2].scores[2]
    labels = np.random.default_rng(1).integers(0, 3, 60)
    spec = OutputSpec(
        name="y", shape=(3,), dtype="float32", task="classification", scale="probabilities", calibration=fitted
    )
    served = answered(spec, 48, 0.9)
    assert served.prediction_set is not None
    assert_allclose(scores["set_coverage_0.9"], served.prediction_set[np.arange(60), labels].mean())
    assert_allclose(scores["set_size_0.9"], served.prediction_set.sum(axis=1).mean())
    assert_allclose(scores["nll"], -np.log(served.mean[np.arange(60), labels]).mean(), rtol=1e-5)
    curve = found.series[2].curves["coverage"]
    assert curve["measured"][curve["stated"].index(0.9)] == scores["set_coverage_0.9"]
    assert "coverage" not in found.series[1].curves


def test_sets_of_several_labels_are_scored_by_rows() -> None:
    fitted = Calibration(rows=20, n_samples=48, temperature=2.0, scores=SCORES, promise=OF_CLASSES)
    found = evaluated("multilabel", calibration=fitted)
    scores, intervals = found.series[2].scores[2], found.series[2].intervals[2]
    draw = np.random.default_rng(1)
    draw.integers(0, 3, 60)
    truth = draw.integers(0, 2, (60, 2)) == 1
    spec = OutputSpec(
        name="y", shape=(2,), dtype="float32", task="multilabel", scale="probabilities", calibration=fitted
    )
    members = answered(spec, 48, 0.9).prediction_set
    assert members is not None
    shares = [(own & true).sum() / true.sum() if true.any() else 1.0 for own, true in zip(members, truth, strict=True)]
    assert_allclose(scores["set_coverage_0.9"], np.mean(shares))
    assert_allclose(scores["set_size_0.9"], members.sum(axis=1).mean())
    assert intervals["set_coverage_0.9"] is not None


def test_intervals_that_are_served_stand_in_place_of_a_normal_s() -> None:
    two = Calibration(rows=30, n_samples=48, scores=TWO, promise=OF_VALUES)
    found = evaluated("regression", calibration=two, noise=(1.0, 2.0))
    assert [series.name for series in found.series][-1] == "calibrated passes"
    names = {name for series in found.series for scores in series.scores for name in scores}
    assert not [name for name in names if name.startswith(("coverage", "width"))]
    spec = OutputSpec(name="y", shape=(2,), dtype="float32", task="regression", calibration=two, noise=(1.0, 2.0))
    served = answered(spec, 48, 0.9)
    assert served.interval is not None
    draw = np.random.default_rng(1)
    draw.integers(0, 3, 60), draw.integers(0, 2, (60, 2))
    truth = draw.normal(size=(60, 2))
    lower, upper = served.interval
    scores = found.series[-1].scores[2]
    assert_allclose(scores["conformal_coverage_0.9"], ((truth >= lower) & (truth <= upper)).mean())
    assert_allclose(scores["conformal_width_0.9"], (upper - lower).mean(), rtol=1e-5)
    curve = found.series[-1].curves["coverage"]
    assert curve["measured"][curve["stated"].index(0.9)] == scores["conformal_coverage_0.9"]
    assert [name for name, series in ((s.name, s) for s in found.series) if "coverage" in series.curves] == [
        "calibrated passes"
    ]
    assert found.series[0].scores[0]["log_likelihood"] is None
    assert found.series[2].scores[0]["log_likelihood"] is not None
    told = page(found, drawings(found))
    assert "N = 48, as calibrated" in told
    assert "normal 90%" not in told


def test_a_calibration_of_an_earlier_version_has_no_sets_to_score() -> None:
    old = Calibration(rows=20, n_samples=48, temperature=2.0, scores=SCORES)
    found = evaluated("classification", calibration=old)
    assert not [name for name in found.series[2].scores[0] if name.startswith("set_")]
    assert "coverage" not in found.series[2].curves


def test_a_coverage_with_too_few_calibration_rows_has_no_score() -> None:
    few = Calibration(rows=15, n_samples=8, scores=TWO[:10], promise=OF_VALUES.model_copy(update={"n": 10}))
    found = evaluated("regression", calibration=few, noise=(1.0, 2.0))
    scores = found.series[-1].scores[-1]
    assert scores["conformal_coverage_0.95"] is None
    assert max(found.series[-1].curves["coverage"]["stated"]) == 0.9


def test_passes_are_ticked_by_their_numbers_and_none_hides_another() -> None:
    drawn, (ax,) = figure(1, 1, (4.4, 3.3))
    fitted = Calibration(rows=20, n_samples=128, temperature=1.0, scores=SCORES, promise=OF_CLASSES)
    found = evaluated("classification", calibration=fitted, counts=[1, 10, 30, 100, 300])
    _score("nll")(ax, found, LIGHT)
    drawn.canvas.draw()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "10", "30", "100", "300"]
    assert not ax.get_xticks(minor=True).size


SEGMENTED = OutputSpec(name="mask", shape=(12, 12, 3), dtype="float32", task="classification", scale="probabilities")


def segmentation() -> tuple[StochasticModel, np.ndarray, np.ndarray]:
    keras.utils.set_random_seed(2)
    inputs = keras.Input((12, 12, 3), name="x")
    hidden = L.SpatialDropout2D(0.3)(L.Conv2D(8, 3, padding="same", activation="relu")(inputs))
    model = keras.Model(inputs, L.Conv2D(3, 1, activation="softmax", name="mask")(hidden))
    draw = np.random.default_rng(3)
    return enable_mc_dropout(model), draw.random((14, 12, 12, 3), "float32"), draw.integers(0, 3, (14, 12, 12))


def test_a_segmentation_is_scored_by_image() -> None:
    model, x, y = segmentation()
    found = evaluate(model, SEGMENTED, {"x": x}, y, counts=[4], ood={"x": x[:11] * 3})
    assert found.title.endswith("14 images with 2,016 pixels")
    answer = model.sample({"x": x}, n_samples=4, seed=SEED)["mask"].mean(axis=0).argmax(axis=-1)
    expected = [
        np.mean([((a == c) & (t == c)).sum() / ((a == c) | (t == c)).sum() for c in np.union1d(a, t)])
        for a, t in zip(answer, y, strict=True)
    ]
    assert_allclose([image.iou for image in found.images], expected)
    assert_allclose(found.series[1].scores[0]["iou"], np.mean(expected))
    assert len(found.maps) == 4
    assert found.maps[0].scored.iou == min(expected)
    assert found.maps[-1].scored.iou == max(expected)
    assert found.maps[0].picture is not None
    assert "maps" not in found.to_json()
    one_hot = evaluate(model, SEGMENTED, {"x": x}, np.eye(3)[y], counts=[4])
    assert one_hot.series[1].scores == found.series[1].scores or one_hot.images == found.images
    names = [drawing.name for drawing in drawings(found)]
    assert "images" in names
    assert len([name for name in names if name.startswith("map_")]) == 4


def test_targets_of_other_maps_are_refused() -> None:
    model, x, y = segmentation()
    with pytest.raises(InputError, match="expected 2016 targets, 12x12 for each of 14 rows, received 1008"):
        evaluate(model, SEGMENTED, {"x": x}, y[:, :6], counts=[4])


def test_rows_cut_in_pieces_score_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluated("classification").to_json()
    monkeypatch.setattr("thinned.models.evaluation.gathering._AT_ONCE", 64 * 3 * 7)
    told: list[tuple[int, int]] = []
    cut = evaluated("classification", on_rows=lambda done, total: told.append((done, total))).to_json()
    assert_allclose(
        [s["nll"] for s in cut["series"][1]["scores"]], [s["nll"] for s in whole["series"][1]["scores"]], rtol=1e-4
    )
    assert told[-1] == (60, 60)
    assert len(told) == 9
