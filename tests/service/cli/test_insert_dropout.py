"""`thinned import --insert-dropout`."""

from __future__ import annotations

from pathlib import Path

import keras
from keras import layers as L

from tests.service.cli.conftest import Run
from thinned.models.storage.model_store import find


def test_the_command_says_that_it_was_not_trained_for(tmp_path: Path, thinned: Run) -> None:
    plain = keras.Sequential([L.Input((3,)), L.Dense(8, name="hidden"), L.Dense(1)])
    plain.save(tmp_path / "plain.keras")
    for wrong in ("0.1", "1.5:hidden", "x:hidden", "0.1:"):
        status, _, err = thinned("import", tmp_path / "plain.keras", "--task", "regression", "--insert-dropout", wrong)
        assert (status, "RATE:LAYER" in err) == (2, True)
    asked = ("import", tmp_path / "plain.keras", "--name", "inserted", "--task", "regression")
    status, _, err = thinned(*asked, "--insert-dropout", "0.1:hidden")
    assert (status, err) == (0, ""), err
    card = find("inserted").card
    assert [(site.path, site.rate) for site in card.sites] == [("hidden_inserted_dropout", 0.1)]
    assert any("not trained with it" in warning for warning in card.warnings)
    assert card.audit is not None
    assert "not-trained-for" in [finding.code for finding in card.audit.findings]
    assert thinned(*asked, "--insert-dropout", "0.1:hidden")[1].startswith("The same file with the same options")
