"""Run a plan on tensors: the prefix on the rows of a request, the suffix on its rows in every pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend import get_keras_mask, set_keras_mask  # private, and their only names (Keras 3.15)

from thinned.models.dropout.noise.noise_context import NoiseContext
from thinned.models.dropout.partition.graph_partition import Plan, partition_graph
from thinned.models.dropout.partition.signature import ModelSignature
from thinned.models.dropout.sites.attention import attends_with_noise
from thinned.models.dropout.sites.discovery import DiscoveredSites

__all__ = ["PartitionRunner", "partition_of", "single_precision"]

Tensor = Any


class PartitionRunner:
    """Runs a plan on tensors, the prefix narrow and the suffix wide. Without a plan all of the model is suffix."""

    def __init__(self, plan: Plan | None, interface: ModelSignature) -> None:
        self.plan = plan
        self._interface = interface
        self._masked: list[int] = []

    def prefix(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The frontier of (B, ...) inputs, followed by the Keras masks of those frontier tensors that carry one."""
        if self.plan is None:
            return list(inputs)
        values = dict(zip(self.plan.inputs, inputs, strict=True))
        for step in self.plan.prefix:
            tensors = {key: values[value] for key, value in step.reads.items()}
            values.update(zip(step.writes, keras.tree.flatten(step.call(tensors)), strict=True))
        masks = {value: get_keras_mask(values[value]) for value in self.plan.frontier}
        self._masked = [value for value, mask in masks.items() if mask is not None]
        return [tf.identity(values[value]) for value in self.plan.frontier] + [masks[value] for value in self._masked]

    def suffix(self, passes: NoiseContext, frontier: Sequence[Tensor]) -> list[Tensor]:
        """Outputs of S * B rows, pass-major."""
        if self.plan is None:
            passes.wide = True
            wide = [passes.widen(tensor) for tensor in frontier]
            return [single_precision(tensor) for tensor in keras.tree.flatten(self._interface.call(wide, False))]
        narrow = dict(zip(self.plan.frontier, frontier[: len(self.plan.frontier)], strict=True))
        masks = dict(zip(self._masked, frontier[len(self.plan.frontier) :], strict=True))
        wide_values: dict[int, Tensor] = {}

        def narrow_value(value: int) -> Tensor:
            tensor = tf.identity(narrow[value])
            if value in masks:
                set_keras_mask(tensor, masks[value])
            return tensor

        def widened(value: int) -> Tensor:
            if value not in wide_values:
                wide_values[value] = passes.widen(narrow[value])
                if value in masks:
                    set_keras_mask(wide_values[value], passes.widen(masks[value]))
            return wide_values[value]

        for step in self.plan.suffix:
            sources = set(step.reads.values())
            passes.wide = not step.widens or any(self.plan.wide[value] for value in sources)
            given = {value: widened(value) if passes.wide else narrow_value(value) for value in sources}
            written = keras.tree.flatten(step.call({key: given[value] for key, value in step.reads.items()}))
            for tensor in [] if passes.wide else written:
                # Keras hands a mask on from input to output; these outputs have more rows than it has.
                mask = get_keras_mask(tensor)
                if mask is not None:
                    set_keras_mask(tensor, passes.widen(mask))
            wide_values.update(zip(step.writes, written, strict=True))
        return [single_precision(widened(value)) for value in self.plan.outputs]


def single_precision(tensor: Tensor) -> Tensor:
    """NumPy has no bfloat16 and JSON no half precision: both are given as float32, which holds them exactly."""
    return tf.cast(tensor, tf.float32) if tensor.dtype in (tf.float16, tf.bfloat16) else tensor


def partition_of(model: Any, found: DiscoveredSites) -> Plan | None:
    """Prefix and suffix, where there are sites and the graph is known."""
    sites = {id(site.source.layer): site.source for site in found.active}
    if not sites:
        return None

    def holds_site(operation: Any) -> bool:
        if not isinstance(operation, keras.layers.Layer):
            return False
        return any(id(layer) in sites for layer in operation._flatten_layers())

    def widens(operation: Any) -> bool:
        if id(operation) in sites:
            return sites[id(operation)].widens and not operation._layers
        return attends_with_noise(operation)

    return partition_graph(model, holds_site, widens)
