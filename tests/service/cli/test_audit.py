"""`thinned audit`, as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.service.audited import faulty, sound
from tests.service.cli.conftest import Run
from thinned.models.card import ModelCard
from thinned.models.storage.importing import import_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    sound().save(folder / "sound.keras")
    faulty().save(folder / "faulty.keras")
    rows = np.random.default_rng(0).normal(size=(20, 6)).astype("float32")
    np.savez(folder / "rows.npz", x=rows, y=np.zeros(20))
    return folder


@pytest.fixture(scope="module")
def card(folder: Path) -> ModelCard:
    return import_model(folder / "sound.keras", name="audited", tasks={None: "regression"}).card


def test_a_sound_file_is_said_to_be_correct(thinned: Run, folder: Path) -> None:
    status, out, err = thinned("audit", folder / "sound.keras", "--strict")
    assert (status, err) == (0, "")
    assert out.startswith("Keras's dropout is correct here")
    assert "each unit is kept with probability one half" in out
    assert "Rows: 64 rows made up: x (6,) standard normal numbers." in out


def test_strict_exits_1_on_warnings(thinned: Run, folder: Path) -> None:
    path = folder / "faulty.keras"
    status, out, _ = thinned("audit", path)
    assert status == 0
    assert "Warning rate-over-half" in out
    assert thinned("audit", path, "--strict")[0] == 1


def test_json_holds_everything(thinned: Run, card: ModelCard, folder: Path) -> None:
    status, out, _ = thinned("audit", "audited", "--data", folder / "rows.npz", "--json")
    found = json.loads(out)
    assert status == 0
    assert (found["rows"], found["made_up_rows"]) == (20, False)
    assert found["rows_used"] == "all 20 rows given: x (20, 6)"
    assert found["sites"][0]["rate"] == 0.5
    assert found["sites"][0]["keras"]["correct"] is True
    assert {"naive_training", "deterministic_from_mean", "batch_normalization_shifts"} <= found["figures"].keys()


def test_the_import_puts_a_short_audit_on_the_card(thinned: Run, card: ModelCard) -> None:
    assert card.audit is not None
    assert card.audit.verdict.startswith("Keras's dropout is correct here")
    assert card.audit.sites[0].correct
    assert "Keras's dropout is correct here" in thinned("show", "audited")[1]


def test_wrong_use_is_one_line(thinned: Run, card: ModelCard, folder: Path) -> None:
    for arguments, expected in (
        (("audit", "nothing-there"), "no model 'nothing-there'"),
        (("audit", folder / "no.keras"), "no such file"),
        (("audit", "audited", "--module", "x"), "--module goes with a file"),
        (("audit", "audited", "--data", folder / "sound.keras"), "expected a file that ends in"),
    ):
        status, _, err = thinned(*arguments)
        assert status == 2
        assert expected in err
        assert err.count("\n") == 1
