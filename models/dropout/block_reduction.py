"""Reduce passes inside the graph, block by block, so that what leaves it does not grow with their number."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import tensorflow as tf

from thinned.models.sampling import BLOCK

__all__ = ["ClassScale", "Closed", "ReducedBlocks", "reduce_blocks"]

Tensor = Any
ClassScale = Literal["probabilities", "logits"]


class ReducedBlocks(NamedTuple):
    """The tensors that `BlockStatistics` is made of: its fields of these names."""

    mean: Tensor
    deviations: Tensor
    probabilities: Tensor | None
    entropy: Tensor | None
    within: Tensor | None


class Closed(NamedTuple):
    """Mean and variance of each pass over its last masks, (S, B, ...); and where these are drawn mean entropy."""

    mean: Tensor
    variance: Tensor
    entropy: Tensor | None = None


def reduce_blocks(
    passes: Tensor,
    first: Tensor,
    classes: ClassScale | None,
    limits: Tensor | None = None,
    closed: Closed | None = None,
) -> ReducedBlocks:
    """Reduce passes `first` and on.

    Args:
        passes: (S, B, ...) float.
        first: Scalar int64, the index of the first of them: blocks begin at multiples of 32.
        classes: How the last axis is to be read where it holds classes.
        limits: Scalar or (B,) int32: only so many of the passes count for a row. A block without any has no meaning.
        closed: What is known of each pass without its last masks: moments are then those of its means, and class
            probabilities still those of the passes, but where several last masks of a pass tell them.
    """
    values = tf.cast(passes if closed is None else closed.mean, tf.float64)
    drawn = tf.range(tf.shape(passes)[0])
    block = (drawn + tf.cast(first % BLOCK, tf.int32)) // BLOCK
    if limits is None:
        counted = None
        counts = tf.math.segment_sum(tf.ones_like(block, tf.float64), block)[:, tf.newaxis]
    else:
        counted = drawn[:, tf.newaxis] < limits
        counts = tf.maximum(tf.math.segment_sum(tf.cast(counted, tf.float64), block), 1.0)

    def sum_of(x: Tensor) -> Tensor:
        if counted is not None:
            x = tf.where(_with_axes_of(x, counted), x, tf.zeros([], x.dtype))
        return tf.math.segment_sum(x, block)

    def mean_of(x: Tensor) -> Tensor:
        return sum_of(x) / _with_axes_of(x, counts)

    mean = mean_of(values)
    deviations = sum_of(tf.math.squared_difference(values, tf.gather(mean, block)))
    within = None if closed is None else mean_of(tf.cast(closed.variance, tf.float64))
    if classes is None:
        return ReducedBlocks(mean, deviations, None, None, within)
    if closed is not None and closed.entropy is not None:
        probs = _probabilities(values, classes)
        return ReducedBlocks(mean, deviations, mean_of(probs), mean_of(tf.cast(closed.entropy, tf.float64)), within)
    probs = _probabilities(tf.cast(passes, tf.float64), classes)
    entropy = -tf.reduce_sum(tf.math.xlogy(probs, probs), axis=-1)
    return ReducedBlocks(mean, deviations, mean_of(probs), mean_of(entropy), within)


def _with_axes_of(like: Tensor, x: Tensor) -> Tensor:
    """Give (S, B) the further axes of `like`, of length 1."""
    return tf.reshape(x, tf.concat([tf.shape(x), tf.ones([len(like.shape) - 2], tf.int32)], axis=0))


def _probabilities(values: Tensor, classes: ClassScale) -> Tensor:
    """Class probabilities on the last axis; a single unit is the probability, or the logit, of class 1."""
    if values.shape[-1] != 1:
        return tf.clip_by_value(values, 0.0, 1.0) if classes == "probabilities" else tf.nn.softmax(values)
    one = tf.clip_by_value(values, 0.0, 1.0) if classes == "probabilities" else tf.sigmoid(values)
    return tf.concat([1.0 - one, one], axis=-1)
