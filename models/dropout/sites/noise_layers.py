"""The kinds of site: which Keras layers draw noise, where, and how each draws when it is armed.

A `SiteLayer` says which attributes of a layer to replace while a graph is traced. What replaces them
lives on the instance, and goes away with the trace. Only layers whose drawing code is Keras's own are recognised: a
subclass that overrides it is a custom layer, and says itself how it draws (`register_noise`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import tensorflow as tf

# Private, and its only name (Keras 3.15): the mixin by which the cells of SimpleRNN, GRU, LSTM and ConvLSTM draw.
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell

from thinned.models.dropout.noise.noise_context import Draw

__all__ = ["Here", "NoiseShape", "Patches", "SiteLayer", "kind_of", "register_noise"]

Tensor = Any
Patches = dict[str, Callable[..., Any]]
NoiseShape = tuple[int | None, ...] | None
"""One entry an axis: None as the tensor that meets the noise, 1 shared along it. None alone: the tensor's shape."""


class Here(Protocol):
    """What a replaced method asks while it is traced: one for each site and trace."""

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        """The noise that meets `x` in this call, or None for no noise."""

    def seen(self, training: bool | None) -> None:
        """Told the `training` with which the layer was called."""

    def narrow(self) -> bool:
        """Whether the layer runs on rows that no noise has touched yet."""


@dataclass(frozen=True)
class SiteLayer:
    """A layer that draws, at one of its sites (an RNN cell has two)."""

    layer: Any
    kind: str
    rate: float | None
    stddev: float | None
    arm: Callable[[Here], Patches]
    drops: bool = True
    """Whether its noise is dropped units, at `rate`, and nothing else."""
    widens: bool = True
    """Whether it may be given rows that no noise has touched, and makes of them rows for every pass."""
    unmeasured: bool = False
    """A registered layer with neither a rate nor a stddev: taken to draw."""

    @property
    def active(self) -> bool:
        """Whether it draws at all: rate 0 is no site."""
        return self.unmeasured or (self.rate or 0) > 0 or (self.stddev or 0) > 0


_Apply = Callable[[Any, Draw, Tensor, NoiseShape], Tensor]


def _call_patch(apply: _Apply, layer: Any) -> Callable[[Here], Patches]:
    def arm(here: Here) -> Patches:
        def call(inputs: Tensor, *args: Any, training: bool | None = None, **kwargs: Any) -> Tensor:
            here.seen(training)
            shape = _noise_shape(layer, inputs)
            draw = here.draw(inputs, shape)
            return inputs if draw is None else apply(layer, draw, inputs, shape)

        return {"call": call}

    return arm


def _noise_shape(layer: Any, x: Tensor) -> NoiseShape:
    """The layer's own noise shape. Lengths that a spatial layer gives as tensors are those of `x`."""
    own = getattr(layer, "_get_noise_shape", None)
    shape = own(x) if own else getattr(layer, "noise_shape", None)
    return shape if shape is None else tuple(n if isinstance(n, int) else None for n in shape)


def _dropout(layer: Any, draw: Draw, x: Tensor, shape: NoiseShape) -> Tensor:
    return draw.bernoulli(x, layer.rate, noise_shape=shape)


def _gaussian_dropout(layer: Any, draw: Draw, x: Tensor, shape: NoiseShape) -> Tensor:
    spread = (layer.rate / (1.0 - layer.rate)) ** 0.5
    return draw.normal(x, lambda a, z: a * (1 + tf.cast(spread, a.dtype) * z))


def _gaussian_noise(layer: Any, draw: Draw, x: Tensor, shape: NoiseShape) -> Tensor:
    return draw.normal(x, lambda a, z: a + tf.cast(layer.stddev, a.dtype) * z)


def _alpha_dropout(layer: Any, draw: Draw, x: Tensor, shape: NoiseShape) -> Tensor:
    """Klambauer et al. 2017: a dropped unit goes to SELU's saturation; an affine map restores mean and variance."""
    rate = layer.rate
    saturation = -1.6732632423543772 * 1.0507009873554805
    a = ((1 - rate) * (1 + rate * saturation**2)) ** -0.5
    b = -a * saturation * rate

    def combine(h: Tensor, dropped: Tensor) -> Tensor:
        return tf.cast(a, h.dtype) * tf.where(dropped, tf.cast(saturation, h.dtype), h) + tf.cast(b, h.dtype)

    return draw.drop(x, rate, combine, noise_shape=shape)


_SIMPLE: tuple[tuple[type, _Apply], ...] = (
    (keras.layers.SpatialDropout1D, _dropout),
    (keras.layers.SpatialDropout2D, _dropout),
    (keras.layers.SpatialDropout3D, _dropout),
    (keras.layers.Dropout, _dropout),
    (keras.layers.AlphaDropout, _alpha_dropout),
    (keras.layers.GaussianDropout, _gaussian_dropout),
    (keras.layers.GaussianNoise, _gaussian_noise),
)


def _simple(layer: Any) -> Iterator[SiteLayer]:
    for cls, apply in _SIMPLE:
        if isinstance(layer, cls) and type(layer).call is cls.call:  # type: ignore[attr-defined]
            yield SiteLayer(
                layer=layer,
                kind=cls.__name__,
                rate=getattr(layer, "rate", None),
                stddev=getattr(layer, "stddev", None),
                arm=_call_patch(apply, layer),
                drops=apply in (_dropout, _alpha_dropout),
            )
            return


def _attention(layer: Any) -> Iterator[SiteLayer]:
    """`Attention` and `AdditiveAttention` drop attention weights in `_apply_scores`.

    The multi-head layers hold a `Dropout` layer instead, which is found like any other.
    """
    if not isinstance(layer, keras.layers.Attention):
        return
    if type(layer)._apply_scores is not keras.layers.Attention._apply_scores:
        return
    original = layer._apply_scores

    def arm(here: Here) -> Patches:
        def apply_scores(
            scores: Tensor, value: Tensor, scores_mask: Tensor = None, training: bool | None = None
        ) -> Any:
            plain, weights = original(scores, value, scores_mask=scores_mask, training=False)
            here.seen(training)
            draw = here.draw(weights)
            if draw is None:
                return plain, weights
            weights = draw.bernoulli(weights, layer.dropout)
            return keras.ops.matmul(weights, draw.identity(value)), weights

        return {"_apply_scores": apply_scores}

    yield SiteLayer(layer, f"{type(layer).__name__} dropout", layer.dropout, None, arm)


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
        arm = _cell_patch(layer, rate, getter, resetter)
        yield SiteLayer(layer, f"{type(layer).__name__} {attribute}", rate, None, arm)


def _cell_patch(layer: Any, rate: float, getter: str, resetter: str) -> Callable[[Here], Patches]:
    count = getattr(layer, "dropout_mask_count", None)

    def arm(here: Here) -> Patches:
        original = layer.call  # read now: a cell has two sites, and the second wraps what the first put there
        innermost = "call" not in layer.__dict__
        held: list[Any] = []  # a plain list: Keras would wrap and track one set on the layer

        def mask(step_input: Tensor) -> Any:
            if not held:
                ones = tf.ones_like(step_input)
                drawn = [here.draw(ones) for _ in range(count or 1)]
                masks = [ones if draw is None else draw.bernoulli(ones, rate) for draw in drawn]
                held.append(masks if count else masks[0])
            return held[0]

        def call(inputs: Tensor, states: Any, training: bool | None = None) -> Any:
            here.seen(training)
            # The cell multiplies by its masks only when training; it holds nothing else that training changes.
            return original(inputs, states, training=innermost or training)

        return {getter: mask, resetter: held.clear, "call": call}

    return arm


_Registered = tuple[Callable[..., Tensor] | None, Callable[..., Tensor] | None]
_REGISTERED: dict[type, _Registered] = {}


def register_noise(
    cls: type, *, armed: Callable[..., Tensor] | None, off: Callable[..., Tensor] | None = None, replace: bool = True
) -> None:
    """Say how a custom layer that draws its own noise is to be served.

    Call it in the module given to `thinned import --module`, for instance for a layer that adds noise of its own::

        register_noise(MyNoise, armed=lambda layer, draw, x: draw.normal(x, lambda a, z: a + layer.stddev * z))

    Args:
        cls: The layer class.
        armed: `armed(layer, draw, inputs)` gives the layer's output with noise from `draw` (`Draw.bernoulli`,
            `.normal`, `.uniform`, `.drop`),
            and never from `keras.random` or `tf.random`. None: the layer's noise is for training only (augmentation)
            and stays off.
        off: `off(layer, inputs)` gives the deterministic output; by default the layer's own `call` with
            `training=False`.
        replace: Whether an earlier registration of this class may be replaced.

    Raises:
        ValueError: `cls` is registered already and `replace` is False.
    """
    if not replace and cls in _REGISTERED:
        raise ValueError(f"{cls.__name__} is registered already: pass replace=True to change how it draws.")
    _REGISTERED[cls] = (armed, off)


def _custom(layer: Any) -> Iterator[SiteLayer]:
    if type(layer) not in _REGISTERED:
        return
    armed, off = _REGISTERED[type(layer)]
    original = layer.call
    takes_training = layer._call_has_training_arg

    def arm(here: Here) -> Patches:
        def call(inputs: Tensor, *args: Any, training: bool | None = None, **kwargs: Any) -> Tensor:
            here.seen(training if takes_training else True)
            draw = here.draw(inputs) if armed is not None else None
            if draw is not None and armed is not None:
                return armed(layer, draw, inputs)
            if off is not None:
                return off(layer, inputs)
            return original(inputs, *args, **kwargs, **({"training": False} if takes_training else {}))

        return {"call": call}

    rate, stddev = getattr(layer, "rate", None), getattr(layer, "stddev", None)
    if armed is None:
        rate = stddev = 0.0
    unmeasured = rate is None and stddev is None
    yield SiteLayer(layer, type(layer).__name__, rate, stddev, arm, drops=False, widens=False, unmeasured=unmeasured)


def kind_of(layer: Any) -> list[SiteLayer]:
    """The sites of one layer, active or not: none for most layers, two for an RNN cell."""
    for kind in (_custom, _simple, _attention, _cell):
        found = list(kind(layer))
        if found:
            return found
    return []
