"""What each of Keras's noise layers does to a tensor, when it draws. This is the whole law; all else is bookkeeping.

A law takes a `Draw`, the noise of one call of one layer for all passes, and the tensor that meets it. Keras's dropout
is *inverted*: survivors are scaled up while drawing, so that the mean over masks is the input, and the deterministic
answer needs no scaling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import tensorflow as tf

__all__ = ["NoiseDraw", "alpha_dropout", "gaussian_dropout", "gaussian_noise", "inverted_dropout"]

Tensor = Any
Combine = Callable[[Tensor, Tensor], Tensor]


class NoiseDraw(Protocol):
    """Of `thinned.models.dropout.noise.noise_context.Draw`, what the laws need."""

    wide: bool

    def drop(self, x: Tensor, rate: float, combine: Combine, noise_shape: Any = None) -> Tensor:
        """`combine(x, dropped)`: booleans, True with probability `rate`."""

    def normal(self, x: Tensor, combine: Combine, noise_shape: Any = None) -> Tensor:
        """`combine(x, z)`: standard normal numbers."""

    def multiplied(
        self, x: Tensor, variance: float, law: Callable[[NoiseDraw, Tensor], Tensor], noise_shape: Any = None
    ) -> Tensor:
        """`law(draw, x)`, which multiplies units of `x` by independent factors of mean 1 and this variance."""

    def identity(self, x: Tensor) -> Tensor:
        """`x` for every pass."""


def inverted_dropout(draw: NoiseDraw, x: Tensor, rate: float, noise_shape: Any = None) -> Tensor:
    """`Dropout`, `SpatialDropout1D` to `3D`, and the masks inside attention and recurrent layers.

    A unit is 0 with probability r, and x / (1 - r) otherwise: mean x, variance r / (1 - r) x^2.

    Args:
        draw: The noise.
        x: What meets it, (B, ...) or (S * B, ...).
        rate: r in [0, 1]; at 1 everything is 0.
        noise_shape: As in Keras: 1 on an axis drops along it together. A spatial dropout drops whole channels.

    Returns:
        (S * B, ...).

    References:
        Srivastava et al. 2014, Dropout: A Simple Way to Prevent Neural Networks from Overfitting,
        https://jmlr.org/papers/v15/srivastava14a.html
    """
    if rate >= 1:
        return tf.zeros_like(draw.identity(x))
    return draw.multiplied(x, rate / (1 - rate), lambda own, a: _drop(own, a, rate, noise_shape), noise_shape)


def _drop(draw: NoiseDraw, x: Tensor, rate: float, noise_shape: Any) -> Tensor:
    scale = tf.cast(1.0 / (1.0 - rate), x.dtype)
    zero = tf.zeros([], x.dtype)
    if not draw.wide:  # one row for all passes: scale it before they part
        return draw.drop(x * scale, rate, lambda a, dropped: tf.where(dropped, zero, a), noise_shape)
    # Scale the mask, which all rows share. "No NaN": what is dropped is 0 even where it was not finite.
    return draw.drop(
        x, rate, lambda a, dropped: tf.math.multiply_no_nan(a, tf.where(dropped, zero, scale)), noise_shape
    )


def alpha_dropout(draw: NoiseDraw, x: Tensor, rate: float, noise_shape: Any = None) -> Tensor:
    """`AlphaDropout`: a dropped unit goes to SELU's saturation, then an affine map restores mean and variance.

    It keeps mean 0 and variance 1 where the input has them, not the mean of every input.

    References:
        Klambauer et al. 2017, Self-Normalizing Neural Networks, https://arxiv.org/abs/1706.02515
    """
    saturation = -1.6732632423543772 * 1.0507009873554805
    a = ((1 - rate) * (1 + rate * saturation**2)) ** -0.5
    b = -a * saturation * rate

    def combine(h: Tensor, dropped: Tensor) -> Tensor:
        return tf.cast(a, h.dtype) * tf.where(dropped, tf.cast(saturation, h.dtype), h) + tf.cast(b, h.dtype)

    return draw.drop(x, rate, combine, noise_shape)


def gaussian_dropout(draw: NoiseDraw, x: Tensor, rate: float) -> Tensor:
    """`GaussianDropout`: x times a normal number of mean 1 and variance r / (1 - r), that of inverted dropout."""
    variance = rate / (1.0 - rate)

    def combine(a: Tensor, z: Tensor) -> Tensor:
        return a * (1 + tf.cast(variance**0.5, a.dtype) * z)

    return draw.multiplied(x, variance, lambda own, a: own.normal(a, combine))


def gaussian_noise(draw: NoiseDraw, x: Tensor, stddev: float) -> Tensor:
    """`GaussianNoise`: x plus a normal number of mean 0 and standard deviation `stddev`."""
    return draw.normal(x, lambda a, z: a + tf.cast(stddev, a.dtype) * z)
