"""`thinned export`: what it writes, what it refuses, and that nothing is left of what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers as L

from tests.service.cli.conftest import Run
from thinned.models.storage.importing import import_model
from thinned.models.storage.model_store import StoredModel

IN_PYTHON = """
import keras, tensorflow as tf
from thinned import register_noise

@keras.saving.register_keras_serializable("exported")
class Doubled(keras.layers.Layer):
    def call(self, x):
        doubled = tf.numpy_function(lambda v: 2 * v, [x], tf.float32)
        doubled.set_shape(x.shape)
        return doubled

    def compute_output_shape(self, shape):
        return shape

register_noise(Doubled, armed=None)
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredModel:
    keras.utils.set_random_seed(1)
    x = keras.Input((2,), name="x")
    model = keras.Model(x, L.Dense(3, "softmax", name="y")(L.Dropout(0.5)(L.Dense(4, "relu")(x))))
    file = tmp_path_factory.mktemp("exported") / "model.keras"
    model.save(file)
    return import_model(file, name="cli-exported", tasks={None: "classification"})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_model_is_exported_with_its_card(stored: StoredModel, thinned: Run, tmp_path: Path) -> None:
    (tmp_path / "served" / "1").mkdir(parents=True)  # an empty folder gives way
    status, out, err = thinned("export", "cli-exported", "--to", "saved-model", "--output", tmp_path / "served" / "1")
    assert (status, err) == (0, "")
    assert f"Wrote {stored.tag} to " in out
    assert "serving_default: mean, variance, predictive_entropy, expected_entropy, mutual_information" in out
    assert "TensorFlow alone answers as the engine does: the largest difference is " in out
    assert names(tmp_path / "served") == ["1"]
    written: dict[str, Any] = json.loads((tmp_path / "served" / "1" / "assets.extra" / "export.json").read_text())
    assert written["model"] == stored.tag
    assert written["sha256"] == stored.card.sha256
    assert written["card"]["outputs"][0]["task"] == "classification"
    assert written["inputs"] == {"x": "x"}
    assert written["defaults"] == {"n_samples": 100, "seed": 0}
    assert max(written["agreement"]["errors"].values()) <= written["agreement"]["tolerance"]
    # What stands there now is left as it is.
    status, _, err = thinned("export", "cli-exported", "--output", tmp_path / "served" / "1")
    assert status == 2
    assert "the folder is not empty; name another, or remove it" in err


def test_what_cannot_be_written_to_is_refused_before_the_work(
    stored: StoredModel, thinned: Run, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for place, said in ((file, "this is a file"), (file / "below", "cannot be written")):
        status, _, err = thinned("export", stored.tag, "--output", place)
        assert status == 2
        assert said in err
    assert thinned("export", "no-such-model", "--output", tmp_path / "new")[0] == 2
    assert names(tmp_path) == ["file"]


@pytest.mark.long
def test_a_file_that_needs_our_process_is_removed(thinned: Run, tmp_path: Path) -> None:
    layers = tmp_path / "own_layers.py"
    layers.write_text(IN_PYTHON)
    scope: dict[str, Any] = {}
    exec(compile(IN_PYTHON, str(layers), "exec"), scope)
    model = keras.Sequential([keras.Input((2,)), scope["Doubled"](), L.Dropout(0.5), L.Dense(1)])
    model.save(tmp_path / "model.keras")
    import_model(tmp_path / "model.keras", name="cli-in-python", tasks={None: "regression"}, module=layers)
    status, _, err = thinned("export", "cli-in-python", "--output", tmp_path / "out")
    assert status == 2
    assert err.startswith("thinned: TensorFlow alone refuses the signature 'predict': ")
    assert names(tmp_path) == ["model.keras", "own_layers.py"]
