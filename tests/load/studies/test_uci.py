"""UCI sets: reading, training equal to that of Keras, scores, resuming after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from thinned.loadtest.studies import uci
from thinned.loadtest.studies.uci_data import LayoutError, find_sets, read_set, same_length
from thinned.loadtest.studies.uci_networks import Networks, TrainingPlan
from thinned.loadtest.studies.uci_scores import NetworkSampler, log_likelihoods

SPLITS, ROWS = 3, 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set `waves` in the layout of the public repository, with random rows."""
    folder = tmp_path_factory.mktemp("uci") / "waves"
    data = folder / "data"
    data.mkdir(parents=True)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, 3))
    y = np.sin(x[:, 0]) + 0.5 * x[:, 1] + 0.1 * draw.normal(size=ROWS)
    np.savetxt(data / "data.txt", np.c_[x, np.ones(ROWS), 10 * y + 30])
    for name, values in {"features": range(4), "target": [4]}.items():
        np.savetxt(data / f"index_{name}.txt", list(values))
    np.savetxt(data / "n_splits.txt", [SPLITS])
    np.savetxt(data / "n_hidden.txt", [8])
    for split in range(SPLITS):
        order = draw.permutation(ROWS)
        np.savetxt(data / f"index_train_{split}.txt", order[:54])
        np.savetxt(data / f"index_test_{split}.txt", order[54:])
    return folder


def test_a_set_is_read_from_its_layout(folder: Path) -> None:
    assert find_sets(folder) == find_sets(folder.parent) == [folder]
    found = read_set(folder)
    assert (found.name, found.x.shape, found.hidden) == ("waves", (60, 4), 8)
    for fold, inner in zip(found.test_folds(), found.validation_folds(), strict=True):
        assert (len(fold.y), len(fold.y_held), len(inner.y), len(inner.y_held)) == (54, 6, 43, 11)
        x, y, _ = fold.standardised()
        assert_allclose(x.mean(axis=0), 0, atol=1e-12)
        assert_allclose(x.std(axis=0), [1, 1, 1, 0], atol=1e-12)
        assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-12)
        assert not set(map(tuple, inner.x_held)) & set(map(tuple, fold.x_held))


def test_what_is_no_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"expected data\.txt"):
        find_sets(tmp_path)
    (tmp_path / "data.txt").write_text("1 2\n3 4\n")
    with pytest.raises(LayoutError, match=r"index_features\.txt: no such file"):
        read_set(tmp_path)
    for name, text in (("index_features", "0"), ("index_target", "7"), ("n_splits", "1"), ("n_hidden", "5")):
        (tmp_path / f"{name}.txt").write_text(text)
    for name in ("index_train_0", "index_test_0"):
        (tmp_path / f"{name}.txt").write_text("0\n1")
    with pytest.raises(LayoutError, match=r"rows or columns beyond.*2 x 2"):
        read_set(tmp_path)


def plan(rate: float, decay: float = 0.0) -> TrainingPlan:
    draw = np.random.default_rng(1)
    x = draw.normal(size=(2, 40, 3)).astype(np.float32)
    y = (x[..., 0] - x[..., 1]).astype(np.float32)
    return TrainingPlan(x, y, np.full((2, 2), rate, np.float32), np.full((2, 2), decay, np.float32), 6, 40, 5)


def test_without_dropout_each_network_is_trained_as_keras_trains_it() -> None:
    """One batch an epoch, so that no order matters: the same weights, gradients and Adam, decay included."""
    import keras

    many = Networks(plan(0.0, 1e-2))
    start = many.weights(1, 0)
    many.train(25)
    x = keras.Input((3,))
    regular = keras.regularizers.L2(1e-2)
    hidden = keras.layers.Dense(6, "relu", kernel_regularizer=regular)(x)
    one = keras.Model(x, keras.layers.Dense(1, kernel_regularizer=regular)(hidden))
    one.set_weights(start)
    one.compile(keras.optimizers.Adam(1e-3), "mean_squared_error")
    one.fit(many.plan.x[0], many.plan.y[0], epochs=25, batch_size=40, verbose=0)
    for own, keras_own in zip(many.weights(1, 0), one.get_weights(), strict=True):
        assert_allclose(own, keras_own, atol=2e-5)


def test_training_resumes_from_its_state() -> None:
    whole, first = Networks(plan(0.2)), Networks(plan(0.2))
    whole.train(6)
    first.train(2)
    second = Networks(plan(0.2), first.state())
    second.train(4)
    for name, value in whole.state().items():
        assert_array_equal(value, second.state()[name])
    assert not np.array_equal(whole.weights(0, 0)[0], whole.weights(1, 0)[0])


def test_the_engine_runs_the_trained_network() -> None:
    many = Networks(plan(0.1))
    many.train(3)
    sampler, x = NetworkSampler(3, 6), many.plan.x[0].astype(np.float64)
    for rate, fold in ((0, 0), (1, 1)):
        kernel_1, bias_1, kernel_2, bias_2 = many.weights(rate, fold)
        expected = np.maximum(x @ kernel_1 + bias_1, 0) @ kernel_2 + bias_2
        assert_allclose(sampler.answers(0.1, many.weights(rate, fold), x), expected[:, 0], atol=1e-5)
        passes = sampler.passes(0.1, many.weights(rate, fold), x, count=320, seed=1)
        assert_allclose(passes.mean(), expected.mean(), atol=0.1)
        assert (passes.std(axis=0) > 0).all()


def test_the_log_likelihood_is_that_of_the_paper() -> None:
    draw = np.random.default_rng(2)
    passes, targets, tau = draw.normal(size=(7, 3)), draw.normal(size=3), 1.7
    density = np.sqrt(tau / (2 * np.pi)) * np.exp(-tau / 2 * (targets - passes) ** 2)
    assert_allclose(log_likelihoods(passes, targets, np.array([tau])), np.log(density.mean(axis=0)).sum(), rtol=1e-5)


def test_a_finished_run_is_kept(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--data", str(folder), "--out", str(tmp_path), "--epochs", "12", "--passes", "64"]
    uci.main(common)
    written = capsys.readouterr()
    assert "waves: 3 splits, RMSE" in written.err
    kept = (tmp_path / "waves" / "result.json").read_text()
    uci.main(common)
    assert (tmp_path / "waves" / "result.json").read_text() == kept
    assert not list((tmp_path / "waves").glob("*.npz"))
    with pytest.raises(SystemExit):
        uci.main(["--data", str(tmp_path / "nothing")])


def test_splits_of_unlike_length_are_stacked() -> None:
    assert_array_equal(same_length([np.arange(3), np.arange(2)]), [[0, 1, 2], [0, 1, 0]])


@pytest.mark.long
def test_an_interrupted_run_gives_the_result_of_an_uninterrupted_one(folder: Path, tmp_path: Path) -> None:
    def stop_at_the_last_networks(what: str, share: float) -> None:
        if "final" in what:
            raise KeyboardInterrupt

    whole = uci.run_set(folder, uci.UciOptions(tmp_path / "whole", epochs=40, passes=64), lambda what, share: None)
    cut = uci.UciOptions(tmp_path / "cut", epochs=40, passes=64)
    with pytest.raises(KeyboardInterrupt):
        uci.run_set(folder, cut, stop_at_the_last_networks)
    assert (tmp_path / "cut" / "waves" / "grid.npz").exists()
    steps: list[str] = []
    resumed = uci.run_set(folder, cut, lambda what, share: steps.append(what))
    assert not any("grid" in what for what in steps)
    assert (resumed.rates, resumed.rmse, resumed.log_likelihood) == (whole.rates, whole.rmse, whole.log_likelihood)
