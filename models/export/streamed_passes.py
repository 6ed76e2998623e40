"""The passes of a model as one graph of its inputs, their number and a seed, which keeps statistics and no passes.

A loop of the graph draws some blocks of passes in each turn, as many as `StochasticModel.row_passes` allows, and adds
them to running moments: memory does not grow with the number of passes.

References:
    Chan, Golub & LeVeque 1983, Algorithms for Computing the Sample Variance,
    https://doi.org/10.1080/00031305.1983.10483115
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from thinned.models.dropout.compiled_graphs import GraphKey
from thinned.models.dropout.stochastic_model import StochasticModel
from thinned.models.sampling import BLOCK, Sampling

__all__ = ["OutputMoments", "streamed_moments", "streamed_samples"]

Tensor = Any


class OutputMoments(NamedTuple):
    """What passes say of one output of the Keras model; the shapes are those of `RunningStatistics`, float64.

    `mean` and `deviations` (the sum of squared deviations) are (B, *output_shape). The others are sums over passes,
    None where the output has no such: class probabilities (B, ..., C), entropies (B, ...), and variances over the last
    masks (B, *output_shape).
    """

    mean: Tensor
    deviations: Tensor
    probabilities: Tensor | None
    entropy: Tensor | None
    within: Tensor | None


def streamed_moments(
    model: StochasticModel, inputs: Sequence[Tensor], count: Tensor, seed: Tensor, *, key: GraphKey
) -> list[OutputMoments]:
    """Add to the graph under construction what passes 0 to `count` - 1 say of each output of the Keras model.

    Args:
        model: It must have sites.
        inputs: In the order of `model.inputs`, (B, *input_shape).
        count: Scalar int64, 1 or more.
        seed: Scalar int64.
        key: Of the graph from frontier to statistics; it says how the passes relate to each other.
    """
    closed = model.graphs.closed if key.masks != "all" else None
    forms = closed.forms if closed is not None else [()] * len(model.graphs.classes)
    sums = [  # which of an output's sums there are: probabilities, entropy, within
        (classes is not None, classes is not None, bool(known))
        for classes, known in zip(model.graphs.classes, forms, strict=True)
    ]

    def turn(first: Tensor, now: Tensor, frontier: Sequence[Tensor], rows: Tensor) -> list[Tensor]:
        head = tf.stack([rows, now, seed, first])
        reduced = iter(model.graphs.get(key)(head, *frontier)[len(sums) :])  # behind the passes themselves
        weights = _passes_of_blocks(first, now)
        found: list[Tensor] = []
        for present in sums:
            found += _joined(weights, next(reduced), next(reduced))
            found += [_weighted(weights, next(reduced)) for there in present if there]
        return found

    def add(before: Sequence[Tensor], new: Sequence[Tensor], seen: Tensor, now: Tensor) -> list[Tensor]:
        old, more, found = iter(before), iter(new), []
        for present in sums:
            found += _merged(seen, next(old), next(old), now, next(more), next(more))
            found += [next(old) + next(more) for there in present if there]
        return found

    told = iter(_over_passes(model, inputs, count, turn, add, free_axes=1))
    return [OutputMoments(*(next(told) if there else None for there in (True, True, *present))) for present in sums]


def streamed_samples(
    model: StochasticModel, inputs: Sequence[Tensor], count: Tensor, seed: Tensor, *, sampling: Sampling
) -> list[Tensor]:
    """Add to the graph under construction the passes themselves, (S, B, *output_shape) for each output.

    Args:
        model: It must have sites.
        inputs: As for `streamed_moments`, as are `count` and `seed`.
        count: S.
        seed: Of the passes.
        sampling: How passes relate to each other.
    """
    key, outputs = GraphKey("from_frontier", sampling), len(model.graphs.classes)

    def turn(first: Tensor, now: Tensor, frontier: Sequence[Tensor], rows: Tensor) -> list[Tensor]:
        return list(model.graphs.get(key)(tf.stack([rows, now, seed, first]), *frontier)[:outputs])

    def add(before: Sequence[Tensor], new: Sequence[Tensor], seen: Tensor, now: Tensor) -> list[Tensor]:
        return [tf.concat(parts, axis=0) for parts in zip(before, new, strict=True)]

    return _over_passes(model, inputs, count, turn, add, free_axes=2)


Turn = Callable[[Tensor, Tensor, Sequence[Tensor], Tensor], list[Tensor]]
Add = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor, Tensor], list[Tensor]]


def _over_passes(
    model: StochasticModel, inputs: Sequence[Tensor], count: Tensor, turn: Turn, add: Add, *, free_axes: int
) -> list[Tensor]:
    """Run the prefix once, and `turn` on some passes after others; `add` makes one of what was found so far."""
    rows = tf.shape(inputs[0], tf.int64)[0]
    frontier = model.graphs.get(GraphKey("prefix"))(*inputs)
    most = _row_passes(model, inputs) // tf.maximum(rows, 1)

    def next_of(left: Tensor) -> Tensor:
        return tf.where(left <= most, left, _whole_blocks(most))

    def body(first: Tensor, *state: Tensor) -> list[Tensor]:
        now = next_of(count - first)
        return [first + now, *add(state, turn(first, now, frontier, rows), first, now)]

    start = next_of(count)
    state = turn(tf.zeros_like(count), start, frontier, rows)
    shapes = [tf.TensorShape([]), *(tf.TensorShape([None] * free_axes + x.shape[free_axes:]) for x in state)]
    _, *state = tf.while_loop(
        lambda first, *_: first < count,
        body,
        [start, *state],
        shape_invariants=shapes,
        parallel_iterations=1,
    )
    return list(state)


def _row_passes(model: StochasticModel, inputs: Sequence[Tensor]) -> Tensor:
    """Rows x passes of a turn, as the engine has them; where lengths vary, rows of twice the length count fourfold."""
    shapes = model.examples.shapes
    growth = tf.constant(1.0, tf.float64)
    for spec, tensor in zip(model.inputs, inputs, strict=True):
        for axis, length in enumerate(spec.shape, 1):
            if length is None:
                longer = tf.shape(tensor)[axis] / max(1, shapes[spec.name][axis - 1])
                growth = tf.maximum(growth, tf.square(tf.cast(longer, tf.float64)))
    return tf.maximum(tf.cast(model.row_passes / growth, tf.int64), 1)


def _whole_blocks(most: Tensor) -> Tensor:
    """As many whole blocks as `most` holds; where it holds none, an even part of a block: 16 passes, 8, down to one."""
    parts = tf.constant([2**i for i in range(int(math.log2(BLOCK)))], tf.int64)
    part = tf.reduce_max(tf.where(parts <= most, parts, 1))
    return tf.where(most >= BLOCK, most // BLOCK * BLOCK, part)


def _passes_of_blocks(first: Tensor, count: Tensor) -> Tensor:
    """How many of passes first to first + count - 1 lie in each block of 32 that they touch, float64 (G,)."""
    block = (tf.range(count) + first % BLOCK) // BLOCK
    return tf.math.segment_sum(tf.ones_like(block, tf.float64), block)


def _weighted(weights: Tensor, means: Tensor) -> Tensor:
    """Sums over passes of means over blocks, (G, ...) to (...)."""
    return tf.tensordot(weights, means, 1)


def _joined(weights: Tensor, means: Tensor, deviations: Tensor) -> list[Tensor]:
    """Mean and deviations of all blocks as one."""
    mean = _weighted(weights, means) / tf.reduce_sum(weights)
    return [mean, tf.reduce_sum(deviations, axis=0) + _weighted(weights, tf.math.squared_difference(means, mean))]


def _merged(seen: Tensor, mean: Tensor, deviations: Tensor, now: Tensor, more: Tensor, further: Tensor) -> list[Tensor]:
    """Mean and deviations of `seen` passes and of `now` further ones."""
    a, b = tf.cast(seen, tf.float64), tf.cast(now, tf.float64)
    gap = more - mean
    return [mean + gap * (b / (a + b)), deviations + further + tf.square(gap) * (a * b / (a + b))]
