"""Split a model's graph into what runs once and what runs in every pass.

A value is *narrow* when no noise has touched it: it has one row for each row of the request. It is *wide* when it
depends on a site: it has one row for each row and pass. Operations on narrow values only are the prefix; all others
are the suffix; the narrow values that the suffix reads are the frontier. A nested model that holds a site is opened
up, so that only what lies behind its first site is suffix. A layer whose inside is not known (a subclassed model,
multi-head attention) is one operation, and suffix as a whole if it holds a site.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from thinned.models.compat.keras import (
    enter_functional,
    flatten_layers,
    functional_graph,
    nodes_in_order,
    takes_training_from_context,
    training_default,
)

__all__ = ["Partition", "Step", "forced_layers", "partition_graph"]


@dataclass(frozen=True)
class Step:
    """One operation of the flattened graph.

    `call` runs it on values given by `id` of the symbolic tensor they stand for; `reads` maps those ids to value
    numbers.
    """

    operation: Any
    call: Callable[[dict[int, Any]], Any]
    reads: dict[int, int]
    writes: tuple[int, ...]
    wide: bool
    widens: bool


@dataclass
class Partition:
    """The steps in order, and which values cross from the prefix to the suffix."""

    steps: list[Step] = field(default_factory=list)
    wide: list[bool] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    @property
    def prefix(self) -> list[Step]:
        """Steps that run once."""
        return [step for step in self.steps if not step.wide]

    @property
    def suffix(self) -> list[Step]:
        """Steps that run in every pass."""
        return [step for step in self.steps if step.wide]

    @property
    def frontier(self) -> list[int]:
        """Narrow values that the suffix reads, or that are outputs themselves, in the order of their numbers."""
        read = {value for step in self.suffix for value in step.reads.values()} | set(self.outputs)
        return sorted(value for value in read if not self.wide[value])

    def new_value(self, wide: bool) -> int:
        """Number a further value."""
        self.wide.append(wide)
        return len(self.wide) - 1


def partition_graph(model: Any, holds_site: Callable[[Any], bool], widens: Callable[[Any], bool]) -> Partition | None:
    """Flatten `model` and tell prefix from suffix; None when the model's graph is not known.

    Args:
        model: The Keras model.
        holds_site: Whether an operation is, or contains, an active site.
        widens: Whether an operation itself turns narrow values into wide ones.
    """
    graph = functional_graph(model)
    if graph is None:
        return None
    partition = Partition()
    partition.inputs = [partition.new_value(False) for _ in graph.inputs]
    partition.outputs = _walk(partition, graph, partition.inputs, holds_site, widens)
    return partition


def _walk(
    partition: Partition,
    graph: Any,
    inputs: Sequence[int],
    holds_site: Callable[[Any], bool],
    widens: Callable[[Any], bool],
) -> list[int]:
    values = {id(tensor): value for tensor, value in zip(graph.inputs, inputs, strict=True)}
    for node in nodes_in_order(graph):
        if any(id(tensor) not in values for tensor in node.input_tensors):
            continue
        reads = {id(tensor): values[id(tensor)] for tensor in node.input_tensors}
        inner = functional_graph(node.operation) if holds_site(node.operation) else None
        if inner is not None and _is_plain_call(node):
            entered = _enter(partition, node, inner, reads)
            written = _walk(partition, inner, entered, holds_site, widens)
        else:
            wide = holds_site(node.operation) or any(partition.wide[value] for value in reads.values())
            written = [partition.new_value(wide) for _ in node.outputs]
            step = Step(node.operation, _caller(node), reads, tuple(written), wide, widens(node.operation))
            partition.steps.append(step)
        values.update((id(tensor), value) for tensor, value in zip(node.outputs, written, strict=True))
    return [values[id(tensor)] for tensor in graph.outputs]


def _is_plain_call(node: Any) -> bool:
    """Whether a nested model is called on its inputs alone, without a mask that the caller computed."""
    kwargs = node.arguments.kwargs
    return len(node.arguments.args) == 1 and set(kwargs) <= {"training", "mask"} and kwargs.get("mask") is None


def _enter(partition: Partition, node: Any, inner: Any, reads: dict[int, int]) -> list[int]:
    """The step by which values enter a nested model: it orders, casts and shapes them as Keras does at that border."""
    wide = any(partition.wide[value] for value in reads.values())
    written = [partition.new_value(wide) for _ in inner.inputs]

    def call(tensors: dict[int, Any]) -> Any:
        args, _ = node.arguments.fill_in(tensors)
        return enter_functional(inner, args[0])

    partition.steps.append(Step(None, call, reads, tuple(written), wide, False))
    return written


def _caller(node: Any) -> Callable[[dict[int, Any]], Any]:
    operation = node.operation
    takes_training = takes_training_from_context(operation)

    def call(tensors: dict[int, Any]) -> Any:
        args, kwargs = node.arguments.fill_in(tensors)
        if takes_training:
            kwargs["training"] = False
        return operation(*args, **kwargs)

    return call


def forced_layers(model: Any) -> set[int]:
    """`id` of the layers that a functional graph calls with `training=True`, inner layers of such a call included.

    Keras writes the default of a layer's `call` into the graph as if it had been given: a layer whose default is True
    was not built so by anybody.
    """
    forced: set[int] = set()

    def walk(graph: Any) -> None:
        for node in nodes_in_order(graph):
            inner = functional_graph(node.operation)
            given = node.arguments.kwargs.get("training") is True and isinstance(node.operation, keras.layers.Layer)
            if given and training_default(node.operation) is not True:
                forced.update(id(layer) for layer in flatten_layers(node.operation))
            if inner is not None:
                walk(inner)

    graph = functional_graph(model)
    if graph is not None:
        walk(graph)
    return forced
