"""What the examples share: repeatable fitting, and the way into the store that a user's model takes too."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thinned.models.card import Task
from thinned.models.storage.importing import import_model
from thinned.models.storage.model_store import StoredModel

if TYPE_CHECKING:
    import keras

__all__ = ["OnEpoch", "fit", "put_in_store", "sample_mean"]

OnEpoch = Callable[[int, int, Mapping[str, float]], None]
"""Called after each epoch with the epochs done, the epochs in all, and the training loss and metrics."""

MC_SEED = 20160604
MC_PASSES = 100


def fit(
    model: keras.Model,
    x: NDArray[np.float32],
    y: NDArray[Any],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    loss: str,
    on_epoch: OnEpoch | None,
    weight_decay: float = 0.0,
) -> None:
    """Fit with AdamW and a learning rate that falls along a cosine. The caller has set the random seed."""
    import keras

    class Report(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            if on_epoch is not None:
                on_epoch(epoch + 1, epochs, dict(logs or {}))

    steps = epochs * -(-len(x) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=weight_decay), loss)
    model.fit(x, y, epochs=epochs, batch_size=batch_size, verbose=0, callbacks=[Report()])


def sample_mean(model: keras.Model, x: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Answers of a model with one input and one output to the rows `x`.

    Returns:
        The deterministic answer and the mean over 100 Monte Carlo passes, shape (B, ...) each.
    """
    from thinned.models.dropout import enable_mc_dropout

    stochastic_model = enable_mc_dropout(model)
    rows, output = {stochastic_model.inputs[0].name: x}, stochastic_model.outputs[0].name
    passes = stochastic_model.sample(rows, n_samples=MC_PASSES, seed=MC_SEED)[output]
    return stochastic_model.predict(rows)[output].astype(np.float64), passes.mean(axis=0, dtype=np.float64)


def put_in_store(
    model: keras.Model,
    *,
    name: str,
    task: Task,
    scores: Mapping[str, float],
    labels: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    data: NDArray[Any] | None = None,
) -> StoredModel:
    """Save the model to a file and import that file, as `thinned import` would.

    Of `data`, rows of its only input, the card gets the range of each column.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.keras"
        model.save(path)
        return import_model(
            path,
            name=name,
            tasks={None: task},
            labels=labels,
            scores=scores,
            columns={None: columns} if columns is not None else None,
            data=None if data is None else lambda specs: {specs[0].name: data},
            data_sha256=None if data is None else hashlib.sha256(data.tobytes()).hexdigest(),
            replace=True,
        )
