"""`thinned import`, `show` and `predict` of models that take text."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import keras
import pytest

from tests.service.cli.conftest import Run
from tests.zoo import build
from thinned.models.storage.model_store import find
from thinned.service.cli.serve import curl


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    build("text").save(folder / "reviews.keras")
    inputs = keras.Input((4,))
    chances = keras.layers.Dense(2, "softmax")(keras.layers.Dropout(0.5)(inputs))
    word = keras.layers.StringLookup(vocabulary=["no", "yes"], invert=True, name="word")
    keras.Model(inputs, word(keras.ops.argmax(chances, -1))).save(folder / "speaks.keras")
    return folder


def test_a_classifier_of_sentences(thinned: Run, folder: Path) -> None:
    imported = folder / "reviews.keras", "--task", "classification", "--labels", "bad,good"
    status, out, err = thinned("import", *imported)
    assert (status, err) == (0, "")
    assert "string" in out
    (folder / "rows.csv").write_text('text\ngood film\n"bad, bad film"\n')
    (folder / "rows.json").write_text(json.dumps([["good film"], ["bad, bad film"]]))
    answers = []
    for name in ("rows.csv", "rows.json"):
        status, out, err = thinned("predict", "reviews", "--input", folder / name, "--json")
        assert (status, err) == (0, "")
        answers.append(json.loads(out))
    assert answers[0] == answers[1]
    labels = answers[0]["predicted_label"]
    assert labels == [["bad", "good"][row[1] > row[0]] for row in answers[0]["outputs"]]
    status, out, err = thinned("predict", "reviews", "--input", folder / "rows.csv", "--n-samples", "8", "--seed", "1")
    assert status == 0
    assert "label" in out
    status, out, err = thinned("predict", "reviews", "--input", folder / "rows.csv")
    assert [line.split()[1] for line in out.splitlines() if line.split()[:1] in (["0"], ["1"])] == labels
    assert thinned("show", "reviews")[0] == 0
    body = json.loads(shlex.split(curl(find("reviews").card, "http://here"))[6])
    assert body == {"inputs": [["good"]]}  # a word that the model knows


def test_a_model_that_answers_text_is_refused_with_the_way_out(thinned: Run, folder: Path) -> None:
    status, _, err = thinned("import", folder / "speaks.keras", "--task", "classification")
    assert status == 2
    assert "Output 'word' gives text" in err
    assert "--labels" in err
