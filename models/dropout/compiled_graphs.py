"""The compiled graphs of one stochastic model, each traced once and then fixed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from thinned.models.dropout.block_reduction import Classes, Summary, summarise
from thinned.models.dropout.noise.noise_context import Draw, NoiseContext
from thinned.models.dropout.noise.philox import RandomWords
from thinned.models.dropout.noise.samplers import Sampling
from thinned.models.dropout.partition.partition_runner import PartitionRunner
from thinned.models.dropout.partition.signature import ModelSignature
from thinned.models.dropout.sites.discovery import DiscoveredSites
from thinned.models.dropout.sites.layer_patching import TRACING, patched
from thinned.models.dropout.sites.noise_layers import NoiseShape, SiteLayer

__all__ = ["GraphKey", "Graphs", "Off", "call_flat", "run_arguments"]

Tensor = Any
_WIDTHS = {"alone": 1, "shared": 2, "several": 3}  # arguments that say what to draw, before those that say of what
_HEAD = 4  # rows, passes, seed, first pass


class GraphKey(NamedTuple):
    """Which graph.

    `body` is "prefix" (inputs to frontier), "suffix" (frontier to passes), "whole" (inputs to passes), "summary"
    (inputs to summaries of passes), "rest" (frontier to summaries), or "spread" (how far passes differ behind each
    site). `rows` belong to one request ("alone"), to requests that share a draw but not its length ("shared"), or to
    requests that each have a seed of their own ("several").
    """

    body: Literal["prefix", "suffix", "whole", "summary", "rest", "spread"]
    sampling: Sampling = "stratified"
    rows: Literal["alone", "shared", "several"] = "alone"


class Graphs:
    """Traces graphs when they are first asked for. Concrete functions never trace again, whatever the sizes.

    Args:
        model: The Keras model.
        interface: How it is called.
        found: Its sites.
        program: Its plan.
    """

    def __init__(self, model: Any, interface: ModelSignature, found: DiscoveredSites, program: PartitionRunner) -> None:
        self._model = model
        self._interface = interface
        self._survey = found
        self._program = program
        self._numbers = {id(site.source): site.number for site in found.active}
        self._compiled: dict[GraphKey, Any] = {}
        self.classes: tuple[Classes | None, ...] = ()
        """For each output, how its last axis is to be read where it holds classes."""

    @property
    def traced(self) -> int:
        """How many graphs were traced: constant once a model is warm."""
        return len(self._compiled)

    def run(self, key: GraphKey, *args: Any) -> list[Tensor]:
        """Run a graph on arrays or tensors."""
        return call_flat(self.get(key), args)

    def get(self, key: GraphKey) -> Any:
        """A graph as a concrete function."""
        compiled = self._compiled.get(key)
        if compiled is None:
            with TRACING:
                compiled = self._compiled.get(key) or self._trace(key)
                self._compiled[key] = compiled
        return compiled

    def widest_row(self, key: GraphKey) -> int:
        """Bytes that one row takes in the widest tensor of a graph, as far as lengths are known."""
        tensors = (tensor for operation in self.get(key).graph.get_operations() for tensor in operation.outputs)
        # Floating point alone: random words and booleans are for a pass, not for each of its rows.
        shapes = (tensor.shape for tensor in tensors if tensor.dtype.is_floating)
        known = (shape[1:] for shape in shapes if shape.rank and shape[0] is None)
        return 4 * max((math.prod(n or 1 for n in shape) for shape in known), default=1)

    def trace_off(self, body: Callable[..., Sequence[Tensor]], signature: Sequence[tf.TensorSpec]) -> Any:
        """Trace `body` with every site switched off."""
        with patched(self._model, self._survey.sources, lambda source: Off()):
            return tf.function(body, autograph=False).get_concrete_function(*signature)

    def _trace(self, key: GraphKey) -> Any:
        stochastic: list[_On] = []

        def here_of(source: SiteLayer) -> Off:
            number = self._numbers.get(id(source))
            if number is None:
                return Off()
            stochastic.append(_On(number))
            return stochastic[-1]

        if key.body not in ("prefix", "suffix", "spread"):
            return tf.function(self._body(key, stochastic), autograph=False).get_concrete_function(
                *self._signature(key)
            )
        with patched(self._model, self._survey.sources, here_of):
            function = tf.function(self._body(key, stochastic), autograph=False)
            return function.get_concrete_function(*self._signature(key))

    def _signature(self, key: GraphKey) -> list[tf.TensorSpec]:
        if key.body == "prefix":
            return list(self._interface.signature)
        head = [tf.TensorSpec([_HEAD], tf.int64)]
        if key.rows == "shared":
            head += [tf.TensorSpec([None], tf.int32)]
        if key.rows == "several":
            head += [tf.TensorSpec([3, None], tf.int64), tf.TensorSpec([None], tf.int32)]
        if key.body in ("suffix", "rest"):
            frontier = self.get(GraphKey("prefix")).outputs
            return head + [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in frontier]
        return head + list(self._interface.signature)

    def _body(self, key: GraphKey, stochastic: Sequence[_On]) -> Callable[..., list[Tensor]]:
        width = _WIDTHS[key.rows]

        def suffix(*args: Tensor) -> list[Tensor]:
            return self._draw(key, stochastic, args[:width], args[width:])[1]

        def whole(*args: Tensor) -> list[Tensor]:
            # Graphs call each other, so that each part of the model is traced once; TensorFlow makes one graph of it.
            frontier = self.get(GraphKey("prefix"))(*args[width:])
            return list(self.get(key._replace(body="suffix"))(*args[:width], *frontier))

        def summaries(*args: Tensor) -> list[Tensor]:
            drawn = self.get(key._replace(body="suffix" if key.body == "rest" else "whole"))(*args)
            rows, count, _, first = tf.unstack(args[0])
            limits = None
            if key.rows == "shared":
                limits = args[1]
            elif key.rows == "several":
                limits = tf.gather(tf.cast(args[1][2], tf.int32), args[2])
            made = [
                summarise(_by_pass(output, count, rows), first, classes, limits)
                for output, classes in zip(drawn, self.classes, strict=True)
            ]
            return [part for summary in made for part in summary if part is not None]

        def spread(*args: Tensor) -> list[Tensor]:
            passes, outputs = self._draw(key, stochastic, args[:width], self._program.prefix(args[width:]))
            # What a loop's body draws belongs to another graph, out of reach from here.
            met = [tensor for tensor in passes.met if tensor.graph is outputs[0].graph]
            return [tf.reduce_max(tf.reduce_max(tensor, axis=0) - tf.reduce_min(tensor, axis=0)) for tensor in met]

        bodies: Mapping[str, Callable[..., list[Tensor]]] = {
            "prefix": lambda *inputs: self._program.prefix(inputs),
            "suffix": suffix,
            "whole": whole,
            "summary": summaries,
            "rest": summaries,
            "spread": spread,
        }
        return bodies[key.body]

    def _draw(
        self, key: GraphKey, stochastic: Sequence[_On], head: Sequence[Tensor], frontier: Sequence[Tensor]
    ) -> tuple[NoiseContext, list[Tensor]]:
        """Draw the passes that `head` names, and run the suffix on them."""
        rows, count = tf.cast(head[0][0], tf.int32), tf.cast(head[0][1], tf.int32)
        several = key.rows == "several"
        seeds, first = (head[1][0], head[1][1]) if several else (head[0][2:3], head[0][3:4])
        passes = NoiseContext(
            RandomWords(seeds, head[2] if several else None),
            first=first,
            count=count,
            rows=rows,
            sampling=key.sampling,
            layouts=self._survey.layouts,
        )
        for site in stochastic:
            site.passes = passes
        return passes, self._program.suffix(passes, frontier)

    def unpack(self, parts: Sequence[Tensor]) -> list[Summary]:
        """The summaries of each output, as NumPy arrays, from what a "summary" or "rest" graph gave."""
        left = iter(parts)
        return [
            Summary(*(next(left).numpy() if there else None for there in (True, True, bool(c), bool(c))))
            for c in self.classes
        ]


def call_flat(concrete: Any, args: Sequence[Any]) -> list[Tensor]:
    """Call a concrete function on its flat arguments.

    Binding them to its signature, as its own call does, takes as long as a small network (TensorFlow 2.21). This goes
    past that by a private door; where that door is gone, the public one does.
    """
    tensors = [arg if isinstance(arg, tf.Tensor) else tf.constant(arg) for arg in args]
    inner = getattr(getattr(concrete, "_inference_function", None), "call_preflattened", None)
    if inner is None:
        return list(concrete(*tensors))
    return list(inner(tensors + concrete.captured_inputs))


def run_arguments(rows: int, count: int, seed: int, first: int) -> npt.NDArray[np.int64]:
    """What every graph is told: rows B, passes S, the seed and the first pass (both unused for "several")."""
    return np.array([rows, count, seed, first], np.int64)


def _by_pass(output: Tensor, count: Tensor, rows: Tensor) -> Tensor:
    """(S * B, ...) to (S, B, ...)."""
    tail = [tf.shape(output, tf.int64)[axis] if n is None else n for axis, n in enumerate(output.shape) if axis]
    return tf.reshape(output, [count, rows, *tail])


class Off:
    """Armed with nothing: the site passes its input on."""

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        """No noise."""
        return None

    def seen(self, training: bool | None) -> None:
        """Nothing to note."""

    def narrow(self) -> bool:
        """Nothing widens what no noise touches."""
        return False


class _On(Off):
    """Armed with the passes of the graph under construction."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.passes: NoiseContext | None = None

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        return None if self.passes is None else self.passes.draw(self.number)

    def narrow(self) -> bool:
        return self.passes is not None and not self.passes.wide
