"""Run a partition on tensors: the prefix on the rows of a request, the suffix on its rows in every pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from thinned.models.compat.keras import flatten_layers, get_keras_mask, inner_layers, set_keras_mask
from thinned.models.dropout.noise.noise_context import NoiseContext
from thinned.models.dropout.partition.graph_partition import Partition, partition_graph
from thinned.models.dropout.partition.signature import ModelSignature
from thinned.models.dropout.sites.attention import attends_with_noise
from thinned.models.dropout.sites.discovery import DiscoveredSites

__all__ = ["PartitionRunner", "partition_of", "single_precision"]

Tensor = Any


class PartitionRunner:
    """Runs a partition on tensors, the prefix narrow, the suffix wide. Without one all of the model is suffix."""

    def __init__(self, partition: Partition | None, signature: ModelSignature) -> None:
        self.partition = partition
        self._signature = signature
        self._masked: list[int] = []

    def prefix(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The frontier of (B, ...) inputs, followed by the Keras masks of those frontier tensors that carry one."""
        if self.partition is None:
            return list(inputs)
        values = dict(zip(self.partition.inputs, inputs, strict=True))
        for step in self.partition.prefix:
            tensors = {key: values[value] for key, value in step.reads.items()}
            values.update(zip(step.writes, keras.tree.flatten(step.call(tensors)), strict=True))
        masks = {value: get_keras_mask(values[value]) for value in self.partition.frontier}
        self._masked = [value for value, mask in masks.items() if mask is not None]
        return [tf.identity(values[value]) for value in self.partition.frontier] + [
            masks[value] for value in self._masked
        ]

    def suffix(self, context: NoiseContext, frontier: Sequence[Tensor]) -> list[Tensor]:
        """Outputs of S * B rows, pass-major."""
        if self.partition is None:
            context.wide = True
            wide = [context.widen(tensor) for tensor in frontier]
            return [single_precision(tensor) for tensor in keras.tree.flatten(self._signature.call(wide, False))]
        narrow = dict(zip(self.partition.frontier, frontier[: len(self.partition.frontier)], strict=True))
        masks = dict(zip(self._masked, frontier[len(self.partition.frontier) :], strict=True))
        wide_values: dict[int, Tensor] = {}

        def narrow_value(value: int) -> Tensor:
            tensor = tf.identity(narrow[value])
            if value in masks:
                set_keras_mask(tensor, masks[value])
            return tensor

        def widened(value: int) -> Tensor:
            if value not in wide_values:
                wide_values[value] = context.widen(narrow[value])
                if value in masks:
                    set_keras_mask(wide_values[value], context.widen(masks[value]))
            return wide_values[value]

        for step in self.partition.suffix:
            sources = set(step.reads.values())
            context.wide = not step.widens or any(self.partition.wide[value] for value in sources)
            given = {value: widened(value) if context.wide else narrow_value(value) for value in sources}
            written = keras.tree.flatten(step.call({key: given[value] for key, value in step.reads.items()}))
            for tensor in [] if context.wide else written:
                # Keras hands a mask on from input to output; these outputs have more rows than it has.
                mask = get_keras_mask(tensor)
                if mask is not None:
                    set_keras_mask(tensor, context.widen(mask))
            wide_values.update(zip(step.writes, written, strict=True))
        return [single_precision(widened(value)) for value in self.partition.outputs]


def single_precision(tensor: Tensor) -> Tensor:
    """NumPy has no bfloat16 and JSON no half precision: both are given as float32, which holds them exactly."""
    return tf.cast(tensor, tf.float32) if tensor.dtype in (tf.float16, tf.bfloat16) else tensor


def partition_of(model: Any, found: DiscoveredSites) -> Partition | None:
    """Prefix and suffix, where there are sites and the graph is known."""
    sites = {id(site.source.layer): site.source for site in found.active}
    if not sites:
        return None

    def holds_site(operation: Any) -> bool:
        if not isinstance(operation, keras.layers.Layer):
            return False
        return any(id(layer) in sites for layer in flatten_layers(operation))

    def widens(operation: Any) -> bool:
        if id(operation) in sites:
            return sites[id(operation)].widens and not inner_layers(operation)
        return attends_with_noise(operation)

    return partition_graph(model, holds_site, widens)
