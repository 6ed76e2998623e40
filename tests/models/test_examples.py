"""The examples learn what they should, repeat bitwise, and their cards tell the truth."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from thinned.models.dropout import enable_mc_dropout
from thinned.models.examples import diabetes, digits
from thinned.models.examples.training import MC_PASSES, MC_SEED
from thinned.models.storage import model_store


def test_digits_reads_digits() -> None:
    from thinned.models.examples.digits import data

    split = data()
    assert split.x_train.shape == (1437, 8, 8, 1)
    assert (split.x_test.min(), split.x_test.max()) == (0, 16)


@pytest.fixture(scope="module")
def stored(digits: str) -> model_store.StoredModel:
    return model_store.find(digits)


def test_digits_meets_its_accuracy(stored: model_store.StoredModel) -> None:
    scores = stored.card.scores
    assert scores["test_rows"] == 360
    assert scores["accuracy_deterministic"] >= 0.98
    assert scores["accuracy_mc_mean"] >= 0.98
    assert 0 < scores["nll_deterministic"] < 0.1
    assert 0 < scores["nll_mc_mean"] < 0.1


def test_the_scores_are_those_of_the_stored_file(stored: model_store.StoredModel) -> None:
    split = digits.data()
    stochastic = enable_mc_dropout(model_store.load_keras(stored))
    rows = {"image": split.x_test}
    answers = stochastic.predict(rows)["digit"]
    passes = stochastic.sample(rows, n_samples=MC_PASSES, seed=MC_SEED)["digit"]
    for kind, probs in (("deterministic", answers), ("mc_mean", passes.mean(axis=0))):
        assert_allclose((probs.argmax(axis=1) == split.y_test).mean(), stored.card.scores[f"accuracy_{kind}"])


def test_digits_card(stored: model_store.StoredModel) -> None:
    (image,), (digit,) = stored.card.inputs, stored.card.outputs
    assert (image.name, image.shape, image.dtype) == ("image", (8, 8, 1), "float32")
    assert (digit.task, digit.scale, digit.labels) == ("classification", "probabilities", tuple("0123456789"))
    assert [site.rate for site in stored.card.sites] == [0.25, 0.5]
    # Convolutions stand before the first noise, and they are most of the work.
    assert stored.card.split.prefix_share is None or stored.card.split.prefix_share > 0.5


@pytest.mark.usefixtures("store")
def test_diabetes_answers_in_the_units_of_the_targets() -> None:
    seen: list[tuple[int, int]] = []
    stored = diabetes.train(lambda done, total, logs: seen.append((done, total)))
    assert seen == [(n, diabetes.EPOCHS) for n in range(1, diabetes.EPOCHS + 1)]
    split = diabetes.data()
    model = model_store.load_keras(stored)
    answers = np.asarray(model(split.x_test, training=False))
    rmse = float(np.sqrt(((answers - split.y_test) ** 2).mean()))
    assert_allclose(rmse, stored.card.scores["rmse_deterministic"], rtol=1e-5)
    # Guessing the mean errs by 71.6; ordinary least squares on the same rows by 58.5.
    assert rmse < 62
    assert stored.card.scores["rmse_mc_mean"] < 62
    assert 0.25 < stored.card.scores["r2_deterministic"] < 1
    assert abs(answers.mean() - split.y_test.mean()) < 20
    assert stored.card.outputs[0].task == "regression"
    assert len(stored.card.sites) == 2
    (recipe,) = stored.card.examples
    assert_allclose([recipe.lows, recipe.highs], [split.x_train.min(axis=0), split.x_train.max(axis=0)])
    assert_allclose(recipe.typical_row, (split.x_train.min(axis=0) + split.x_train.max(axis=0)) / 2, atol=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("example", [digits, diabetes], ids=lambda m: m.NAME)
def test_training_repeats_bitwise(example: ModuleType) -> None:
    split = example.data()
    first, second = (example.trained(split.x_train, split.y_train, epochs=2).get_weights() for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert_array_equal(one, other)


@pytest.mark.usefixtures("store")
def test_the_held_out_rows_are_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_training_rows(model: Any, x: Any, y: Any, **rest: Any) -> None:
        fitted.append(x)

    fitted: list[Any] = []
    monkeypatch.setattr(digits, "fit", only_training_rows)
    digits.train()
    split = digits.data()
    assert_array_equal(fitted[0], split.x_train)
    flat = {row.tobytes() for row in split.x_train}
    assert sum(row.tobytes() in flat for row in split.x_test) == 0


def test_examples_bring_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    digits.data()
    diabetes.data()
    assert list(tmp_path.iterdir()) == []
