"""How much memory a pass takes for rows of given lengths: the widest tensor of a model, as its own graph tells it.

Where no length varies the graph's static shapes say it. Where lengths vary, the sizes of all tensors are measured at a
few short lengths and followed from there: the size of a tensor is a polynomial of degree two at most in each length
(attention is quadratic, all else linear).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CALL_BYTES", "SizeLaw", "measure_sizes"]

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]
CALL_BYTES = 128 << 20
"""What the widest tensor of one call may take. A call's peak is some 8 times as much (docs/service.md)."""


@dataclass(frozen=True)
class _Growth:
    """How tensors grow when some lengths are stretched together: sizes (3, K) at 1, 2 and 3 times the base lengths."""

    places: tuple[tuple[str, int], ...]
    """Input and axis of each length that is stretched."""
    base: int
    sizes: Array

    def factors(self, length: int) -> Array:
        """By how much each tensor is larger than at the base, at least 0."""
        t = length / self.base
        at = np.array([(t - 2) * (t - 3) / 2, -(t - 1) * (t - 3), (t - 1) * (t - 2) / 2])
        grown = at @ self.sizes / np.maximum(self.sizes[0], 1)
        # Paddings and strides round: a polynomial through three points may fall a little short of what is there.
        return np.asarray(np.where(self.sizes[2] > self.sizes[0], np.maximum(grown, min(t, 1.0)), 1.0))


@dataclass(frozen=True)
class SizeLaw:
    """Bytes of the widest tensor of one row in one pass, for rows of any lengths."""

    least: int
    """Of tensors whose size is known whatever the lengths."""
    base: Array
    """Numbers in each other tensor at the base lengths."""
    growths: tuple[_Growth, ...] = ()

    def widest(self, shapes: Shapes) -> int:
        """Bytes, at 4 for a number, for rows of these shapes (by input name, without the rows)."""
        if not self.growths:
            return self.least
        sizes = self.base.astype(np.float64)
        for growth in self.growths:
            length = max(shapes[name][axis] for name, axis in growth.places)
            sizes = sizes * growth.factors(length)
        return max(self.least, math.ceil(4 * float(sizes.max(initial=1.0))))


def measure_sizes(
    least: int, free: Sequence[tuple[str, int]], base: Shapes, sizes_at: Callable[[Shapes], Array]
) -> SizeLaw:
    """Find out how the tensors of a model grow with its lengths.

    Args:
        least: Bytes of the widest tensor among those that do not grow.
        free: Input and axis of each length that varies.
        base: Lengths that the model answers, by input.
        sizes_at: Numbers in each tensor that may grow, (K,), for one row of the given lengths; raises where the model
            refuses them.
    """
    if not free:
        return SizeLaw(least, np.zeros(0))
    for start in (base, _shorter(base, free, 2), _shorter(base, free, 4)):
        try:
            at_base = sizes_at(start)
        except Exception:  # too short for this model: another start
            continue
        apart = [_growth([place], start, at_base, sizes_at) for place in free]
        if all(growth is not None for growth in apart):
            return SizeLaw(least, at_base, tuple(growth for growth in apart if growth is not None))
        together = _growth(list(free), start, at_base, sizes_at)  # lengths that must agree, of a query and its mask
        if together is not None:
            return SizeLaw(least, at_base, (together,))
    # It cannot be measured: every tensor is taken to grow as the square of the lengths.
    at_base = sizes_at(base)
    squares = np.stack([at_base, 4 * at_base, 9 * at_base])
    length = max(base[name][axis] for name, axis in free)
    return SizeLaw(least, at_base, (_Growth(tuple(free), length, squares),))


def _shorter(base: Shapes, free: Sequence[tuple[str, int]], divisor: int) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(max(1, n // divisor) if (name, axis) in free else n for axis, n in enumerate(shape))
        for name, shape in base.items()
    }


def _growth(
    places: list[tuple[str, int]], start: Shapes, at_base: Array, sizes_at: Callable[[Shapes], Array]
) -> _Growth | None:
    length = max(start[name][axis] for name, axis in places)
    found = [at_base]
    for times in (2, 3):
        stretched = {
            name: tuple(n * times if (name, axis) in places else n for axis, n in enumerate(shape))
            for name, shape in start.items()
        }
        try:
            found.append(sizes_at(stretched))
        except Exception:  # lengths that must agree with others, or are too long for a table
            return None
    return _Growth(tuple(places), length, np.stack(found).astype(np.float64))
