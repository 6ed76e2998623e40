"""`thinned ensemble`, and what other commands say of an ensemble."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers as L

from tests.service.cli.conftest import Run
from thinned.models.storage.importing import import_model
from thinned.models.storage.model_store import find


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("members")
    names = []
    for seed, rate in enumerate((0.3, 0.0, 0.0)):
        keras.utils.set_random_seed(seed)
        x = keras.Input((2,), name="x")
        model = keras.Model(x, L.Dense(1, name="y")(L.Dense(4, "relu")(L.Dropout(rate)(L.Dense(8, "relu")(x)))))
        names.append(f"cli-member-{seed}")
        model.save(folder / f"{seed}.keras")
        import_model(folder / f"{seed}.keras", name=names[-1], tasks={None: "regression"})
    return names


def test_an_ensemble_is_made_shown_and_asked(
    members: list[str], thinned: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("ensemble", *members[:2], "--name", "cli-ensemble", "--note", "two of them")
    status, out, err = thinned(*asked)
    assert (status, err) == (0, ""), err
    told = ", ".join(find(name).tag for name in members[:2])
    assert f"ensemble of 2: {told}" in out
    assert "Stored as cli-ensemble:" in out
    assert thinned(*asked)[1].startswith("The same ensemble is cli-ensemble:")
    assert told in thinned("show", "cli-ensemble")[1]
    # Other models of the store may have names so long that cells are folded at 80 columns.
    monkeypatch.setenv("COLUMNS", "400")
    assert "2 members" in thinned("models")[1]
    monkeypatch.delenv("COLUMNS")
    card = json.loads(thinned("show", "cli-ensemble", "--json")[1])
    assert [member["name"] for member in card["members"]] == members[:2]
    np.save(tmp_path / "x.npy", np.array([[1, 2], [-3, 4]], np.float32))
    ask = ("predict", "cli-ensemble", "--input", tmp_path / "x.npy", "--n-samples", "32", "--seed", "1")
    status, out, _ = thinned(*ask)
    assert status == 0
    assert "between members" in out
    assert "32 passes of each of 2 members" in out
    answer = json.loads(thinned(*ask, "--json")[1])
    parts = np.add(answer["variance_within"], answer["variance_between"])
    np.testing.assert_allclose(parts, answer["variance"], rtol=1e-9)
    assert thinned(*ask, "--output", tmp_path / "y.csv")[0] == 0
    assert (tmp_path / "y.csv").read_text().startswith("mean,variance,standard_error,variance_within,variance_between")
    assert "WRONG" not in thinned("audit", "cli-ensemble")[1]


def test_members_without_dropout_are_asked_without_passes(members: list[str], thinned: Run, tmp_path: Path) -> None:
    assert thinned("ensemble", *members[1:], "--name", "cli-deep")[0] == 0
    np.save(tmp_path / "x.npy", np.ones((2, 2), np.float32))
    status, out, err = thinned("predict", "cli-deep", "--input", tmp_path / "x.npy", "--n-samples", "100")
    assert (status, err) == (0, "")
    assert "the members draw no noise" in out
    assert "100%" in out
    assert thinned("audit", "cli-deep")[0] == 0
    rows = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    np.savez(tmp_path / "val.npz", x=rows, y=rows.sum(axis=1))
    status, out, err = thinned("calibrate", "cli-deep", "--data", tmp_path / "val.npz", "--ood")
    assert (status, err) == (0, ""), err
    ask = ("predict", "cli-deep", "--input", tmp_path / "x.npy", "--coverage", "0.8", "--n-samples", "7", "--ood")
    status, out, err = thinned(*ask)
    assert (status, err) == (0, ""), err
    assert "interval of 80 %" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cli-member-0", "--name", "cli-no"), "two members"),
        (("cli-member-0", "nothing-here", "--name", "cli-no"), "no model 'nothing-here'"),
        (("cli-member-0", "cli-member-1", "--name", "Größe"), "cannot be a model's name"),
        (("cli-member-0", "cli-member-1"), "--name"),
        (("--name", "cli-no"), "MODEL"),
    ],
)
def test_wrong_use_is_told_in_one_line(
    members: list[str], thinned: Run, arguments: tuple[str, ...], words: str
) -> None:
    status, out, err = thinned("ensemble", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err
