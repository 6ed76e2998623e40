"""Train many small networks at once, as one TensorFlow program whose tensors have leading axes for the networks.

Each network has one hidden layer, with dropout before both dense layers. P dropout rates times F folds are P * F
networks. In a step all use the same uniform random numbers, each compared with its own rate; so each network alone is
trained with ordinary dropout.

References:
    Gal & Ghahramani 2016, Dropout as a Bayesian Approximation, section 5.2, https://arxiv.org/abs/1506.02142
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

__all__ = ["Networks", "State", "TrainingPlan"]

Tensor = Any
Array = npt.NDArray[np.float32]
State = Mapping[str, npt.NDArray[Any]]
LEARNING_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-7
"""Keras's defaults of Adam (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980)."""


@dataclass(frozen=True)
class TrainingPlan:
    """What to train, on which rows.

    Args:
        x: Standardised inputs, (F, N, D).
        y: Standardised targets, (F, N).
        rates: Dropout rate of each network, (P, F).
        decay: Factor of the sum of squared weights in each network's loss, (P, F).
        hidden: Units of the hidden layer.
        batch: Largest number of rows in a step; the steps of an epoch have the same number.
        seed: Seed of initial weights, orders of rows, and dropout.
    """

    x: Array
    y: Array
    rates: Array
    decay: Array
    hidden: int
    batch: int
    seed: int

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return -(-len(self.x[0]) // self.batch)


class Networks:
    """The networks of a plan and the state of their training.

    Args:
        plan: What to train.
        state: From `state`, to resume; None for fresh weights.
    """

    def __init__(self, plan: TrainingPlan, state: State | None = None) -> None:
        self.plan = plan
        values = dict(state) if state is not None else self._fresh()
        self.epoch = int(values.pop("epoch"))
        self._names = list(values)
        self._tensors = [tf.constant(value) for value in values.values()]
        self._advance = self._compile()

    def train(self, epochs: int) -> None:
        """Train for this many further epochs."""
        self._tensors = list(
            self._advance(tf.constant(self.epoch, tf.int64), tf.constant(epochs, tf.int64), *self._tensors)
        )
        self.epoch += epochs

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The whole state. A new `Networks` of the same plan, given this state, resumes the same training."""
        named = dict(zip(self._names, [tensor.numpy() for tensor in self._tensors], strict=True))
        return {**named, "epoch": np.array(self.epoch)}

    def weights(self, rate: int, fold: int) -> list[Array]:
        """Weights of one network in the order of Keras: kernel and bias of the hidden and of the output layer."""
        named = dict(zip(self._names, self._tensors, strict=True))
        return [named[name][rate, fold].numpy() for name in ("kernel_1", "bias_1", "kernel_2", "bias_2")]

    def _fresh(self) -> dict[str, npt.NDArray[Any]]:
        """Initial state: Glorot uniform kernels and zero biases, Keras's defaults, and zero moments of Adam."""
        plan, draw = self.plan, np.random.default_rng(self.plan.seed)
        (groups, folds), inputs = plan.rates.shape, plan.x.shape[2]

        def glorot(rows: int, columns: int) -> npt.NDArray[np.float32]:
            bound = (6 / (rows + columns)) ** 0.5
            return draw.uniform(-bound, bound, (groups, folds, rows, columns)).astype(np.float32)

        weights = {
            "kernel_1": glorot(inputs, plan.hidden),
            "bias_1": np.zeros((groups, folds, plan.hidden), np.float32),
            "kernel_2": glorot(plan.hidden, 1),
            "bias_2": np.zeros((groups, folds, 1), np.float32),
        }
        moments = {f"{moment}_{name}": np.zeros_like(w) for moment in ("m", "v") for name, w in weights.items()}
        return {**weights, **moments, "epoch": np.array(0)}

    def _compile(self) -> Callable[..., Sequence[Tensor]]:
        """The training loop as a concrete function of the first epoch, the number of epochs, and all tensors."""
        plan = self.plan
        x, y = tf.constant(plan.x), tf.constant(plan.y[..., np.newaxis])
        keep = tf.constant(1.0 - plan.rates[:, :, np.newaxis, np.newaxis], tf.float32)
        decay = tf.constant(plan.decay[:, :, np.newaxis, np.newaxis], tf.float32)
        folds, rows = plan.x.shape[:2]
        size = -(-rows // plan.steps)

        def masks(step: Tensor, units: int, part: int) -> Tensor:
            drawn = tf.random.stateless_uniform([1, 1, size, units], [plan.seed * 4 + part, tf.cast(step, tf.int32)])
            return tf.where(drawn < keep, 1.0 / keep, 0.0)

        def train_step(step: Tensor, indices: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
            rows_x, rows_y = tf.gather(x, indices, batch_dims=1), tf.gather(y, indices, batch_dims=1)
            drops = masks(step, plan.x.shape[2], 0), masks(step, plan.hidden, 1)
            gradients = _gradients(tensors[:4], rows_x, rows_y, drops, decay)
            return _adam(step + 1, tensors, gradients)

        def advance(first: Tensor, epochs: Tensor, *tensors: Tensor) -> list[Tensor]:
            def epoch(number: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
                keys = tf.random.stateless_uniform([folds, rows], [plan.seed * 4 + 2, tf.cast(number, tf.int32)])
                order = tf.argsort(keys, axis=1)
                order = tf.concat([order, order[:, : size * plan.steps - rows]], axis=1)
                for cut in range(plan.steps) if plan.steps <= 16 else ():
                    indices = order[:, cut * size : (cut + 1) * size]
                    tensors = train_step(number * plan.steps + cut, indices, tensors)
                if plan.steps > 16:
                    tensors = tf.while_loop(
                        lambda cut, _: cut < plan.steps,
                        lambda cut, held: (
                            cut + 1,
                            train_step(
                                number * plan.steps + tf.cast(cut, tf.int64),
                                tf.slice(order, [0, cut * size], [folds, size]),
                                held,
                            ),
                        ),
                        (0, list(tensors)),
                        parallel_iterations=1,
                    )[1]
                return number + 1, list(tensors)

            return list(
                tf.while_loop(
                    lambda number, _: number < first + epochs, epoch, (first, list(tensors)), parallel_iterations=1
                )[1]
            )

        signature = [tf.TensorSpec([], tf.int64)] * 2 + [tf.TensorSpec(t.shape, t.dtype) for t in self._tensors]
        concrete: Callable[..., Sequence[Tensor]] = tf.function(advance, autograph=False).get_concrete_function(
            *signature
        )
        return concrete


def _gradients(
    weights: Sequence[Tensor], x: Tensor, y: Tensor, drops: tuple[Tensor, Tensor], decay: Tensor
) -> list[Tensor]:
    """Gradients of the mean squared error and the weight decay, for every network, by explicit backpropagation.

    Args:
        weights: Kernel (P, F, D, H) and bias (P, F, H) of the hidden layer, (P, F, H, 1) and (P, F, 1) of the output.
        x: Rows of a step, (F, B, D).
        y: Their targets, (F, B, 1).
        drops: Factors of inputs (P, F or 1, B, D) and of hidden units (P, F or 1, B, H).
        decay: (P, F, 1, 1).
    """
    kernel_1, bias_1, kernel_2, bias_2 = weights
    dropped_x = x[tf.newaxis] * drops[0]
    raw = tf.matmul(dropped_x, kernel_1) + bias_1[:, :, tf.newaxis]
    hidden = tf.nn.relu(raw) * drops[1]
    error = (tf.matmul(hidden, kernel_2) + bias_2[:, :, tf.newaxis] - y[tf.newaxis]) * (2.0 / x.shape[1])
    back = tf.where(raw > 0, drops[1], 0.0) * (error * tf.linalg.matrix_transpose(kernel_2))
    return [
        tf.matmul(dropped_x, back, transpose_a=True) + 2.0 * decay * kernel_1,
        tf.reduce_sum(back, axis=2),
        tf.matmul(hidden, error, transpose_a=True) + 2.0 * decay * kernel_2,
        tf.reduce_sum(error, axis=2),
    ]


def _adam(step: Tensor, tensors: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """One step of Adam; `tensors` are four weights, their first moments, and their second moments."""
    count = len(gradients)
    time = tf.cast(step, tf.float32)
    rate = LEARNING_RATE * tf.sqrt(1.0 - BETA_2**time) / (1.0 - BETA_1**time)
    first = [BETA_1 * m + (1 - BETA_1) * g for m, g in zip(tensors[count : 2 * count], gradients, strict=True)]
    second = [BETA_2 * v + (1 - BETA_2) * g * g for v, g in zip(tensors[2 * count :], gradients, strict=True)]
    weights = [w - rate * m / (tf.sqrt(v) + EPSILON) for w, m, v in zip(tensors[:count], first, second, strict=True)]
    return [*weights, *first, *second]
