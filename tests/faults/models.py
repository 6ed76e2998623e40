"""The models that the trials serve, made in a store of the run's own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

__all__ = ["attention_row", "make_models", "small_rows"]


def make_models(*names: str) -> None:
    """Store `small` (three numbers to four classes), `cnn` (28 x 28 pixels), `attention` and `mixed` (inputs of a
    length that varies); of these, `names`, or all."""
    import keras
    from keras import layers as L

    from thinned.models.storage.importing import import_model

    keras.utils.set_random_seed(1)
    x = keras.Input((3,), name="x")
    small = keras.Model(x, L.Dense(4, "softmax")(L.Dropout(0.5)(L.Dense(16, "relu")(x))))
    pixels = keras.Input((28, 28, 1))
    y = L.Flatten()(L.MaxPooling2D()(L.Conv2D(16, 3, activation="relu")(pixels)))
    y = L.Dropout(0.5)(L.Dense(128, "relu")(L.Dropout(0.25)(y)))
    cnn = keras.Model(pixels, L.Dense(10, "softmax")(y))
    tokens = keras.Input((None, 8))
    z = L.MultiHeadAttention(2, 4, dropout=0.2)(tokens, tokens)
    attention = keras.Model(tokens, L.Dense(1)(L.GlobalAveragePooling1D()(z)))
    words = L.GlobalAveragePooling1D()(L.Embedding(10, 4)(number := keras.Input((None,), name="words", dtype="int32")))
    amount = L.Dense(1, name="amount")(L.Dropout(0.3)(L.Concatenate()([L.Dense(8)(x), words])))
    kind = L.Dense(4, "softmax", name="kind")(L.Dropout(0.5)(words))
    mixed = keras.Model([x, number], [kind, amount])
    with tempfile.TemporaryDirectory() as folder:
        for name, model, task in (
            ("small", small, "classification"),
            ("cnn", cnn, "classification"),
            ("attention", attention, "regression"),
            ("mixed", mixed, {"kind": "classification", "amount": "regression"}),
        ):
            if names and name not in names:
                continue
            path = Path(folder) / f"{name}.keras"
            model.save(path)
            tasks: Any = {None: task} if isinstance(task, str) else task
            import_model(path, name=name, tasks=tasks)


def small_rows(count: int) -> list[list[float]]:
    """Rows for `small`."""
    return [[0.5, -1.0, 2.0]] * count


def attention_row(length: int) -> list[list[list[float]]]:
    """One row for `attention`."""
    return [[[round(0.1 * ((position + k) % 7), 1) for k in range(8)] for position in range(length)]]
