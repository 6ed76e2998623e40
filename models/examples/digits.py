"""`digits`: which digit is on an 8x8 image, by a small convolutional network with dropout."""

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

__all__ = ["NAME", "build", "data", "train", "trained"]

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


def trained(
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    classes: int = 10,
    epochs: int = EPOCHS,
    seed: int = SEED,
    on_epoch: OnEpoch | None = None,
) -> keras.Model:
    """The network, trained.

    Args:
        x: Images, (B, 8, 8, 1).
        y: Their classes, (B,), from 0 to `classes` - 1.
        classes: How many there are.
        epochs: Times that each image is seen.
        seed: Of Keras and NumPy.
        on_epoch: Called after each epoch.
    """
    import keras

    keras.utils.set_random_seed(seed)
    model = build(classes)
    fit(
        model,
        x,
        y,
        epochs=epochs,
        batch_size=64,
        learning_rate=2e-3,
        weight_decay=1e-3,
        loss="sparse_categorical_crossentropy",
        on_epoch=on_epoch,
    )
    return model


def train(on_epoch: OnEpoch | None = None) -> StoredModel:
    """Train the network, score it on the held-out images, and put it in the store.

    Args:
        on_epoch: Called after each epoch.

    Returns:
        The stored model. Its card's scores are the accuracy and the negative log-likelihood (nats) of the
        deterministic answer and of the mean over 100 Monte Carlo passes.
    """
    import_tensorflow()
    rows = data()
    model = trained(rows.x_train, rows.y_train, on_epoch=on_epoch)
    scores = {"test_rows": float(len(rows.y_test))}
    for kind, probs in zip(("deterministic", "mc_mean"), sample_mean(model, rows.x_test), strict=True):
        scores[f"accuracy_{kind}"] = float((probs.argmax(axis=1) == rows.y_test).mean())
        scores[f"nll_{kind}"] = float(-np.log(probs[np.arange(len(probs)), rows.y_test].clip(1e-12)).mean())
    return put_in_store(model, name=NAME, task="classification", labels=tuple("0123456789"), scores=scores)
