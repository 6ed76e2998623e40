"""Keras's own layer at a site, put to the test: on ones under `training=True`, and in inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from thinned.models.card import SiteSpec
from thinned.models.compat.keras import APPLY_SCORES
from thinned.models.dropout.partition.signature import UNKNOWN_LENGTH
from thinned.models.dropout.sites.custom_noise import is_registered
from thinned.models.dropout.sites.noise_layers import SiteLayer

__all__ = ["OwnLayer", "measure_own_layer"]

Array = npt.NDArray[Any]
_UNITS = 100_000
_MOST_ROWS = 4096
_SIMPLE = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")


@dataclass(frozen=True)
class OwnLayer:
    """What Keras's layer did under `training=True`.

    `drawn` mask entries were looked at and `dropped` of them were 0. `scale_error` is the largest |factor * (1 - rate)
    - 1| of a survivor, `mean_factor` the mean over all entries, `shared` whether the mask is the same along every axis
    that is declared so, `identity` whether `training=False` gave the input back bit for bit.
    """

    drawn: int
    dropped: int
    scale_error: float
    mean_factor: float
    shared: bool
    identity: bool


def measure_own_layer(source: SiteLayer, spec: SiteSpec, *, seed: int) -> OwnLayer | None:
    """Measure the layer behind a site; None for a kind whose factors cannot be read off ones, as a registered one.

    Seeds advance: wrap it in `kept_variables`.
    """
    rate = source.rate
    if rate is None or rate >= 1 or spec.shape is None or is_registered(source.layer):
        return None
    generator = getattr(source.layer, "seed_generator", None)
    if generator is not None:  # a layer without a seed of its own has one of the clock's
        generator.state.assign([seed, 0])
    if source.kind in _SIMPLE:
        factors, mask, identity = _of_call(source.layer, spec)
    elif source.kind.endswith(("Cell dropout", "Cell recurrent_dropout")):
        factors, identity = _of_cell(source.layer, source.kind, spec), True
        mask = factors
    elif source.kind.endswith("ttention dropout"):
        factors, identity = _of_attention(source.layer)
        mask = factors
    else:
        return None
    survivors = mask[mask != 0]
    return OwnLayer(
        drawn=mask.size,
        dropped=int((mask == 0).sum()),
        scale_error=float(np.abs(survivors * (1 - rate) - 1).max(initial=0.0)),
        mean_factor=float(mask.mean()),
        shared=bool((factors == mask).all()),
        identity=identity,
    )


def _of_call(layer: Any, spec: SiteSpec) -> tuple[Array, Array, bool]:
    """Factors of ones, their mask without the axes along which it is declared to be shared, and identity."""
    declared = [UNKNOWN_LENGTH if n is None else n for n in spec.shape or ()]
    shape = [_length(layer, axis, n) for axis, n in enumerate(declared)]
    rows = _rows(int(np.prod(declared)), int(np.prod(shape)))
    ones = keras.ops.ones((rows, *shape), dtype=layer.compute_dtype)
    factors = _numpy(layer.call(ones, training=True))
    shared = [axis for axis, (n, full) in enumerate(zip(declared, shape, strict=True), 1) if n == 1 and full > 1]
    if _shared_rows(layer):
        shared = [0, *shared]
    mask = factors
    for axis in shared:
        mask = np.take(mask, [0], axis=axis)
    x = keras.ops.convert_to_tensor(np.random.default_rng(0).standard_normal(ones.shape), layer.compute_dtype)
    identity = np.array_equal(_numpy(layer.call(x, training=False)), _numpy(x))
    return factors, mask, identity


def _length(layer: Any, axis: int, declared: int) -> int:
    """Length of an axis of the ones: 4 where the mask is declared to be shared along it, so that sharing shows."""
    noise = getattr(layer, "noise_shape", None)
    declares = noise is not None and axis + 1 < len(noise) and noise[axis + 1] == 1
    return 4 if declared == 1 and (declares or type(layer).__name__.startswith("SpatialDropout")) else declared


def _shared_rows(layer: Any) -> bool:
    noise = getattr(layer, "noise_shape", None)
    return isinstance(noise, tuple | list) and bool(noise) and noise[0] == 1


def _of_cell(layer: Any, kind: str, spec: SiteSpec) -> Array:
    """The masks of an RNN cell: a list of them for each gate, or one."""
    recurrent = kind.endswith("recurrent_dropout")
    get = layer.get_recurrent_dropout_mask if recurrent else layer.get_dropout_mask
    reset = layer.reset_recurrent_dropout_mask if recurrent else layer.reset_dropout_mask
    shape = [UNKNOWN_LENGTH if n is None else n for n in spec.shape or ()]
    reset()
    masks = get(keras.ops.ones((_rows(int(np.prod(shape)), int(np.prod(shape))), *shape), dtype=layer.compute_dtype))
    reset()
    return np.stack([_numpy(mask) for mask in (masks if isinstance(masks, list) else [masks])])


def _of_attention(layer: Any) -> tuple[Array, bool]:
    """Attention weights with even scores: each is 1 / T, and their factor is what dropout made of them."""
    length = 64
    scores = keras.ops.zeros((_UNITS // length**2 + 1, length, length), dtype=layer.compute_dtype)
    value = keras.ops.eye(length, dtype=layer.compute_dtype)
    result, _ = getattr(layer, APPLY_SCORES)(scores, value, training=True)
    plain, _ = getattr(layer, APPLY_SCORES)(scores, value, training=False)
    return _numpy(result) * length, bool(np.allclose(_numpy(plain) * length, 1.0))


def _rows(drawn: int, held: int) -> int:
    """Rows enough for some 100,000 draws, and no more numbers than ten million."""
    return max(1, min(_MOST_ROWS, -(-_UNITS // max(drawn, 1)), 10_000_000 // max(held, 1)))


def _numpy(tensor: Any) -> Array:
    array: Array = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
    return array
