"""What the sites of a graph draw, apart from what they do with it: one graph draws it, another is given it.

A request that names no seed may have any: noise drawn before it came is as good. Both graphs are traced by the same
code, so that the n-th draw of one is the n-th of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf

__all__ = ["DrawnNoise", "Draws", "Given", "Recorded", "needs_rows"]

Tensor = Any


@dataclass(frozen=True, eq=False)
class DrawnNoise:
    """What passes 0 to `passes` - 1 of a seed draw, in stratified graphs that draw these `masks` (`GraphKey`)."""

    seed: int
    passes: int
    masks: str
    tensors: tuple[Tensor, ...]


class Draws(Protocol):
    """Where a context has its noise from."""

    def take(self, draw: Callable[[], Tensor], first: Tensor, count: Tensor) -> Tensor:
        """The next noise of passes `first` to `first + count - 1`: (count, 1, units).

        Args:
            draw: Draws it.
            first: Scalar int64.
            count: Scalar int32.
        """


class Recorded:
    """Noise is drawn, and kept in `tensors` in the order in which it was asked for."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []

    def take(self, draw: Callable[[], Tensor], first: Tensor, count: Tensor) -> Tensor:
        """Draw it."""
        self.tensors.append(draw())
        return self.tensors[-1]


class Given:
    """Noise is cut from tensors that a graph recorded for passes 0 and on: those that `Recorded` kept, in its order."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = iter(tensors)
        self._ends: dict[int, tuple[Tensor, Tensor]] = {}

    def take(self, draw: Callable[[], Tensor], first: Tensor, count: Tensor) -> Tensor:
        """Look it up."""
        whole = next(self._tensors)
        if id(count) not in self._ends:  # One pair for all tensors of the same passes: it takes six operations.
            start = tf.cast(first, tf.int32)
            self._ends[id(count)] = (tf.stack([start, 0, 0]), tf.stack([start + count, 0, 0]))
        begin, end = self._ends[id(count)]
        cut = tf.strided_slice(whole, begin, end, end_mask=0b110)
        cut.set_shape([None, *whole.shape[1:]])
        return cut


def needs_rows(graph: Any, tensors: Sequence[Tensor], rows: Sequence[Tensor]) -> bool:
    """Whether what a graph draws hangs on its rows, or cannot be had without running what is made of them.

    Args:
        graph: The graph.
        tensors: What was recorded.
        rows: The placeholders of the rows.
    """
    if any(tensor.graph is not graph for tensor in tensors):  # It is drawn in the body of a loop.
        return True
    if any(tensor.shape.rank != 3 or tensor.shape[1] != 1 or tensor.shape[2] is None for tensor in tensors):
        return True
    # TensorFlow runs a loop whether or not anybody asks for what it gives.
    if any("While" in operation.type for operation in graph.get_operations()):
        return True
    found, look = set(), [tensor.op for tensor in tensors]
    while look:
        operation = look.pop()
        if operation.name not in found:
            found.add(operation.name)
            look += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return any(tensor.op.name in found for tensor in rows)
