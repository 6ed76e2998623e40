"""`digits`: which digit is on an 8x8 image, by a small convolutional network with dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.examples.training import OnEpoch, fit, put_in_store, sample_mean
from thinned.models.storage.model_store import StoredModel

if TYPE_CHECKING:
    import keras

__all__ = ["NAME", "Split", "build", "data", "train"]

NAME = "digits"
SEED = 0
EPOCHS = 30


class Split(NamedTuple):
    """Images, shape (B, 8, 8, 1), float32 from 0 to 16 as they are scanned; and digits, shape (B,)."""

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]


def data() -> Split:
    """The 1,797 images of scikit-learn's `load_digits`; a fifth is held out, the same one each time."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bundle = load_digits()
    x = bundle.images[..., None].astype(np.float32)
    y = bundle.target.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=SEED)
    return Split(x_train, y_train, x_test, y_test)


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
        on_epoch: Told of the progress.

    Returns:
        The stored model. Its card's scores are the accuracy and the negative log-likelihood (nats) of the
        deterministic answer and of the mean over 100 Monte Carlo passes.
    """
    import_tensorflow()
    import keras

    keras.utils.set_random_seed(SEED)
    split = data()
    model = build()
    fit(
        model,
        split.x_train,
        split.y_train,
        epochs=EPOCHS,
        batch_size=64,
        learning_rate=2e-3,
        weight_decay=1e-3,
        loss="sparse_categorical_crossentropy",
        on_epoch=on_epoch,
    )
    scores = {"test_rows": float(len(split.y_test))}
    for kind, probs in zip(("deterministic", "mc_mean"), sample_mean(model, split.x_test), strict=True):
        scores[f"accuracy_{kind}"] = float((probs.argmax(axis=1) == split.y_test).mean())
        scores[f"nll_{kind}"] = float(-np.log(probs[np.arange(len(probs)), split.y_test].clip(1e-12)).mean())
    return put_in_store(model, name=NAME, task="classification", labels=tuple("0123456789"), scores=scores)
