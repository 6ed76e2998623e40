"""An evaluation scores the same passes that the model draws, and its page stands alone."""

from __future__ import annotations

import json
import re
from typing import Any

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from thinned.models.card import Calibration, OutputSpec
from thinned.models.dropout import StochasticModel, enable_mc_dropout
from thinned.models.evaluation import Evaluation, evaluate
from thinned.models.evaluation.page import page
from thinned.models.evaluation.plots import drawings
from thinned.models.evaluation.run import SEED

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


def evaluated(task: Any, *, calibration: Calibration | None = None, noise: Any = None, **options: Any) -> Evaluation:
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
    return evaluate(stochastic, spec, {"x": ROWS}, targets, counts=[1, 8, 64], **options)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_scored_drawn_and_written(task: str) -> None:
    found = evaluated(task, ood={"x": ROWS * 5})
    assert [series.n_samples for series in found.series][:2] == [(0,), (1, 8, 64)]
    json.dumps(found.to_json(), allow_nan=False)
    made = list(drawings(found))
    assert "scores" in [name for name, _, _ in made]
    assert all(png.startswith(b"\x89PNG") for _, _, png in made)
    text = page(found, made)
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text)
    last = found.series[1].scores[-1]
    assert any(name.startswith("auroc_strange") for name in last)


def test_scores_are_those_of_the_first_passes() -> None:
    found = evaluated("regression")
    stochastic = network(None, 2)
    passes = stochastic.sample({"x": ROWS}, n_samples=8, seed=SEED)["y"]
    targets = np.random.default_rng(1)
    targets.integers(0, 3, 60), targets.integers(0, 2, (60, 2))
    truth = targets.normal(size=(60, 2))
    assert_allclose(found.series[1].scores[1]["rmse"], np.sqrt(((passes.mean(axis=0) - truth) ** 2).mean()), rtol=1e-5)
    assert "thinned calibrate" in found.notes[0]


def test_what_calibration_found_is_scored_beside() -> None:
    fitted = Calibration(rows=20, n_samples=64, temperature=2.0, scores=tuple((i / 20,) for i in range(20)))
    found = evaluated("classification", calibration=fitted)
    assert [series.name for series in found.series] == ["deterministic", "passes", "calibrated"]
    assert found.series[2].scores[0]["set_coverage_0.9"] is not None
    two = Calibration(rows=20, n_samples=64, scores=tuple((i / 5, i / 5) for i in range(20)))
    regression = evaluated("regression", calibration=two, noise=(1.0, 1.0))
    assert regression.series[-1].name == "calibrated passes"
    assert regression.series[-1].scores[-1]["conformal_coverage_0.9"] is not None
    assert regression.series[0].scores[0]["log_likelihood"] is None
    assert regression.series[2].scores[0]["log_likelihood"] is not None


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
