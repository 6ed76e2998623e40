"""A store of a test's own, and small files to import."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from thinned.models.storage import model_store

LAYERS = '''
import keras


@keras.saving.register_keras_serializable("mine")
class Twice(keras.layers.Layer):
    """Registered under mine>Twice."""

    def call(self, x):
        return 2 * x


class Plain(keras.layers.Layer):
    """Not registered at all."""

    def call(self, x):
        return 3 * x


@keras.saving.register_keras_serializable("mine")
def bent(x):
    return keras.ops.relu(x)
'''


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store, as BentoML lays it out, in place of the run's."""
    root = tmp_path / "home" / "models"
    root.mkdir(parents=True)
    monkeypatch.setattr(model_store, "_root", lambda: root)
    return root


@pytest.fixture(scope="session")
def layers_py(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module of custom layers."""
    path = tmp_path_factory.mktemp("layers") / "my_layers.py"
    path.write_text(LAYERS)
    return path


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, layers_py: Path) -> Path:
    """A folder of saved models: sound ones, and every kind that is refused."""
    import keras
    from keras import layers

    from thinned.models.storage.custom_layers import run_module

    folder = tmp_path_factory.mktemp("files")
    keras.utils.set_random_seed(1)  # Of some first weights few units are alive for the rows that tests have.
    x = keras.Input((4,), name="x")
    hidden = layers.Dropout(0.3)(layers.Dense(8, activation="relu")(x))
    mine = run_module(layers_py)
    inner = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda t: t + 1, name="plus")])
    saved = {
        "sound": keras.Model(x, layers.Dense(2, name="y")(hidden)),
        "softmax": keras.Model(x, layers.Dense(3, activation="softmax", name="kind")(hidden)),
        "unit": keras.Model(x, layers.Dense(1, activation="sigmoid", name="ill")(hidden)),
        "several": keras.Model(
            x, [layers.Dense(1, name="size")(hidden), layers.Dense(3, "softmax", name="kind")(hidden)]
        ),
        "still": keras.Model(x, layers.Dense(2)(layers.Dropout(0.0)(x))),
        "lambda_layer": keras.Model(x, layers.Dense(1)(inner(x))),
        "lambda_activation": keras.Model(x, layers.Dense(1, activation=lambda t: 2 * t)(x)),
        "custom": keras.Model(
            x, layers.Dense(1, activation=mine.bent)(layers.Dropout(0.5)(mine.Plain()(mine.Twice()(x))))
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of lambdas, which is what they are here for.
        for name, model in saved.items():
            model.save(folder / f"{name}.keras")
    sound = (folder / "sound.keras").read_bytes()
    (folder / "cut.keras").write_bytes(sound[: len(sound) // 2])
    middle = sound.index(b"HDF") + 2000
    (folder / "flipped.keras").write_bytes(sound[:middle] + bytes([sound[middle] ^ 255]) + sound[middle + 1 :])
    (folder / "sound.zip").write_bytes(sound)
    return folder
