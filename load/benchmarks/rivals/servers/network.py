"""The network that every rival serves, and how people draw passes from it. It imports nothing of Thinned.

Variables: RIVAL_MODEL, the `.keras` file; RIVAL_WAY, `loop`, `tiled` or `split`; RIVAL_THREADS, TensorFlow's threads
for one operation, by default one for each core.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# After the variables, which TensorFlow reads when it is imported.
import keras
import numpy as np
import tensorflow as tf

__all__ = ["Network", "Question", "as_json"]

Question = tuple[np.ndarray, int]
"""Rows, (B, ...), and the number of passes."""
Moments = tuple[np.ndarray, np.ndarray]
"""Mean and sample variance over the passes, each (B, classes)."""

_WARM_UP = (2, 30, 100, 300)


class Network:
    """The loaded network; `ask` is the way that RIVAL_WAY names, and is warm."""

    def __init__(self) -> None:
        threads = int(os.environ.get("RIVAL_THREADS", "0"))
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        self.model = keras.models.load_model(os.environ["RIVAL_MODEL"], compile=False)
        for layer in self.model.layers:
            # Otherwise training=True takes the statistics of the batch, which is wrong, and moves the stored ones.
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        shape = self.model.input_shape[1:]
        signature = [tf.TensorSpec((None, *shape), tf.float32), tf.TensorSpec((), tf.int32)]
        self._tiled = tf.function(self._tile, input_signature=signature)
        self._split = tf.function(self._prefix_once, input_signature=signature)
        first = next(i for i, layer in enumerate(self.model.layers) if isinstance(layer, keras.layers.Dropout))
        self._prefix = keras.Sequential([keras.Input(shape), *self.model.layers[:first]])
        self._suffix = keras.Sequential([keras.Input(self._prefix.output_shape[1:]), *self.model.layers[first:]])
        way = os.environ.get("RIVAL_WAY", "tiled")
        self.ask = {"loop": self.loop, "tiled": self.tiled, "split": self.split}[way]
        for n in _WARM_UP[: 1 if way == "loop" else None]:
            for rows in (1, 4):
                self.ask(np.zeros((rows, *shape), np.float32), n)

    def loop(self, rows: np.ndarray, n: int) -> Moments:
        """Call the model n times."""
        x = tf.constant(rows)
        passes = np.stack([self.model(x, training=True).numpy() for _ in range(n)])
        return passes.mean(axis=0), passes.var(axis=0, ddof=1)

    def tiled(self, rows: np.ndarray, n: int) -> Moments:
        """Repeat each row n times, call the model once, in one compiled graph."""
        mean, variance = self._tiled(rows, np.int32(n))
        return mean.numpy(), variance.numpy()

    def split(self, rows: np.ndarray, n: int) -> Moments:
        """The same, but for the layers before the first dropout, which are called once: cut by hand."""
        mean, variance = self._split(rows, np.int32(n))
        return mean.numpy(), variance.numpy()

    def ask_together(self, questions: Sequence[Question]) -> list[Moments]:
        """Answer several requests, those with the same number of passes in one call."""
        answers: dict[int, Moments] = {}
        for n in {n for _, n in questions}:
            which = [i for i, (_, other) in enumerate(questions) if other == n]
            mean, variance = self.ask(np.concatenate([questions[i][0] for i in which]), n)
            ends = np.cumsum([len(questions[i][0]) for i in which])[:-1]
            parts = zip(which, np.split(mean, ends), np.split(variance, ends), strict=True)
            answers |= {i: (one, other) for i, one, other in parts}
        return [answers[i] for i in range(len(questions))]

    def _tile(self, rows: tf.Tensor, n: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _moments(self.model(tf.repeat(rows, n, axis=0), training=True), n)

    def _prefix_once(self, rows: tf.Tensor, n: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = self._prefix(rows, training=False)
        return _moments(self._suffix(tf.repeat(features, n, axis=0), training=True), n)


def _moments(outputs: tf.Tensor, n: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance over n passes, from outputs in which those of a row follow each other."""
    passes = tf.reshape(outputs, (-1, n, outputs.shape[-1]))
    mean, variance = tf.nn.moments(passes, axes=[1])
    count = tf.cast(n, variance.dtype)
    return mean, variance * count / (count - 1)


def as_json(moments: Moments) -> dict[str, list[list[float]]]:
    """The answer's fields as lists."""
    mean, variance = moments
    return {"mean": mean.tolist(), "variance": variance.tolist()}
