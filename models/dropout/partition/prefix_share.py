"""Say how much of a model's work runs once, whatever the number of passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from thinned.models.card import SplitSpec
from thinned.models.dropout.partition.graph_partition import Partition, Step
from thinned.models.dropout.partition.signature import ModelSignature
from thinned.models.dropout.sites.discovery import layer_paths

__all__ = ["describe_split", "one_row"]


def describe_split(
    partition: Partition | None, signature: ModelSignature, model: Any, once: int, all_of_it: int
) -> SplitSpec:
    """Name the layers of the prefix and the suffix, and the prefix's share of the work.

    Args:
        partition: The partition, or None when all of the model is suffix.
        signature: The model's inputs.
        model: The Keras model.
        once: Floating-point operations of the prefix for one row.
        all_of_it: Floating-point operations of the whole model for one row, in the same count.
    """
    share = min(1.0, once / all_of_it) if all_of_it else None
    if partition is None:
        inputs = tuple(spec.name for spec in signature.inputs)
        return SplitSpec(prefix_layers=(), suffix_layers=(model.name,), frontier=inputs, prefix_share=0.0)
    paths = layer_paths(model)

    def names(steps: Sequence[Step]) -> tuple[str, ...]:
        return tuple(paths.get(id(step.operation), step.operation.name) for step in steps if step.operation is not None)

    writers = {value: spec.name for value, spec in zip(partition.inputs, signature.inputs, strict=True)}
    for step in partition.steps:
        writers.update((value, name) for name in names([step]) for value in step.writes)
    return SplitSpec(
        prefix_layers=names(partition.prefix),
        suffix_layers=names(partition.suffix),
        frontier=tuple(writers.get(value, "") for value in partition.frontier),
        prefix_share=share,
    )


def one_row(signature: Sequence[tf.TensorSpec], shapes: Sequence[Sequence[int]]) -> list[tf.TensorSpec]:
    """The signature for one row of these shapes: the profiler counts only what has a known shape."""
    return [tf.TensorSpec([1, *shape], spec.dtype) for spec, shape in zip(signature, shapes, strict=True)]
