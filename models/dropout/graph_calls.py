"""Calls of a model's graphs, what the model refuses in them, and what one row takes of a graph's memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from thinned.models.compat.messages import message_of
from thinned.models.compat.tensorflow import call_concrete
from thinned.models.errors import InputError, OverloadedError, Problem

__all__ = ["RowBytes", "call_model", "row_bytes", "varies"]

Tensor = Any
# oneDNN aborts where a convolution or a pooling has nothing left to read.
_REFUSALS = (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, tf.errors.AbortedError)
_SAME_AS_BEFORE = ("BiasAdd", "ExpandDims", "Identity", "Reshape", "Squeeze", "StopGradient")


class RowBytes(NamedTuple):
    """Bytes of one row in a graph: in the widest tensor, and in all tensors that hold new numbers."""

    widest: int
    together: int


def row_bytes(concrete: Any) -> RowBytes:
    """What one row takes in a graph, as far as lengths are known."""
    widest, together = 4, 4
    for operation in concrete.graph.get_operations():
        for tensor in operation.outputs:
            shape = tensor.shape
            # Floating point alone: random words and booleans are for a pass, not for each of its rows.
            if tensor.dtype.is_floating and shape.rank and shape[0] is None:
                size = max(4, tensor.dtype.size) * math.prod(n or 1 for n in shape[1:])
                widest = max(widest, size)
                together += 0 if operation.type in _SAME_AS_BEFORE else size
    return RowBytes(widest, together)


def call_model(concrete: Any, args: Sequence[Any]) -> list[Tensor]:
    """Call a concrete function of the model on its flat arguments.

    Raises:
        InputError: The model itself refuses the values, though they fit shape and dtype.
        OverloadedError: The machine, or its GPU, has too little memory left for the call.
    """
    try:
        return call_concrete(concrete, args)
    except tf.errors.ResourceExhaustedError as error:
        raise OverloadedError(
            f"too little memory is left to compute this ({message_of(error)}); send fewer rows, or try again when "
            "others have been answered"
        ) from error
    except _REFUSALS as error:
        raise InputError([Problem(("inputs",), f"the model refuses these values: {message_of(error)}")]) from error


def varies(tensor: Any) -> bool:
    """Whether a tensor holds numbers whose count is not known while tracing, the rows aside."""
    return tensor.dtype.is_floating and (tensor.shape.rank is None or None in tensor.shape[1:])
