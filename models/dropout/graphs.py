"""The compiled graphs of one armed model, each traced once and then fixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf

from models.dropout.draws import Draw, Passes
from models.dropout.interface import Interface
from models.dropout.kinds import NoiseShape, SiteLayer
from models.dropout.patching import TRACING, patched
from models.dropout.program import Program
from models.dropout.sampling import Sampling
from models.dropout.summaries import Classes, Summary, summarise
from models.dropout.survey import Survey
from models.dropout.words import Words

__all__ = ["GraphKey", "Graphs", "Off", "scalars"]

Tensor = Any
_HEAD = 4  # rows, seeds, first, count


class GraphKey(NamedTuple):
    """Which graph.

    `body` is "prefix" (inputs to frontier), "suffix" (frontier to passes), "whole" (inputs to passes), "summary"
    (inputs to summaries of passes), "rest" (frontier to summaries), or "spread" (how far passes differ behind each
    site). `joined`: rows belong to several requests, each with a seed of its own.
    """

    body: Literal["prefix", "suffix", "whole", "summary", "rest", "spread"]
    sampling: Sampling = "stratified"
    joined: bool = False


class Graphs:
    """Traces graphs when they are first asked for. Concrete functions never trace again, whatever the sizes.

    Args:
        model: The Keras model.
        interface: How it is called.
        found: Its sites.
        program: Its plan.
    """

    def __init__(self, model: Any, interface: Interface, found: Survey, program: Program) -> None:
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

    def get(self, key: GraphKey) -> Any:
        """A graph as a concrete function."""
        compiled = self._compiled.get(key)
        if compiled is None:
            with TRACING:
                compiled = self._compiled.get(key) or self._trace(key)
                self._compiled[key] = compiled
        return compiled

    def trace_off(self, body: Callable[..., Sequence[Tensor]], signature: Sequence[tf.TensorSpec]) -> Any:
        """Trace `body` with every site switched off."""
        with patched(self._model, self._survey.sources, lambda source: Off()):
            return tf.function(body, autograph=False).get_concrete_function(*signature)

    def _trace(self, key: GraphKey) -> Any:
        armed: list[_On] = []

        def here_of(source: SiteLayer) -> Off:
            number = self._numbers.get(id(source))
            if number is None:
                return Off()
            armed.append(_On(number))
            return armed[-1]

        with patched(self._model, self._survey.sources, here_of):
            function = tf.function(self._body(key, armed), autograph=False)
            return function.get_concrete_function(*self._signature(key))

    def _signature(self, key: GraphKey) -> list[tf.TensorSpec]:
        several = None if key.joined else 1
        head = [
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([several], tf.int64),
            tf.TensorSpec([several], tf.int64),
            tf.TensorSpec([], tf.int32),
        ]
        if key.joined:
            head.append(tf.TensorSpec([None], tf.int32))
        if key.body == "prefix":
            return list(self._interface.signature)
        if key.body in ("suffix", "rest"):
            frontier = self.get(GraphKey("prefix")).outputs
            return head + [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in frontier]
        return head + list(self._interface.signature)

    def _body(self, key: GraphKey, armed: Sequence[_On]) -> Callable[..., list[Tensor]]:
        program = self._program

        def draw(args: Sequence[Tensor]) -> tuple[Passes, list[Tensor], Sequence[Tensor]]:
            rows, seeds, first, count = args[:_HEAD]
            owners = args[_HEAD] if key.joined else None
            given = args[_HEAD + key.joined :]
            frontier = given if key.body in ("suffix", "rest") else program.prefix(given)
            passes = Passes(
                Words(seeds, owners),
                first=first,
                count=count,
                rows=rows,
                sampling=key.sampling,
                layouts=self._survey.layouts,
            )
            for site in armed:
                site.passes = passes
            return passes, program.suffix(passes, frontier), first

        def prefix(*args: Tensor) -> list[Tensor]:
            return program.prefix(args)

        def passes(*args: Tensor) -> list[Tensor]:
            return draw(args)[1]

        def summaries(*args: Tensor) -> list[Tensor]:
            drawn, outputs, first = draw(args)
            made = [
                summarise(_by_pass(output, drawn), first[0], classes)
                for output, classes in zip(outputs, self.classes, strict=True)
            ]
            return [part for summary in made for part in summary if part is not None]

        def spread(*args: Tensor) -> list[Tensor]:
            drawn, outputs, _ = draw(args)
            # What a loop's body draws belongs to another graph, out of reach from here.
            met = [tensor for tensor in drawn.met if tensor.graph is outputs[0].graph]
            return [tf.reduce_max(tf.reduce_max(tensor, axis=0) - tf.reduce_min(tensor, axis=0)) for tensor in met]

        bodies: Mapping[str, Callable[..., list[Tensor]]] = {
            "prefix": prefix,
            "suffix": passes,
            "whole": passes,
            "summary": summaries,
            "rest": summaries,
            "spread": spread,
        }
        return bodies[key.body]

    def unpack(self, parts: Sequence[Tensor]) -> list[Summary]:
        """The summaries of each output, as NumPy arrays, from what a "summary" or "rest" graph gave."""
        left = iter(parts)
        return [
            Summary(*(next(left).numpy() if there else None for there in (True, True, bool(c), bool(c))))
            for c in self.classes
        ]


def scalars(rows: int, seed: int, first: int, count: int) -> tuple[Any, ...]:
    """The head of a graph's arguments for one request."""
    return (np.int32(rows), np.array([seed], np.int64), np.array([first], np.int64), np.int32(count))


def _by_pass(output: Tensor, passes: Passes) -> Tensor:
    """(S * B, ...) to (S, B, ...)."""
    tail = [tf.shape(output)[i] if n is None else n for i, n in enumerate(output.shape) if i]
    return tf.reshape(output, [passes.count, passes.rows, *tail])


class Off:
    """Armed with nothing: the site passes its input on."""

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        """No noise."""
        return None

    def seen(self, training: bool | None) -> None:
        """Nothing to note."""


class _On(Off):
    """Armed with the passes of the graph under construction."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.passes: Passes | None = None

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        return None if self.passes is None else self.passes.draw(self.number)
