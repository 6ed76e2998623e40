"""What the graph of a traced model must not hold: noise that nobody replaces, noise in a loop, writes to variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from thinned.models.dropout.sites.custom_noise import is_registered
from thinned.models.dropout.sites.noise_layers import SiteLayer
from thinned.models.errors import UnknownNoiseError, UnsupportedModelError

__all__ = ["RandomOpAttribution", "refuse_leftover_noise", "refuse_repeated", "refuse_unknown_noise", "refuse_writes"]

_RANDOM = re.compile(
    r"Random(?!GetKeyCounter|GetAlg)|Multinomial|TruncatedNormal|StandardNormal|StatefulUniform|RngReadAndSkip|StatelessShuffle|Poisson"
)
_COUNTER = "StatelessRandomUniformFullIntV2"
"""The only random operation of the engine itself."""
_PYTHON = re.compile(r"^(Eager)?PyFunc(Stateless)?$")
_WRITES = re.compile(r"^Assign\w*VariableOp$|^ResourceScatter|^ResourceStridedSliceAssign")


def _nodes(graph: Any) -> Iterable[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def refuse_unknown_noise(model: Any, graph: Any, attribution: RandomOpAttribution, *, when: str) -> None:
    """Refuse a graph with noise left in it, or with Python code under training, in which noise cannot be seen.

    Raises:
        UnknownNoiseError: Names the layers.
    """
    operations = [node.op for node in _nodes(graph)]
    in_python = when == "training" and sum(map(bool, map(_PYTHON.search, operations))) > attribution.registered_python
    if not in_python and not any(map(_RANDOM.search, operations)):
        return
    named = ", ".join(f"'{path}' ({cls})" for path, cls in sorted(attribution.owners.items()))
    named = named or f"'{model.name}' ({type(model).__name__})"
    if in_python:
        raise UnknownNoiseError(
            f"Layer {named} runs Python or NumPy code when training (tf.numpy_function, tf.py_function), in which "
            "nobody can see whether it draws noise. Say how it draws with thinned.register_noise in the module given "
            "by --module (armed=None if it draws none), or write it with keras.ops."
        )
    raise UnknownNoiseError(
        f"Layer {named} draws its own noise when {when}, in a way that cannot be replaced, so its share of the "
        "variance would be missing. Say how it draws with thinned.register_noise in the module given by --module "
        "(armed=None keeps it off), or build it from Keras's own Dropout, GaussianDropout or GaussianNoise layers."
    )


def refuse_leftover_noise(model: Any, graph: Any) -> None:
    """Refuse a graph that is to be served with random operations of its own: it would answer anew each time.

    Raises:
        UnknownNoiseError: Names the operations.
    """
    left = {node.op for node in _nodes(graph) if _RANDOM.search(node.op) and node.op != _COUNTER}
    if left:
        raise UnknownNoiseError(
            f"Model '{model.name}' draws by {', '.join(sorted(left))} where it was not seen to draw before. Say how "
            "its layers draw with thinned.register_noise in the module given by --module."
        )


class RandomOpAttribution:
    """Finds out whose call put a random operation into the graph: the innermost layer that was running."""

    def __init__(self, paths: dict[int, str]) -> None:
        self.owners: dict[str, str] = {}
        self.registered_python = 0
        """Operations in Python of layers of which `register_noise` was told how they draw."""
        self._paths = paths
        self._attributed: set[int] = set()

    def watch(self, layer: Any) -> Callable[..., Any]:
        """`layer.call`, which notes the random operations that it leaves behind."""
        call = layer.call

        def watched(*args: Any, **kwargs: Any) -> Any:
            graph = tf.compat.v1.get_default_graph()
            before = len(graph.get_operations())
            result = call(*args, **kwargs)
            for operation in graph.get_operations()[before:]:
                in_python = _PYTHON.search(operation.type)
                if not (in_python or _RANDOM.search(operation.type)) or id(operation) in self._attributed:
                    continue
                self._attributed.add(id(operation))
                if in_python and is_registered(layer):
                    self.registered_python += 1
                else:
                    self.owners[self._paths.get(id(layer), layer.name)] = type(layer).__name__
            return result

        return watched


def refuse_writes(graph: Any) -> None:
    """Refuse a model that changes a variable when it only predicts.

    Raises:
        UnsupportedModelError: Names where.
    """
    writes = sorted({node.name.rsplit("/", 1)[0] for node in _nodes(graph) if _WRITES.match(node.op)})
    if writes:
        raise UnsupportedModelError(
            f"The model changes a variable when it only predicts (at {', '.join(writes)}), so one request would change "
            "the answer to the next. Build recurrent layers with stateful=False, and call BatchNormalization without "
            "training=True."
        )


def refuse_undefined_plain_answer(path: str, source: SiteLayer) -> None:
    """Refuse a layer that draws uniform numbers even when the model predicts: nobody said what it gives without noise.

    Raises:
        UnknownNoiseError: Names the layer.
    """
    raise UnknownNoiseError(
        f"Layer '{path}' ({source.kind}) draws random numbers even when the model only predicts, so that it has no "
        "answer without noise. Say what that is: thinned.register_noise(cls, armed=..., off=...) in the module that "
        "--module gives; or have its call draw only when training."
    )


def refuse_repeated(path: str, source: SiteLayer) -> None:
    """Refuse a site in a loop, whose turns would all get the same noise.

    Raises:
        UnknownNoiseError: Names the layer.
    """
    raise UnknownNoiseError(
        f"Layer '{path}' ({source.kind}) is called in a loop of the graph: an RNN over a custom cell, "
        "keras.ops.fori_loop, while_loop, scan or map, or a tf.function of the model's own. Keras "
        "draws anew in each turn; here all turns would get the same noise, and the variance would be wrong. Give "
        "an RNN a known length (--input-shape), unroll another loop (a Python loop over a known length), or draw "
        "before it."
    )
