"""Which Keras layers draw noise, and where: each as a `SiteLayer`, which says what to replace while a graph is traced.

What replaces a method lives on the layer's instance, and goes away with the trace. Only layers whose drawing code is
Keras's own are recognised: a subclass that overrides it is a custom layer, and says itself how it draws
(`register_noise`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import keras
import tensorflow as tf

from thinned.models.compat.keras import (
    APPLY_SCORES,
    DropoutRNNCell,
    drops_attention_scores,
    layer_noise_shape,
    takes_training,
)
from thinned.models.dropout.noise.laws import alpha_dropout, gaussian_dropout, gaussian_noise
from thinned.models.dropout.noise.noise_context import Draw

__all__ = ["NoiseProvider", "NoiseShape", "Patches", "RandomKind", "SiteLayer", "keras_sites"]

Tensor = Any
Patches = dict[str, Callable[..., Any]]
NoiseShape = tuple[int | None, ...] | None
"""One entry an axis: None as the tensor that meets the noise, 1 shared along it. None alone: the tensor's shape."""


RandomKind = Literal["uniform", "quantile", "normal"]
"""Numbers that a random function asks for: uniform on (0, 1); the same, as quantiles of a symmetric distribution;
standard normal."""


class NoiseProvider(Protocol):
    """What a replaced method asks while it is traced: one for each site and trace."""

    draws: bool
    """Whether there is noise in this trace: then a layer that draws its own is called as when it trains."""

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        """The noise that meets `x` in this call, or None for no noise."""

    def record_call(self, training: bool | None) -> None:
        """Note the `training` with which the layer was called."""

    def fill(self, kind: RandomKind, shape: Tensor) -> Tensor:
        """Float32 numbers for a random function of a custom layer, of this shape."""

    def switched(self, noisy: Any, plain: Callable[[], Any]) -> Any:
        """The output of a custom layer with its own noise: `noisy`, or where the site is switched off `plain()`."""

    def narrow(self) -> bool:
        """Whether the layer runs on rows that no noise has touched yet."""


@dataclass(frozen=True)
class SiteLayer:
    """A layer that draws, at one of its sites (an RNN cell has two)."""

    layer: Any
    kind: str
    rate: float | None
    stddev: float | None
    patches: Callable[[NoiseProvider], Patches]
    """The methods that replace the layer's own while a graph is traced, drawing from a provider."""
    drops: bool = True
    """Whether its noise is dropped units, at `rate`, and nothing else."""
    widens: bool = True
    """Whether it may be given rows that no noise has touched, and makes of them rows for every pass."""
    held: bool = False
    """Whether it keeps its noise through all turns of a loop, as the cells of Keras's recurrent layers do."""
    unmeasured: bool = False
    """A custom layer with neither a rate nor a stddev: taken to draw."""
    base: type | None = None
    """The class of Keras whose `call` is replaced for this layer, where the layer's own class overrides it."""
    base_call: Callable[[NoiseProvider], Callable[..., Any]] | None = None
    """What replaces it."""
    own_noise: bool = False
    """Whether its noise comes from random functions that its own code calls."""

    @property
    def active(self) -> bool:
        """Whether it draws at all: rate 0 is no site."""
        return self.unmeasured or (self.rate or 0) > 0 or (self.stddev or 0) > 0


_Law = Callable[[Any, Draw, Tensor, NoiseShape], Tensor]


def _dropout(layer: Any, draw: Draw, x: Tensor, shape: NoiseShape) -> Tensor:
    return draw.bernoulli(x, layer.rate, shape)


_LAYERS: tuple[tuple[type, _Law], ...] = (
    (keras.layers.SpatialDropout1D, _dropout),
    (keras.layers.SpatialDropout2D, _dropout),
    (keras.layers.SpatialDropout3D, _dropout),
    (keras.layers.Dropout, _dropout),
    (keras.layers.AlphaDropout, lambda layer, draw, x, shape: alpha_dropout(draw, x, layer.rate, shape)),
    (keras.layers.GaussianDropout, lambda layer, draw, x, shape: gaussian_dropout(draw, x, layer.rate)),
    (keras.layers.GaussianNoise, lambda layer, draw, x, shape: gaussian_noise(draw, x, layer.stddev)),
)
_GAUSSIAN = (keras.layers.GaussianDropout, keras.layers.GaussianNoise)


def keras_sites(layer: Any) -> list[SiteLayer]:
    """The sites of one of Keras's own layers, active or not: none for most layers, two for an RNN cell."""
    for sites in (_noise_layer, _attention, _cell):
        found = list(sites(layer))
        if found:
            return found
    return []


def _noise_layer(layer: Any) -> Iterator[SiteLayer]:
    for cls, law in _LAYERS:
        if isinstance(layer, cls):
            overridden = type(layer).call is not cls.call  # type: ignore[attr-defined]
            yield SiteLayer(
                layer=layer,
                kind=type(layer).__name__ if overridden else cls.__name__,
                rate=getattr(layer, "rate", None),
                stddev=getattr(layer, "stddev", None),
                patches=_as_when_training(layer) if overridden else _call_patch(law, layer),
                drops=cls not in _GAUSSIAN and not overridden,
                widens=not overridden,
                base=cls if overridden else None,
                base_call=partial(_base_call, law, layer) if overridden else None,
            )
            return


def _base_call(law: _Law, layer: Any, provider: NoiseProvider) -> Callable[..., Any]:
    return _call_patch(law, layer)(provider)["call"]


def _as_when_training(layer: Any) -> Callable[[NoiseProvider], Patches]:
    """Of a subclass of one of Keras's noise layers with a `call` of its own, which calls Keras's.

    It may force `training=True` (MCDropout of many books), or pass its own on: noise is drawn by what replaces Keras's
    `call`, whenever that is reached.
    """
    with_training = takes_training(layer)

    def patches(provider: NoiseProvider) -> Patches:
        original = layer.call

        def call(*args: Any, **kwargs: Any) -> Tensor:
            if provider.draws and with_training:
                kwargs["training"] = True
            return original(*args, **kwargs)

        return {"call": call}

    return patches


def _call_patch(law: _Law, layer: Any) -> Callable[[NoiseProvider], Patches]:
    def patches(provider: NoiseProvider) -> Patches:
        def call(inputs: Tensor, *args: Any, training: bool | None = None, **kwargs: Any) -> Tensor:
            provider.record_call(training)
            inputs = tf.convert_to_tensor(inputs)  # a kernel comes as a variable
            shape = _noise_shape(layer, inputs)
            draw = provider.draw(inputs, shape)
            return inputs if draw is None else law(layer, draw, inputs, shape)

        return {"call": call}

    return patches


def _noise_shape(layer: Any, x: Tensor) -> NoiseShape:
    """The layer's own noise shape. Lengths that a spatial layer gives as tensors are those of `x`."""
    shape = layer_noise_shape(layer, x)
    return shape if shape is None else tuple(n if isinstance(n, int) else None for n in shape)


def _attention(layer: Any) -> Iterator[SiteLayer]:
    """`Attention` and `AdditiveAttention` drop attention weights where they apply scores.

    The multi-head layers hold a `Dropout` layer instead, which is found like any other.
    """
    if not drops_attention_scores(layer):
        return
    original = getattr(layer, APPLY_SCORES)

    def patches(provider: NoiseProvider) -> Patches:
        def apply_scores(
            scores: Tensor, value: Tensor, scores_mask: Tensor = None, training: bool | None = None
        ) -> Any:
            plain, weights = original(scores, value, scores_mask=scores_mask, training=False)
            provider.record_call(training)
            draw = provider.draw(weights)
            if draw is None:
                return plain, weights
            weights = draw.bernoulli(weights, layer.dropout)
            return keras.ops.matmul(weights, draw.identity(value)), weights

        return {APPLY_SCORES: apply_scores}

    yield SiteLayer(layer, f"{type(layer).__name__} dropout", layer.dropout, None, patches)


def _cell(layer: Any) -> Iterator[SiteLayer]:
    """The two sites of an RNN cell. A cell keeps its masks through all steps of a sequence, and so do we."""
    if not isinstance(layer, DropoutRNNCell) or not isinstance(layer, keras.layers.Layer):
        return
    for attribute, getter, resetter in (
        ("dropout", "get_dropout_mask", "reset_dropout_mask"),
        ("recurrent_dropout", "get_recurrent_dropout_mask", "reset_recurrent_dropout_mask"),
    ):
        if getattr(type(layer), getter) is not getattr(DropoutRNNCell, getter):
            continue
        rate = getattr(layer, attribute, 0.0)
        yield SiteLayer(
            layer,
            f"{type(layer).__name__} {attribute}",
            rate,
            None,
            _cell_patch(layer, rate, getter, resetter),
            held=True,
        )


def _cell_patch(layer: Any, rate: float, getter: str, resetter: str) -> Callable[[NoiseProvider], Patches]:
    count = getattr(layer, "dropout_mask_count", None)

    def patches(provider: NoiseProvider) -> Patches:
        original = layer.call  # read now: a cell has two sites, and the second wraps what the first put there
        innermost = "call" not in layer.__dict__
        held: list[Any] = []  # a plain list: Keras would wrap and track one set on the layer

        def mask(step_input: Tensor) -> Any:
            if not held:
                ones = tf.ones_like(step_input)
                drawn = [provider.draw(ones) for _ in range(count or 1)]
                masks = [ones if draw is None else draw.bernoulli(ones, rate) for draw in drawn]
                held.append(masks if count else masks[0])
            return held[0]

        def call(inputs: Tensor, states: Any, training: bool | None = None) -> Any:
            provider.record_call(training)
            # The cell multiplies by its masks only when training; it holds nothing else that training changes.
            return original(inputs, states, training=innermost or training)

        return {getter: mask, resetter: held.clear, "call": call}

    return patches
