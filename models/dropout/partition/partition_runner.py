"""Run a partition on tensors: the prefix on the rows of a request, the suffix on its rows in every pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from thinned.models.compat.keras import flatten_layers, get_keras_mask, inner_layers, is_built_in, set_keras_mask
from thinned.models.dropout.noise.noise_context import NoiseContext
from thinned.models.dropout.noise.row_layout import ROWS_FIRST, RowAxis, find_row_axis, run_three_ways
from thinned.models.dropout.partition.graph_partition import Partition, partition_graph
from thinned.models.dropout.partition.signature import ModelSignature
from thinned.models.dropout.sites.attention import attends_with_noise
from thinned.models.dropout.sites.discovery import DiscoveredSites

__all__ = ["FrontierPart", "PartitionRunner", "find_row_axes", "partition_of", "single_precision"]

Tensor = Any
Trace = Callable[[Callable[..., list[Tensor]]], Any]


class FrontierPart(NamedTuple):
    """A tensor of the frontier: the number of the input that it is, and where among them its Keras mask is, if any."""

    source: int | None
    mask: int | None


class PartitionRunner:
    """Runs a partition on tensors, the prefix narrow, the suffix wide. Without one all of the model is suffix."""

    def __init__(self, partition: Partition | None, signature: ModelSignature) -> None:
        self.partition = partition
        self._signature = signature
        self._masked: list[int] = []
        self.row_axes: dict[int, RowAxis | None] = {}
        """Where the rows of frontier values are, as far as it is not the first axis; None for values without rows."""

    def prefix(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The frontier of (B, ...) inputs, followed by the Keras masks of those frontier tensors that carry one.

        Every tensor is given with its rows on the first axis; one without rows is repeated for each row.
        """
        if self.partition is None:
            return list(inputs)
        values = self.frontier_values(inputs)
        rows = tf.shape(inputs[0])[0]
        masks = {value: get_keras_mask(values[value]) for value in self.partition.frontier}
        self._masked = [value for value, mask in masks.items() if mask is not None]
        moved = [self._rows_first(value, values[value], rows) for value in self.partition.frontier]
        return moved + [masks[value] for value in self._masked]

    def parts(self) -> list[FrontierPart]:
        """What the tensors that `prefix` gives are, once it was traced; the masks that follow them left out."""
        if self.partition is None:
            return [FrontierPart(i, None) for i in range(len(self._signature.inputs))]
        numbers, masks = self.partition.inputs, len(self.partition.frontier)
        return [
            FrontierPart(
                numbers.index(value) if value in numbers else None,
                masks + self._masked.index(value) if value in self._masked else None,
            )
            for value in self.partition.frontier
        ]

    def frontier_values(self, inputs: Sequence[Tensor]) -> dict[int, Tensor]:
        """All values of the prefix, as the model itself lays them out."""
        if self.partition is None:
            raise ValueError("a model without a partition has no prefix")
        values = dict(zip(self.partition.inputs, inputs, strict=True))
        for step in self.partition.prefix:
            tensors = {key: values[value] for key, value in step.reads.items()}
            values.update(zip(step.writes, keras.tree.flatten(step.call(tensors)), strict=True))
        return values

    def _rows_first(self, value: int, tensor: Tensor, rows: Tensor) -> Tensor:
        axis = self.row_axes.get(value, ROWS_FIRST)
        if axis is None:
            return tf.broadcast_to(tensor, tf.concat([[rows], tf.shape(tensor)], axis=0))
        return tf.identity(axis.rows_first(tensor, rows))

    def _rows_back(self, value: int, tensor: Tensor, rows: Tensor) -> Tensor:
        axis = self.row_axes.get(value, ROWS_FIRST)
        return tensor[0] if axis is None else tf.identity(axis.rows_back(tensor, rows))

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
            tensor = self._rows_back(value, narrow[value], context.rows)
            if value in masks:
                set_keras_mask(tensor, masks[value])
            return tensor

        def widened(value: int) -> Tensor:
            if value not in wide_values:
                rowless = self.row_axes.get(value, ROWS_FIRST) is None
                wide = narrow[value] if rowless else context.widen(narrow[value])
                wide_values[value] = self._rows_back(value, wide, context.row_passes)
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


def find_row_axes(runner: PartitionRunner, trace: Trace, examples: Sequence[Tensor]) -> dict[int, RowAxis | None]:
    """Where the rows of the frontier's values are.

    Keras's own layers keep rows on the first axis; operations and custom layers may move them, and constants have
    none. Where the prefix holds one of these, it is run on two example rows, on the same turned round, and on three.

    Args:
        runner: Runs the prefix.
        trace: `trace(body)` makes a graph of a function of the model's inputs, with no noise.
        examples: Three rows of each input.
    """
    partition = runner.partition
    if partition is None or all(_keeps_rows_first(step.operation) for step in partition.prefix):
        return {}

    def body(*inputs: Tensor) -> list[Tensor]:
        values = runner.frontier_values(inputs)
        return [tf.identity(values[value]) for value in partition.frontier]

    pair, swapped, three = run_three_ways(trace(body), examples)
    found = zip(partition.frontier, pair, swapped, three, strict=True)
    return {value: find_row_axis(two, turned, more.shape) for value, two, turned, more in found}


def _keeps_rows_first(operation: Any) -> bool:
    return operation is None or (isinstance(operation, keras.layers.Layer) and is_built_in(operation))


def single_precision(tensor: Tensor) -> Tensor:
    """What is given as float32, which holds it exactly: half precision, which JSON and NumPy lack, and true and false.

    The mean of a Boolean output over passes is the share in which it was true.
    """
    return tf.cast(tensor, tf.float32) if tensor.dtype in (tf.float16, tf.bfloat16, tf.bool) else tensor


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
