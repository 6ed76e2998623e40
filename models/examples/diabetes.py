"""`diabetes`: how far a patient's disease has gone a year on, by a dense network with dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.examples.data import SEED, Split, split
from thinned.models.examples.training import OnEpoch, fit, put_in_store, sample_mean
from thinned.models.storage.model_store import StoredModel

if TYPE_CHECKING:
    import keras

__all__ = ["NAME", "build", "data", "in_own_units", "train", "trained"]

NAME = "diabetes"
EPOCHS = 40
COLUMNS = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


def data() -> Split:
    """The 442 patients of scikit-learn's `load_diabetes`.

    Returns:
        Ten measurements a patient in their own units, float32, shape (B, 10); and how far the disease went, (B, 1).
    """
    from sklearn.datasets import load_diabetes

    bundle = load_diabetes(scaled=False)
    return split(bundle.data.astype(np.float32), bundle.target.astype(np.float32)[:, None], by_class=False)


def build(x_train: NDArray[np.float32]) -> keras.Model:
    """The network, not trained; its input normalisation is fitted to `x_train`, and it answers a standardised score."""
    import keras
    from keras import layers

    normalise = layers.Normalization(mean=x_train.mean(axis=0), variance=x_train.var(axis=0))
    return keras.Sequential(
        [
            keras.Input((10,), name="patient"),
            normalise,
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(1),
        ],
        name=NAME,
    )


def in_own_units(model: keras.Model, mean: float, stddev: float) -> keras.Model:
    """The same network, weights shared, with its answer put back into the units of the targets."""
    import keras

    scaled = keras.layers.Rescaling(stddev, offset=mean, name="progression")(model.outputs[0])
    return keras.Model(model.inputs[0], scaled, name=NAME)


def trained(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    *,
    epochs: int = EPOCHS,
    seed: int = SEED,
    on_epoch: OnEpoch | None = None,
) -> keras.Model:
    """The network, trained on standardised targets; it answers in their own units.

    Args:
        x: Measurements, (B, 10).
        y: Targets, (B, 1).
        epochs: Times that each patient is seen.
        seed: Of Keras and NumPy.
        on_epoch: Called after each epoch.
    """
    import keras

    keras.utils.set_random_seed(seed)
    mean, stddev = float(y.mean()), float(y.std())
    core = build(x)
    fit(
        core,
        x,
        (y - mean) / stddev,
        epochs=epochs,
        batch_size=32,
        learning_rate=1e-3,
        weight_decay=1e-2,
        loss="mean_squared_error",
        on_epoch=on_epoch,
    )
    return in_own_units(core, mean, stddev)


def train(on_epoch: OnEpoch | None = None) -> StoredModel:
    """Train the network, score it on the held-out patients, and put it in the store.

    Args:
        on_epoch: Called after each epoch.

    Returns:
        The stored model. Its card's scores are the root mean squared error, in the units of the targets, and R² of
        the deterministic answer and of the mean over 100 Monte Carlo passes.
    """
    import_tensorflow()
    rows = data()
    model = trained(rows.x_train, rows.y_train, on_epoch=on_epoch)
    scores = {"test_rows": float(len(rows.y_test))}
    for kind, answers in zip(("deterministic", "mc_mean"), sample_mean(model, rows.x_test), strict=True):
        error = float(((answers - rows.y_test) ** 2).mean())
        scores[f"rmse_{kind}"] = error**0.5
        scores[f"r2_{kind}"] = 1 - error / float(rows.y_test.var())
    return put_in_store(model, name=NAME, task="regression", scores=scores, columns=COLUMNS, data=rows.x_train)
