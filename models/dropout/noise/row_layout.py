"""Where the rows of a batch lie in a tensor: mostly on the first axis, but a model may move them or fold others in.

A time-major part of a network transposes (B, T, D) to (T, B, D); a reshape makes (B * T, D) of (B, T, D), or (T * B, D)
of (T, B, D). A table of positions, a kernel or a scalar has no rows at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

__all__ = [
    "ROWS_FIRST",
    "RowAxis",
    "find_row_axis",
    "lengths",
    "lengths_behind_rows",
    "padded_noise_shape",
    "run_three_ways",
    "shared_axes",
    "tail_of_noise",
]

Tensor = Any
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RowAxis:
    """Which axis holds the rows, and whether they run inside of what is folded into that axis or outside of it."""

    axis: int = 0
    inner: bool = False

    def rows_first(self, x: Tensor, rows: Tensor) -> Tensor:
        """(..., rows * F, ...) to (rows * F, ...), the F positions of a row next to each other."""
        if self == ROWS_FIRST:
            return x
        shape, k = lengths(x), self.axis
        folded = tf.shape(x)[k] // rows
        split = [*shape[:k], *((folded, rows) if self.inner else (rows, folded)), *shape[k + 1 :]]
        order = [k + 1, k] if self.inner else [k, k + 1]
        rest = [axis for axis in range(len(split)) if axis not in (k, k + 1)]
        moved = tf.transpose(tf.reshape(x, split), [*order, *rest])
        out = tf.reshape(moved, [-1, *(split[axis] for axis in rest)])
        out.set_shape([None, *(n for axis, n in enumerate(x.shape) if axis != k)])
        return out

    def rows_back(self, x: Tensor, rows: Tensor) -> Tensor:
        """What `rows_first` was made of."""
        if self == ROWS_FIRST:
            return x
        shape, k = lengths(x), self.axis
        folded = tf.shape(x)[0] // rows
        apart = tf.reshape(x, [rows, folded, *shape[1:]])
        pair = [1, 0] if self.inner else [0, 1]
        rest = list(range(2, len(shape) + 1))
        out = tf.reshape(tf.transpose(apart, [*rest[:k], *pair, *rest[k:]]), [*shape[1 : k + 1], -1, *shape[k + 1 :]])
        out.set_shape([*x.shape[1 : k + 1], None, *x.shape[k + 1 :]])
        return out

    def reorder(self, noise_shape: tuple[Any, ...] | None, rank: int) -> tuple[Any, ...] | None:
        """A noise shape for the tensor as `rows_first` gives it."""
        if noise_shape is None or self.axis == 0:
            return noise_shape
        padded = padded_noise_shape(noise_shape, rank)
        return (padded[self.axis], *padded[: self.axis], *padded[self.axis + 1 :])


ROWS_FIRST = RowAxis()


def find_row_axis(pair: Array, swapped: Array, three: Sequence[int]) -> RowAxis | None:
    """Tell the rows of a tensor by what it is for two rows, for the same two the other way round, and for three.

    Args:
        pair: Its value for rows a, b.
        swapped: Its value for rows b, a.
        three: Its lengths for three rows.

    Returns:
        Where the rows are; None where no length goes with their number. Where values do not tell (they are all the
        same, or depend on both rows) the first axis that fits is taken.
    """
    if pair.ndim != len(three):
        return None
    fitting = [k for k, (two, n) in enumerate(zip(pair.shape, three, strict=True)) if two and two * 3 == n * 2]
    for axis in fitting:
        folded = pair.shape[axis] // 2
        for inner in (False, True) if folded > 1 else (False,):
            apart = np.moveaxis(pair, axis, 0).reshape((folded, 2, -1) if inner else (2, folded, -1))
            turned = np.flip(apart, axis=1 if inner else 0).reshape(-1)
            other = np.moveaxis(swapped, axis, 0).reshape(-1)
            if _alike(turned, other):
                return RowAxis(axis, inner)
    return RowAxis(fitting[0]) if fitting else None


def padded_noise_shape(noise_shape: Sequence[Any] | None, rank: int) -> list[Any]:
    """A noise shape in Keras's notation with an entry for every axis: None as the tensor, 1 shared along the axis."""
    return [None] * rank if noise_shape is None else [1] * (rank - len(noise_shape)) + list(noise_shape)


def tail_of_noise(noise_shape: Any, shape: Sequence[Any]) -> tuple[bool, list[Any]]:
    """Whether positions folded into the rows share their noise, and the noise's lengths along the other axes."""
    padded = padded_noise_shape(noise_shape, len(shape))
    tail = [full if n is None else n for n, full in zip(padded[1:], shape[1:], strict=True)]
    return isinstance(padded[0], int) and padded[0] == 1, tail


def shared_axes(noise_shape: Sequence[Any] | None, shape: Any) -> tuple[bool, ...]:
    """Of each axis but the first, whether all along it share their noise. An axis of length 1 has nothing to share."""
    padded = padded_noise_shape(noise_shape, len(shape))
    return tuple(n == 1 and full != 1 for n, full in zip(padded[1:], shape[1:], strict=True))


def run_three_ways(traced: Callable[..., Sequence[Tensor]], examples: Sequence[Tensor]) -> Iterator[list[Array]]:
    """What a graph gives for two example rows, for the same two the other way round, and for three."""
    for rows in ([0, 1], [1, 0], [0, 1, 2]):
        yield [np.asarray(x) for x in traced(*(tf.gather(x, rows) for x in examples))]


def lengths(x: Tensor) -> list[Any]:
    """Lengths of all axes, as Python integers where they are known while tracing."""
    if all(n is not None for n in x.shape):
        return list(x.shape)
    dynamic = tf.shape(x)
    return [dynamic[i] if n is None else n for i, n in enumerate(x.shape)]


def lengths_behind_rows(x: Tensor) -> list[Any]:
    """Lengths of all axes but the first, for which None stands where all others are known while tracing."""
    if x.shape.rank is not None and all(n is not None for n in x.shape[1:]):
        return [None, *x.shape[1:]]
    return lengths(x)


def _alike(a: Array, b: Array) -> bool:
    if a.dtype.kind in "biuOSU":
        return bool(np.array_equal(a, b))
    a, b = a.astype(np.float64), b.astype(np.float64)
    scale = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    return bool(np.allclose(a, b, rtol=1e-4, atol=1e-5 * scale, equal_nan=True))
