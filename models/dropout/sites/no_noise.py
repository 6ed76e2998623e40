"""The provider of a site that is switched off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from thinned.models.dropout.noise.noise_context import Draw
from thinned.models.dropout.sites.noise_layers import NoiseShape, RandomKind

__all__ = ["NO_NOISE", "NoNoise"]

Tensor = Any


class NoNoise:
    """The `NoiseProvider` of a site that is switched off: it passes its input on."""

    draws: bool = False

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        """No noise."""
        return None

    def record_call(self, training: bool | None) -> None:
        """Nothing to note."""

    def fill(self, kind: RandomKind, shape: Tensor) -> Tensor:
        """The mean of such numbers: without noise a normal number is 0."""
        return tf.fill(shape, 0.0 if kind == "normal" else 0.5)

    def switched(self, noisy: Any, plain: Callable[[], Any]) -> Any:
        """There is nothing to switch off."""
        return noisy

    def narrow(self) -> bool:
        """Nothing widens what no noise touches."""
        return False


NO_NOISE = NoNoise()
