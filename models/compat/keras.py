"""Private names of Keras 3.15 that the engine uses, each with the reason. No other module reaches behind Keras's API.

Keras offers no public way to walk a model's layers and graph, or to say how a layer draws its noise.
`tests/models/compat/test_keras.py` fails when one of these gets a public name, or is gone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import keras

# The mask that a tensor carries from layer to layer (an embedding's `mask_zero`).
from keras.src.backend import get_keras_mask, set_keras_mask

# The mixin by which the cells of SimpleRNN, GRU, LSTM and ConvLSTM draw their masks.
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell

# The class of functional models: `keras.Model` builds one, and no public name stands for it.
from keras.src.models.functional import Functional

__all__ = [
    "DropoutRNNCell",
    "Producer",
    "attention_dropout",
    "attention_einsum",
    "clear_losses",
    "drops_attention_scores",
    "enter_functional",
    "flatten_layers",
    "functional_graph",
    "get_keras_mask",
    "inner_layers",
    "input_tensors",
    "inputs_structure",
    "is_augmentation",
    "is_built_in",
    "layer_noise_shape",
    "nodes_in_order",
    "non_trainable_variables",
    "outputs_structure",
    "producer",
    "sequentials_built_once",
    "set_keras_mask",
    "takes_mask",
    "takes_training",
    "takes_training_from_context",
    "training_default",
]

# The methods of attention layers that are replaced while a graph is traced.
COMPUTE_ATTENTION = "_compute_attention"
"""Of `MultiHeadAttention` and `GroupQueryAttention`: from projected query, key and value to the attended value."""
APPLY_SCORES = "_apply_scores"
"""Of `Attention` and `AdditiveAttention`: softmax, dropout and the sum of values."""


class Producer(NamedTuple):
    """Where a symbolic tensor comes from: the operation, which call of it, which of its outputs."""

    operation: Any
    node_index: int
    tensor_index: int


def flatten_layers(layer: Any) -> list[Any]:
    """A layer and all layers inside it (`Model.layers` gives one level, and nothing inside a custom layer)."""
    return list(layer._flatten_layers())


def inner_layers(layer: Any) -> list[Any]:
    """The layers that a layer holds itself, in the order in which they were set."""
    return list(layer._layers)


def functional_graph(operation: Any) -> Any | None:
    """The functional graph that an operation runs, or None when it is not known."""
    if isinstance(operation, keras.Sequential) and type(operation).call is keras.Sequential.call:
        return operation._functional
    if isinstance(operation, Functional) and type(operation).call is Functional.call:
        return operation
    return None


def nodes_in_order(graph: Any) -> Iterator[Any]:
    """The nodes of a functional graph that compute something, in Keras's own order."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.operation is not None and not node.is_input:
                yield node


@contextmanager
def sequentials_built_once() -> Iterator[None]:
    """Have `Sequential.from_config` build a model once. By itself it builds it anew behind each layer that it adds.

    Of 400 layers that is 80,000 calls instead of 400. Not for several threads at a time.
    """
    original = keras.Sequential.__dict__["from_config"]

    def from_config(cls: Any, config: Any, custom_objects: Any = None) -> Any:
        def blank(**names: Any) -> Any:
            model = cls(**names)
            model.add = partial(type(model).add, model, rebuild=False)
            return model

        shape = config.get("build_input_shape")
        bare = {key: value for key, value in config.items() if key != "build_input_shape"}
        model = original.__func__(blank, bare, custom_objects)
        del model.add
        if model._layers:
            model._maybe_rebuild()
        if not model._functional and isinstance(shape, list | tuple) and shape:
            model.build(shape)
        return model

    keras.Sequential.from_config = classmethod(from_config)
    try:
        yield
    finally:
        keras.Sequential.from_config = original


def inputs_structure(graph: Any) -> Any:
    """The nesting in which a functional graph takes its inputs."""
    return graph._inputs_struct


def outputs_structure(graph: Any) -> Any:
    """The nesting in which a functional graph gives its outputs."""
    return graph._outputs_struct


def enter_functional(graph: Any, inputs: Any) -> Any:
    """Inputs ordered, cast and shaped as a functional graph does at its border."""
    return graph._standardize_inputs(inputs)


def producer(tensor: Any) -> Producer:
    """Where a symbolic tensor comes from."""
    history = tensor._keras_history
    return Producer(history.operation, history.node_index, history.tensor_index)


def input_tensors(made: Producer) -> list[Any]:
    """What the call that produced a tensor was given."""
    return list(made.operation._inbound_nodes[made.node_index].input_tensors)


def takes_mask(layer: Any) -> bool:
    """Whether a layer's `call` has an argument `mask`."""
    return bool(layer._call_has_mask_arg)


def takes_training(layer: Any) -> bool:
    """Whether a layer's `call` has an argument `training`."""
    return bool(layer._call_has_training_arg)


def takes_training_from_context(operation: Any) -> bool:
    """Whether Keras hands `training` to a call of this operation inside another's call."""
    return "training" in getattr(operation, "_call_context_args", {})


def training_default(layer: Any) -> Any:
    """The default of the argument `training` of a layer's `call`; None where it has none."""
    parameter = inspect.signature(type(layer).call).parameters.get("training")
    return None if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def clear_losses(model: Any) -> None:
    """Drop the losses of the last call: activity regularisers leave tensors of a finished graph on their layers."""
    model._clear_losses()


def layer_noise_shape(layer: Any, x: Any) -> tuple[Any, ...] | None:
    """The noise shape by which a dropout layer would draw for `x`; None where it has none."""
    own: Callable[[Any], Any] | None = getattr(layer, "_get_noise_shape", None)
    shape = own(x) if own else getattr(layer, "noise_shape", None)
    return None if shape is None else tuple(shape)


def attention_dropout(layer: Any) -> Any:
    """The `Dropout` inside multi-head attention that drops attention weights."""
    return layer._dropout_layer


def attention_einsum(layer: Any) -> str:
    """How multi-head attention sums values by its weights."""
    return str(layer._combine_equation)


def drops_attention_scores(layer: Any) -> bool:
    """Whether a layer is `Attention` or a kin of it whose `_apply_scores` is Keras's own."""
    attention = keras.layers.Attention
    return isinstance(layer, attention) and type(layer)._apply_scores is attention._apply_scores


def is_augmentation(layer: Any) -> bool:
    """Keras's preprocessing layers that are random when training, with `training=True` as their default."""
    return type(layer).__module__.startswith("keras.src.layers.preprocessing") and takes_training(layer)


def is_built_in(layer: Any) -> bool:
    """Whether a layer's class, and those of all layers inside it, are Keras's own."""
    return all(type(inner).__module__.startswith("keras.src.") for inner in flatten_layers(layer))


def non_trainable_variables(layer: Any) -> list[Any]:
    """A layer's own variables that no training step changes by gradient: moving averages, seed generators."""
    return list(layer._non_trainable_variables)
