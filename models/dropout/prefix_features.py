"""What the prefix makes of a row, as a vector of numbers: the features by which rows are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.dropout.batching import Frontier
from thinned.models.dropout.compiled_graphs import GraphKey
from thinned.models.dropout.stochastic_model import StochasticModel
from thinned.models.errors import CalibrationError

__all__ = ["PrefixFeatures", "prefix_features"]

Array = npt.NDArray[np.float32]
LEAST_CHANNELS = 16
"""From so many channels on a map is told by its means over positions; of fewer these would say next to nothing."""
MOST_NUMBERS = 1 << 18
_AT_ONCE = 1 << 22  # numbers of a tensor that are copied at a time


@dataclass(frozen=True)
class _Part:
    """One tensor: its place in the frontier, whether its positions are averaged, the place of its mask, its numbers."""

    place: int
    averaged: bool
    mask: int | None
    numbers: int
    source: bool
    """Whether it is an input of the model, so that its numbers have units of their own."""


@dataclass(frozen=True)
class PrefixFeatures:
    """How the tensors of a frontier become features. `names` are those of the tensors that are looked at."""

    parts: tuple[_Part, ...]
    names: tuple[str, ...]

    @property
    def numbers(self) -> int:
        """D, how many numbers tell a row."""
        return sum(part.numbers for part in self.parts)

    def of(self, frontier: Frontier) -> Array:
        """The features of its rows, (B, D)."""
        return np.concatenate([_of_part(part, frontier) for part in self.parts], axis=1)

    def scale(self, features: Array) -> npt.NDArray[np.float64]:
        """What to divide each number by, (D,), told by some rows (B, D).

        A number of an input is divided by its own standard deviation: it may be in years or in grams. Those of a hidden
        tensor have one unit, and are divided by one number, so that rows lie about as far apart in each tensor.
        """
        scales, start = [], 0
        for part in self.parts:
            own = features[:, start : start + part.numbers].astype(np.float64)
            start += part.numbers
            deviation, size = own.std(axis=0), np.abs(own).max(axis=0)
            if part.source:
                scales.append(np.where(deviation > 1e-6 * size, deviation, np.maximum(size, 1.0)))
            else:
                whole = float(np.sqrt((deviation**2).sum()))
                scales.append(np.full(part.numbers, whole if whole > 1e-6 * size.max() else max(1.0, size.max())))
        return np.concatenate(scales)


def prefix_features(model: StochasticModel, inputs: Sequence[InputSpec], names: Sequence[str]) -> PrefixFeatures:
    """How the rows of a model are told by what its prefix makes of them.

    Floating-point tensors are taken, and inputs of numbers that no table is looked up by; where the frontier is the
    input itself, its numbers as they are. Maps and sequences of 16 or more channels, or of a length that varies, are
    averaged over their positions, without those that Keras masks.

    Args:
        model: The model.
        inputs: Its inputs, from its card.
        names: Of the tensors of the frontier, from its card.

    Raises:
        CalibrationError: There is no such tensor, or rows could not be compared by it; says why.
    """
    tensors = model.graphs.get(GraphKey("prefix")).outputs
    padded = any(spec.padding is not None or spec.dtype == "string" for spec in inputs)
    parts, taken, passed = [], [], []
    for place, (part, name) in enumerate(zip(model.frontier_parts, names, strict=True)):
        spec = None if part.source is None else inputs[part.source]
        tensor, shape = tensors[place], tensors[place].shape
        if _is_code(tensor, spec):
            passed.append(f"{name} holds {'text' if tensor.dtype == 'string' else 'numbers of a table'}")
            continue
        channels = shape[-1] if shape.rank is not None and shape.rank > 1 else None
        averaged = (shape.rank or 0) > 2 and (
            None in shape[1:] or (spec is None and channels is not None and channels >= LEAST_CHANNELS)
        )
        if shape.rank is None or (shape.rank > 1 and channels is None):
            passed.append(f"{name} has no fixed number of channels")
        elif averaged and None in shape[1:] and padded and part.mask is None:
            passed.append(f"{name} has positions that are padding, and no mask that tells them")
        else:
            numbers = int(channels or 1) if averaged else int(np.prod(shape[1:], dtype=np.int64))
            parts.append(_Part(place, averaged, part.mask if averaged else None, numbers, spec is not None))
            taken.append(name)
    found = PrefixFeatures(tuple(parts), tuple(taken))
    if not parts:
        raise CalibrationError(
            f"rows cannot be told apart by what reaches the first dropout: {'; '.join(passed)}. Without --ood the rest "
            "is calibrated"
        )
    if found.numbers > MOST_NUMBERS:
        raise CalibrationError(
            f"rows are told by at most {MOST_NUMBERS} numbers that reach the first dropout, this model has "
            f"{found.numbers}. Without --ood the rest is calibrated"
        )
    return found


def _is_code(tensor: Any, spec: InputSpec | None) -> bool:
    """Whether the numbers of a tensor are names of something, which have no distances."""
    if tensor.dtype.is_floating:
        return spec is not None and spec.table_size is not None
    return spec is None or spec.table_size is not None or spec.dtype == "string"


def _of_part(part: _Part, frontier: Frontier) -> Array:
    values = np.asarray(frontier.tensors[part.place])
    if not part.averaged:
        return values.reshape(frontier.rows, -1).astype(np.float32)
    mask = None if part.mask is None else np.asarray(frontier.tensors[part.mask])
    found = np.empty((frontier.rows, part.numbers), np.float32)
    step = max(1, _AT_ONCE // max(1, values[:1].size))
    for start in range(0, frontier.rows, step):
        rows = slice(start, start + step)
        found[rows] = _means(values[rows].astype(np.float64), None if mask is None else mask[rows])
    return found


def _means(values: npt.NDArray[np.float64], mask: npt.NDArray[Any] | None) -> npt.NDArray[np.float64]:
    """Means over all axes between the first and the last; of those positions on the second that the mask holds."""
    if mask is not None:
        held = mask.astype(np.float64).reshape(*mask.shape, *[1] * (values.ndim - mask.ndim))
        share = held / np.maximum(held.sum(axis=1, keepdims=True), 1.0)
        values = (np.where(held > 0, values, 0.0) * share).sum(axis=1, keepdims=True)
    means: npt.NDArray[np.float64] = values.mean(axis=tuple(range(1, values.ndim - 1)))
    return means
