"""`digits`: which digit is on an 8x8 image, by a small convolutional network with dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.examples.data import SEED, Split, split
from thinned.models.examples.training import OnEpoch, fit, put_in_store, sample_mean
from thinned.models.storage.model_store import StoredModel

if TYPE_CHECKING:
    import keras

__all__ = ["NAME", "build", "data", "train"]

NAME = "digits"
EPOCHS = 30


def data() -> Split:
    """The 1,797 images of scikit-learn's `load_digits`.

    Returns:
        Images, shape (B, 8, 8, 1), float32 from 0 to 16 as they are scanned; and digits, int64, shape (B,).
    """
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return split(bundle.images[..., None].astype(np.float32), bundle.target.astype(np.int64), by_class=True)


def build(classes: int = 10) -> keras.Model:
    """The network, not trained. It takes pixels as they are and answers the probabilities of the digits."""
    import keras
    from keras import layers

    def block(filters: int) -> list[keras.Layer]:
        return [
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("relu"),
        ]

    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Rescaling(1 / 16),
            *block(32),
            *block(32),
            layers.MaxPooling2D(),
            *block(64),
            layers.Flatten(),
            layers.Dropout(0.25),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(classes, activation="softmax", name="digit"),
        ],
        name=NAME,
    )


def train(on_epoch: OnEpoch | None = None) -> StoredModel:
    """Train the network, score it on the held-out images, and put it in the store.

    Args:
        on_epoch: Called after each epoch.

    Returns:
        The stored model. Its card's scores are the accuracy and the negative log-likelihood (nats) of the
        deterministic answer and of the mean over 100 Monte Carlo passes.
    """
    import_tensorflow()
    import keras

    keras.utils.set_random_seed(SEED)
    rows = data()
    model = build()
    fit(
        model,
        rows.x_train,
        rows.y_train,
        epochs=EPOCHS,
        batch_size=64,
        learning_rate=2e-3,
        weight_decay=1e-3,
        loss="sparse_categorical_crossentropy",
        on_epoch=on_epoch,
    )
    scores = {"test_rows": float(len(rows.y_test))}
    for kind, probs in zip(("deterministic", "mc_mean"), sample_mean(model, rows.x_test), strict=True):
        scores[f"accuracy_{kind}"] = float((probs.argmax(axis=1) == rows.y_test).mean())
        scores[f"nll_{kind}"] = float(-np.log(probs[np.arange(len(probs)), rows.y_test].clip(1e-12)).mean())
    return put_in_store(model, name=NAME, task="classification", labels=tuple("0123456789"), scores=scores)
