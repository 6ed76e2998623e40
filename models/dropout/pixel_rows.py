"""Inputs that hold pixels: how far their numbers reach, read from the layer that rescales them."""

from __future__ import annotations

from typing import Any

import keras

from thinned.models.dropout.partition.lookups import readers

__all__ = ["largest_pixel"]

_LARGEST_SCALE = 0.1
"""Rescaling by more than this is not of pixels."""


def largest_pixel(graph: Any, tensor: Any) -> float | None:
    """The largest number of an input that a model rescales, such as 255; None where it does not.

    Rows near 0 would be 0 behind a `Rescaling(1 / 255)`, and could leave every unit behind it dead.

    Args:
        graph: The model's functional graph; None where it is not known.
        tensor: The input, one of `graph.inputs`.
    """
    for layer in readers(graph, tensor) if graph is not None else ():
        if isinstance(layer, keras.layers.Rescaling):
            scale, offset = layer.scale, layer.offset
            if isinstance(scale, (int, float)) and 0 < scale < _LARGEST_SCALE:
                low = offset if isinstance(offset, (int, float)) else 0.0
                return round((1.0 if low >= 0 else 2.0) / scale, 3)
    return None
