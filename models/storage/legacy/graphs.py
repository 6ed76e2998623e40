"""Sequential and functional models of earlier Keras, wired again by calling their layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from thinned.models.compat.messages import message_of
from thinned.models.storage.legacy.built import Built, LayerError, Maker, clean_name
from thinned.models.storage.legacy.layer_arguments import plain_value

__all__ = ["build_functional", "build_sequential"]

_RECURRENT = (keras.layers.RNN, keras.layers.Bidirectional)


def build_sequential(builder: Maker, config: Any) -> Built:
    """A Sequential model, whose configuration is a list of layers (Keras 1, early Keras 2) or holds one.

    Raises:
        LayerError: A layer has no counterpart in Keras 3.
    """
    items = config if isinstance(config, list) else config.get("layers") if isinstance(config, Mapping) else None
    if not isinstance(items, list) or not items or not all(isinstance(item, Mapping) for item in items):
        raise LayerError("its Sequential model has no layers")
    name = str(config.get("name") or "sequential") if isinstance(config, Mapping) else "sequential"
    first, started = items[0], None
    inner = first.get("config")
    if isinstance(inner, Mapping):
        label = str(inner.get("name", "layer"))
        is_input = first.get("class_name") == "InputLayer"
        started = builder.input(label if is_input else f"{label}_input", str(first.get("class_name")), inner)
        items = items[1:] if is_input else items
    children = [builder.build(item) for item in items]
    if (
        started is None
        and isinstance(config, Mapping)
        and isinstance(plain_value(config.get("build_input_shape")), list)
    ):
        shape = {"batch_input_shape": config["build_input_shape"]}
        started = builder.input("input", children[0].class_name if children else "", shape)
    if started is None and children and children[0].children is not None and isinstance(children[0].layer, keras.Model):
        inputs = getattr(children[0].layer, "inputs", None) or []
        if len(inputs) == 1:
            started = keras.Input(batch_shape=inputs[0].shape, dtype=inputs[0].dtype, name=inputs[0].name)
    layers = [child.layer for child in children]
    try:
        model = keras.Sequential(layers if started is None else [started, *layers], name=clean_name(name))
    except Exception as error:  # whatever Keras raises when shapes do not fit
        raise LayerError(f"its model {name!r} could not be built: {message_of(error)}") from error
    return Built(name, "Sequential", model, children)


def build_functional(builder: Maker, config: Any) -> Built:
    """A functional model.

    Raises:
        LayerError: A layer has no counterpart in Keras 3, or the graph leads nowhere.
    """
    if not isinstance(config, Mapping) or not isinstance(config.get("layers"), list):
        raise LayerError(
            "its model has no layers; a model with a call of its own cannot be read from its configuration"
        )
    graph = _Graph(builder)
    for item in config["layers"]:
        graph.add(item)
    graph.run(config.get("output_layers"))
    name = str(config.get("name") or "model")
    try:
        ends = [graph.structure(config.get(key)) for key in ("input_layers", "output_layers")]
        model = keras.Model(*ends, name=clean_name(name))
    except LayerError:
        raise
    except Exception as error:  # whatever Keras raises on a graph that does not hang together
        raise LayerError(f"its model {name!r} could not be built: {message_of(error)}") from error
    return Built(name, "Functional", model, graph.built)


class _Graph:
    """The layers of a functional model, and what each call of them gave."""

    def __init__(self, builder: Maker) -> None:
        self.built: list[Built] = []
        self._builder = builder
        self._by_name: dict[str, Built | None] = {}
        self._outputs: dict[tuple[str, int], list[Any]] = {}
        self._waiting: list[tuple[str, int, Any]] = []
        self._calls: dict[str, int] = {}
        self._offsets: dict[str, int] = {}

    def add(self, item: Any) -> None:
        """Make a layer, and note its calls."""
        config = item.get("config") if isinstance(item, Mapping) else None
        name = item.get("name") or (config.get("name") if isinstance(config, Mapping) else None)
        if not isinstance(name, str) or name in self._by_name:
            raise LayerError(f"its configuration has a layer without a name of its own ({name!r})")
        if item.get("class_name") == "InputLayer" and isinstance(config, Mapping):
            tensor = self._builder.input(name, "InputLayer", config)
            if tensor is None:
                raise LayerError(f"its input {name!r} has no shape")
            self._by_name[name] = None
            self._outputs[name, 0] = [tensor]
            return
        made = self._builder.build(item)
        made.name = name
        self.built.append(made)
        self._by_name[name] = made
        nodes = item.get("inbound_nodes")
        nodes = nodes if isinstance(nodes, list) else []
        self._calls[name] = len(nodes)
        self._waiting += [(name, index, node) for index, node in enumerate(nodes)]

    def run(self, ends: Any) -> None:
        """Call every layer once for each of its nodes, as soon as what it takes is there.

        Args:
            ends: `output_layers` of the model.
        """
        self._find_offsets(ends)
        while self._waiting:
            left = []
            for name, index, node in self._waiting:
                if all(self._key(reference) in self._outputs for reference in self._references(node)):
                    self._outputs[name, index] = self._call(name, node)
                else:
                    left.append((name, index, node))
            if len(left) == len(self._waiting):
                raise LayerError(f"its layer {left[0][0]!r} takes what no layer gives")
            self._waiting = left

    def structure(self, value: Any) -> Any:
        """The tensors that `input_layers` or `output_layers` names."""
        value = plain_value(value)
        if isinstance(value, Mapping):
            return {key: self._tensor(item) for key, item in value.items()}
        if self._is_reference(value):
            return self._tensor(value)
        if not isinstance(value, list) or not value:
            raise LayerError("its model names no inputs or no outputs")
        tensors = [self._tensor(item) for item in value]
        return tensors[0] if len(tensors) == 1 else tensors

    def _find_offsets(self, ends: Any) -> None:
        """A model inside a model counts its calls from 1, as it was called once when it was made; but not always."""
        for node in [*(node for _, _, node in self._waiting), ends]:
            for name, index, *_ in self._references(node):
                made = self._by_name.get(name)
                if made is not None and made.children is not None and index >= self._calls[name]:
                    self._offsets[name] = 1

    def _key(self, reference: list[Any]) -> tuple[str, int]:
        name, index = reference[0], reference[1]
        made = self._by_name.get(name)
        if made is not None and made.children is not None and self._calls[name] == 1:
            return name, 0
        return name, index - self._offsets.get(name, 0)

    def _tensor(self, reference: Any) -> Any:
        if not self._is_reference(reference):
            raise LayerError("its graph is not written as Keras writes one")
        outputs = self._outputs.get(self._key(reference), [])
        if not 0 <= reference[2] < len(outputs):
            raise LayerError(f"its graph refers to an output of {reference[0]!r} that there is not")
        return outputs[reference[2]]

    def _is_reference(self, value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) in (3, 4)
            and isinstance(value[0], str)
            and value[0] in self._by_name
            and all(isinstance(number, int) for number in value[1:3])
        )

    def _references(self, node: Any) -> list[list[Any]]:
        """Everything in a node that refers to a tensor."""
        found, waiting = [], [node]
        while waiting:
            item = waiting.pop()
            if isinstance(item, Mapping) and item.get("class_name") == "__keras_tensor__":
                item = _history(item)
            if self._is_reference(item):
                found.append(item)
                waiting += item[3:]
            elif isinstance(item, Mapping):
                waiting += item.values()
            elif isinstance(item, list):
                waiting += item
        return found

    def _value(self, value: Any) -> Any:
        """An argument of a call, with tensors in place of what refers to them."""
        value = plain_value(value)
        if isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__":
            return self._tensor(_history(value))
        if self._is_reference(value):
            return self._tensor(value)
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if isinstance(value, Mapping):
            if "class_name" in value:
                raise LayerError(f"its graph hands a {value['class_name']!r} to a layer, which is not supported")
            return {key: self._value(item) for key, item in value.items()}
        return value

    def _arguments(self, node: Any) -> tuple[list[Any], dict[str, Any]]:
        """What a layer was called with: as Keras 3 writes it, or the tensors and the rest beside the first."""
        if isinstance(node, Mapping) and "args" in node:
            return [self._value(value) for value in node["args"]], node.get("kwargs") or {}
        if isinstance(node, Mapping):
            rest: Any = next((item[3] for item in node.values() if self._is_reference(item) and len(item) > 3), {})
            return [{key: self._tensor(item) for key, item in node.items()}], rest
        listed = [node] if self._is_reference(node) else node
        if not isinstance(listed, list) or not listed:
            raise LayerError("its graph is not written as Keras writes one")
        rest = listed[0][3] if self._is_reference(listed[0]) and len(listed[0]) > 3 else {}
        tensors = [self._tensor(item) for item in listed]
        return [tensors[0] if len(tensors) == 1 else tensors], rest

    def _call(self, name: str, node: Any) -> list[Any]:
        made = self._by_name[name]
        assert made is not None
        arguments, rest = self._arguments(node)
        if not isinstance(rest, Mapping):
            raise LayerError("its graph is not written as Keras writes one")
        named = {key: self._value(value) for key, value in rest.items() if value is not None}
        if arguments and isinstance(made.layer, _RECURRENT) and isinstance(arguments[0], list):
            first, *state = arguments[0]
            arguments, named = [first], {"initial_state": state, **named} if state else named
        try:
            return list(keras.tree.flatten(made.layer(*arguments, **named)))
        except Exception as error:  # whatever Keras raises on inputs that a layer cannot take
            raise LayerError(
                f"its layer {name!r} ({made.class_name}) could not be called: {message_of(error)}"
            ) from error


def _history(tensor: Mapping[str, Any]) -> Any:
    config = tensor.get("config")
    return config.get("keras_history") if isinstance(config, Mapping) else None
