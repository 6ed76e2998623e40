"""Custom layers that draw their own noise: how a user says so, and their sites beside those of Keras's layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from thinned.models.compat.keras import is_augmentation, takes_training
from thinned.models.dropout.sites.no_noise import NO_NOISE
from thinned.models.dropout.sites.noise_layers import NoiseProvider, Patches, SiteLayer, keras_sites
from thinned.models.dropout.sites.random_functions import drawing

__all__ = ["is_registered", "own_noise", "register_noise", "sites_of"]

Tensor = Any
_Registration = tuple[Callable[..., Tensor] | None, Callable[..., Tensor] | None]
_REGISTERED: dict[type, _Registration] = {}


def register_noise(
    cls: type, *, armed: Callable[..., Tensor] | None, off: Callable[..., Tensor] | None = None, replace: bool = True
) -> None:
    """Say how a custom layer that draws its own noise is to be served.

    Call it in the module given to `thinned import --module`, for instance for a layer that adds noise of its own::

        from thinned import register_noise

        register_noise(MyNoise, armed=lambda layer, draw, x: draw.normal(x, lambda a, z: a + layer.stddev * z))

    Args:
        cls: The layer class.
        armed: `armed(layer, draw, inputs)` gives the layer's output with noise from `draw` (`Draw.bernoulli`,
            `.normal`, `.uniform`, `.drop`), and never from `keras.random` or `tf.random`. `inputs` is what the layer's
            `call` is given first, a tensor or a list of them, each (S * B, ...): B rows in S passes, pass-major. A
            method of `draw` takes any tensor with these rows, and gives one of the same shape. None: the layer's noise
            is for training only (augmentation) and stays off.
        off: `off(layer, inputs)` gives the deterministic output, of tensors (B, ...); by default the layer's own `call`
            with `training=False`, where dropout passes its input on and normal noise is 0.
        replace: Whether an earlier registration of this class may be replaced.

    Raises:
        ValueError: `cls` is registered already and `replace` is False.
    """
    if not replace and cls in _REGISTERED:
        raise ValueError(f"{cls.__name__} is registered already: pass replace=True to change how it draws.")
    _REGISTERED[cls] = (armed, off)


def is_registered(layer: Any) -> bool:
    """Whether it was said how a layer of this class draws."""
    return type(layer) in _REGISTERED


def own_noise(layer: Any) -> SiteLayer | None:
    """A custom layer as a site that draws by random functions of its own code; None for a layer that cannot be one."""
    if is_registered(layer) or is_augmentation(layer) or type(layer).__module__.startswith("keras.src."):
        return None
    with_training = takes_training(layer)

    def patches(provider: NoiseProvider) -> Patches:
        original = layer.call  # read now: a subclass of Keras's dropout is two sites, and this one wraps the other

        def call(*args: Any, **kwargs: Any) -> Any:
            provider.record_call(kwargs.get("training") if with_training else True)
            if not provider.draws:
                with drawing(provider):
                    return original(*args, **kwargs)
            training = {"training": True} if with_training else {}
            with drawing(provider):
                noisy = original(*args, **{**kwargs, **training})

            def plain() -> Any:
                off = {"training": False} if with_training else {}
                with drawing(NO_NOISE):
                    return original(*args, **{**kwargs, **off})

            return provider.switched(noisy, plain)

        return {"call": call}

    named = {name: getattr(layer, name, None) for name in ("rate", "drop_rate", "drop_prob", "stddev")}
    known = {name: float(value) for name, value in named.items() if isinstance(value, int | float)}
    stddev = known.pop("stddev", None)
    rate = next(iter(known.values()), None)
    return SiteLayer(
        layer,
        type(layer).__name__,
        rate,
        stddev,
        patches,
        drops=False,
        widens=False,
        unmeasured=rate is None and stddev is None,
        own_noise=True,
    )


def sites_of(layer: Any) -> list[SiteLayer]:
    """The sites of one layer, active or not: as it was registered, or as Keras's own."""
    return [_registered(layer)] if is_registered(layer) else keras_sites(layer)


def _registered(layer: Any) -> SiteLayer:
    armed, off = _REGISTERED[type(layer)]
    original = layer.call
    with_training = takes_training(layer)

    def patches(provider: NoiseProvider) -> Patches:
        def call(inputs: Any, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
            provider.record_call(training if with_training else True)
            draw = provider.draw(tf.convert_to_tensor(keras.tree.flatten(inputs)[0])) if armed is not None else None
            if draw is not None and armed is not None:
                return armed(layer, draw, inputs)
            if off is not None:
                return off(layer, inputs)
            with drawing(NO_NOISE):  # its own call may draw even when it is told not to train
                return original(inputs, *args, **kwargs, **({"training": False} if with_training else {}))

        return {"call": call}

    rate, stddev = getattr(layer, "rate", None), getattr(layer, "stddev", None)
    if armed is None:
        rate = stddev = 0.0
    unmeasured = rate is None and stddev is None
    return SiteLayer(
        layer, type(layer).__name__, rate, stddev, patches, drops=False, widens=False, unmeasured=unmeasured
    )
