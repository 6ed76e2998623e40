"""The compiled graphs of one model, each traced once and then fixed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from thinned.models.dropout.batching import BatchItem, RowOwners, block_counts
from thinned.models.dropout.block_reduction import ClassScale, Closed, ReducedBlocks, reduce_blocks
from thinned.models.dropout.graph_calls import call_model, varies
from thinned.models.dropout.noise.draws import Draws, Given, Recorded, needs_rows
from thinned.models.dropout.noise.factors import Call, Factors
from thinned.models.dropout.noise.noise_context import Draw, NoiseContext
from thinned.models.dropout.noise.philox import RandomWords
from thinned.models.dropout.partition.affine_reach import target_of
from thinned.models.dropout.partition.last_layer import ClosedForms
from thinned.models.dropout.partition.partition_runner import PartitionRunner
from thinned.models.dropout.partition.signature import ModelSignature
from thinned.models.dropout.sites.discovery import DiscoveredSites
from thinned.models.dropout.sites.layer_patching import TRACING, patched
from thinned.models.dropout.sites.no_noise import NoNoise
from thinned.models.dropout.sites.noise_layers import NoiseShape, RandomKind, SiteLayer
from thinned.models.dropout.sites.trace_checks import refuse_leftover_noise
from thinned.models.sampling import Sampling
from thinned.models.uncertainty import BlockStatistics

__all__ = ["CompiledGraphs", "GraphKey", "Masks"]

Tensor = Any
Masks = Literal["all", "not the last", "all and forms"]
_WIDTHS: Mapping[RowOwners, int] = {"one": 1, "same draw": 2, "several": 3}  # arguments before the rows
_HEAD = 4  # rows, passes, seed, first pass


class GraphKey(NamedTuple):
    """Which graph.

    `body` is "prefix" (inputs to frontier), "suffix" (frontier to passes), "from_inputs" or "from_frontier" (to passes
    and what is reduced of them), "spread" (how far passes differ behind each site), "sizes" (how many numbers its
    tensors of varying lengths hold), or "tail" (frontier and what comes of `call` to outputs).

    `masks` says which are drawn: all; none of those whose moments are closed forms, as far as nothing else needs them;
    or all, closed forms beside them. `given` says that they are not drawn in the graph, but are arguments behind the
    first ones; "noise" gives these (of any frontier).
    """

    body: Literal["prefix", "suffix", "from_inputs", "from_frontier", "spread", "sizes", "tail", "noise"]
    sampling: Sampling = "stratified"
    owners: RowOwners = "one"
    masks: Masks = "all"
    call: Call | None = None
    given: bool = False


class CompiledGraphs:
    """Traces graphs when they are first asked for. Concrete functions never trace again, whatever the sizes.

    Args:
        model: The Keras model.
        signature: How it is called.
        sites: Its sites.
        runner: Its prefix and suffix.
    """

    def __init__(self, model: Any, signature: ModelSignature, sites: DiscoveredSites, runner: PartitionRunner) -> None:
        self.model = model
        self.signature = signature
        self.sites = sites
        self.runner = runner
        self._numbers = sites.numbers
        self._compiled: dict[GraphKey, Any] = {}
        self.output_dtypes: tuple[tf.DType, ...] = ()
        """Of the outputs in the suffix."""
        self.classes: tuple[ClassScale | None, ...] = ()
        """For each output, how its last axis is to be read where it holds classes."""
        self.closed: ClosedForms = ClosedForms.none(0, "")
        """What is known without the last masks; to be set before a graph that needs it is traced."""
        self.drawn: dict[GraphKey, tuple[NoiseContext, list[Tensor]]] = {}
        """Of each graph that draws, how it was traced: the noise, and the outputs of the suffix."""

    @property
    def traced(self) -> int:
        """How many graphs were traced: constant once a model is warm."""
        return len(self._compiled)

    def run(self, key: GraphKey, *args: Any) -> list[Tensor]:
        """Run a graph on arrays or tensors; errors are those of `call_model`."""
        return call_model(self.get(key), args)

    def get(self, key: GraphKey) -> Any:
        """A graph as a concrete function."""
        compiled = self._compiled.get(key)
        if compiled is None:
            with TRACING:
                compiled = self._compiled.get(key) or self._trace(key)
                self._compiled[key] = compiled
        return compiled

    def draws_apart(self, masks: Masks) -> bool:
        """Whether a stratified suffix draws what can be drawn without its rows: "noise" then gives it."""
        if self.sites.rowless or not self.sites.active:
            return False
        key = GraphKey("suffix", masks=masks)
        graph = self.get(key).graph
        rows = graph.inputs[1 : 1 + len(self.get(GraphKey("prefix")).outputs)]  # Weights and tables follow them.
        draws = self.drawn[key][0].draws
        return isinstance(draws, Recorded) and bool(draws.tensors) and not needs_rows(graph, draws.tensors, rows)

    def forget_forms(self) -> None:
        """Trace the graphs that hold closed forms anew when they are next asked for."""
        self._compiled = {key: graph for key, graph in self._compiled.items() if key.masks == "all"}

    @contextmanager
    def traced_anew(self) -> Iterator[None]:
        """Within it graphs are traced anew, and forgotten afterwards: whoever asks may change what they are made of."""
        kept = self._compiled, self.drawn
        self._compiled, self.drawn = {}, {}
        try:
            yield
        finally:
            self._compiled, self.drawn = kept

    def widest_row(self, key: GraphKey) -> int:
        """Bytes that one row takes in the widest tensor of a graph, as far as lengths are known."""
        return self.widest_of(self.get(key))

    @staticmethod
    def widest_of(concrete: Any) -> int:
        """The same of a concrete function."""
        tensors = (tensor for operation in concrete.graph.get_operations() for tensor in operation.outputs)
        # Floating point alone: random words and booleans are for a pass, not for each of its rows.
        shapes = (tensor.shape for tensor in tensors if tensor.dtype.is_floating)
        known = (shape[1:] for shape in shapes if shape.rank and shape[0] is None and None not in shape[1:])
        return 4 * max((math.prod(shape) for shape in known), default=1)

    def trace_off(self, body: Callable[..., Sequence[Tensor]], signature: Sequence[tf.TensorSpec]) -> Any:
        """Trace `body` with every site switched off."""
        with patched(self.model, self.sites.sources, lambda source: NoNoise()):
            concrete = tf.function(body, autograph=False).get_concrete_function(*signature)
        refuse_leftover_noise(self.model, concrete.graph.as_graph_def())
        return concrete

    def statistics(
        self, key: GraphKey, items: Sequence[BatchItem], names: Sequence[str], tensors: Sequence[Tensor]
    ) -> list[dict[str, BlockStatistics]]:
        """For each item, by output name, its rows and blocks of what a "from_inputs" or "from_frontier" graph gave."""
        closed = self._closed(key)
        keep = any(item.keep_passes for item in items)
        kept = [tensor.numpy() if keep else None for tensor in tensors[: len(names)]]
        reduced = iter(tensors[len(names) :])
        blocks = [
            ReducedBlocks(*(next(reduced).numpy() if t else None for t in (True, True, bool(c), bool(c), bool(forms))))
            for c, forms in zip(self.classes, closed.forms, strict=True)
        ]
        found: list[dict[str, BlockStatistics]] = []
        start = 0
        for item in items:
            rows = slice(start, start + item.rows)
            start += item.rows
            counts = block_counts(item.first, item.count)
            part: dict[str, BlockStatistics] = {}
            for name, arrays, drawn, made in zip(names, blocks, kept, closed.made, strict=True):
                cut: list[Any] = [None if x is None else x[: len(counts), rows] for x in arrays]
                passes = drawn[: item.count, rows] if item.keep_passes and drawn is not None else None
                part[name] = BlockStatistics(
                    item.first, counts, cut[0], cut[1], cut[2], cut[3], passes, cut[4], made=made
                )
            found.append(part)
        return found

    def _trace(self, key: GraphKey) -> Any:
        providers: list[_PassNoise] = []

        def provider_of(source: SiteLayer) -> NoNoise:
            number = self._numbers.get(id(source))
            if number is None:
                return NoNoise()
            providers.append(_PassNoise(number))
            return providers[-1]

        if key.body in ("from_inputs", "from_frontier"):  # they call graphs that are traced by themselves
            return tf.function(self._body(key, providers), autograph=False).get_concrete_function(*self._specs(key))
        with patched(self.model, self.sites.sources, provider_of):
            function = tf.function(self._body(key, providers), autograph=False)
            concrete = function.get_concrete_function(*self._specs(key))
        refuse_leftover_noise(self.model, concrete.graph.as_graph_def())
        return concrete

    def _closed(self, key: GraphKey) -> ClosedForms:
        return ClosedForms.none(len(self.output_dtypes), "") if key.masks == "all" else self.closed

    def _specs(self, key: GraphKey) -> list[tf.TensorSpec]:
        if key.body == "prefix":
            return list(self.signature.tensors)
        head = [tf.TensorSpec([_HEAD], tf.int64)]
        if key.owners == "same draw":
            head += [tf.TensorSpec([None], tf.int32)]
        if key.owners == "several":
            head += [tf.TensorSpec([3, None], tf.int64), tf.TensorSpec([None], tf.int32)]
        if key.given:
            head += [tf.TensorSpec(noise.shape, noise.dtype) for noise in self._noise_of(key).outputs]
        if key.body in ("suffix", "from_frontier", "tail", "noise"):
            head += [tf.TensorSpec(x.shape, x.dtype) for x in self.get(GraphKey("prefix")).outputs]
            if key.call is not None:
                given = self.drawn[GraphKey("suffix")][0].factors.met[key.call][0].after
                head += [tf.TensorSpec([None, *given.shape[1:]], given.dtype)]
            return head
        return head + list(self.signature.tensors)

    def _noise_of(self, key: GraphKey) -> Any:
        """The graph that draws what this one is given."""
        return self.get(GraphKey("noise", key.sampling, masks=key.masks))

    def _body(self, key: GraphKey, providers: Sequence[_PassNoise]) -> Callable[..., list[Tensor]]:
        own = _WIDTHS[key.owners]
        width = own + (len(self._noise_of(key).outputs) if key.given else 0)

        def suffix(*args: Tensor) -> list[Tensor]:
            return drawn(args, Given(args[own:width]) if key.given else Recorded())

        def noise(*args: Tensor) -> list[Tensor]:
            recorded = Recorded()
            drawn(args, recorded)
            return recorded.tensors

        def drawn(args: Sequence[Tensor], draws: Draws) -> list[Tensor]:
            factors = Factors(off=self._closed(key).off if key.masks == "not the last" else frozenset())
            context, outputs = self.drawn[key] = self._draw(key, providers, args[:own], args[width:], factors, draws)
            closed = self._closed(key)
            targets = [target_of(x)[0] if f else x for x, f in zip(outputs, closed.functions, strict=True)]
            return outputs + closed.moments(targets, context.factors, context)

        def tail(*args: Tensor) -> list[Tensor]:
            factors = Factors(given={} if key.call is None else {key.call: args[-1]})
            return [target_of(x)[0] for x in self._draw(key, providers, args[:width], args[width:-1], factors)[1]]

        # Graphs call each other, so that each part of the model is traced once; TensorFlow makes one graph of it.
        def from_inputs(*args: Tensor) -> list[Tensor]:
            frontier = self.get(GraphKey("prefix"))(*args[width:])
            return list(self.get(key._replace(body="from_frontier"))(*args[:width], *frontier))

        def from_frontier(*args: Tensor) -> list[Tensor]:
            outputs = self.get(key._replace(body="suffix"))(*args)
            rows, count, _, first = tf.unstack(args[0])
            laid = iter([_by_pass(output, count, rows) for output in outputs])
            passes = list(islice(laid, len(self.classes)))
            limits = _limits(key, args)
            closed = self._closed(key)
            told = [
                Closed(*islice(laid, 3 if function else 2)) if forms else None
                for forms, function in zip(closed.forms, closed.functions, strict=True)
            ]
            reduced = [
                reduce_blocks(output, first, classes, limits, known)
                for output, classes, known in zip(passes, self.classes, told, strict=True)
            ]
            return passes + [part for blocks in reduced for part in blocks if part is not None]

        def spread(*args: Tensor) -> list[Tensor]:
            context, outputs = self._draw(key, providers, args[:width], self.runner.prefix(args[width:]))
            # What a loop's body draws belongs to another graph, out of reach from here.
            noisy = [tensor for _, tensor in context.noisy if tensor.graph is outputs[0].graph]
            return [tf.reduce_max(tf.reduce_max(tensor, axis=0) - tf.reduce_min(tensor, axis=0)) for tensor in noisy]

        def sizes(*args: Tensor) -> list[Tensor]:
            if self.sites.active:
                self._draw(key, providers, args[:width], self.runner.prefix(args[width:]))
            else:
                self.signature.call(args[width:], False)
            operations = tf.compat.v1.get_default_graph().get_operations()
            tensors = [tensor for operation in operations for tensor in operation.outputs if varies(tensor)]
            return [tf.stack([tf.size(tensor, tf.int64) for tensor in tensors] or [tf.constant(1, tf.int64)])]

        bodies: Mapping[str, Callable[..., list[Tensor]]] = {
            "prefix": lambda *inputs: self.runner.prefix(inputs),
            "suffix": suffix,
            "from_inputs": from_inputs,
            "from_frontier": from_frontier,
            "spread": spread,
            "sizes": sizes,
            "tail": tail,
            "noise": noise,
        }
        return bodies[key.body]

    def _draw(
        self,
        key: GraphKey,
        providers: Sequence[_PassNoise],
        head: Sequence[Tensor],
        frontier: Sequence[Tensor],
        factors: Factors | None = None,
        draws: Draws | None = None,
    ) -> tuple[NoiseContext, list[Tensor]]:
        """Draw the passes that `head` names, and run the suffix on them."""
        rows, count = tf.cast(head[0][0], tf.int32), tf.cast(head[0][1], tf.int32)
        several = key.owners == "several"
        seeds, first = (head[1][0], head[1][1]) if several else (head[0][2:3], head[0][3:4])
        words = RandomWords(seeds, head[2] if several else None)

        def passes_of(first: Tensor, count: Tensor, one_pass: bool) -> tuple[NoiseContext, list[Tensor]]:
            context = NoiseContext(
                words,
                first=first,
                count=count,
                rows=rows,
                sampling=key.sampling,
                layouts=self.sites.layouts,
                one_pass=one_pass,
                factors=factors,
                draws=draws,
            )
            for provider in providers:
                provider.context = context
            return context, self.runner.suffix(context, frontier)

        if not self.sites.rowless:
            return passes_of(first, count, one_pass=False)
        # Noise on a kernel or a table has no rows to be laid beside: each pass is a call of the suffix by itself.
        contexts: list[NoiseContext] = []

        def one(index: Tensor) -> list[Tensor]:
            context, outputs = passes_of(first + index, tf.constant(1), one_pass=True)
            contexts.append(context)
            return outputs

        specs = [tf.TensorSpec(None, dtype) for dtype in self.output_dtypes]
        passes = tf.map_fn(one, tf.range(tf.cast(count, tf.int64)), fn_output_signature=specs, parallel_iterations=1)
        return contexts[-1], [tf.reshape(x, tf.concat([[count * rows], tf.shape(x)[2:]], axis=0)) for x in passes]


def _limits(key: GraphKey, args: Sequence[Tensor]) -> Tensor | None:
    """How many of the passes count for each row; None where all do."""
    if key.owners == "same draw":
        return args[1]
    return tf.gather(tf.cast(args[1][2], tf.int32), args[2]) if key.owners == "several" else None


def _by_pass(output: Tensor, count: Tensor, rows: Tensor) -> Tensor:
    """(S * B, ...) to (S, B, ...)."""
    tail = [tf.shape(output, tf.int64)[axis] if n is None else n for axis, n in enumerate(output.shape) if axis]
    return tf.reshape(output, [count, rows, *tail])


class _PassNoise(NoNoise):
    """The `NoiseProvider` of a site in the graph under construction."""

    draws = True

    def __init__(self, number: int) -> None:
        self.number = number
        self.context: NoiseContext | None = None

    def fill(self, kind: RandomKind, shape: Tensor) -> Tensor:
        if self.context is None:
            return super().fill(kind, shape)
        return self.context.draw(self.number).fill(kind, shape)

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        return None if self.context is None else self.context.draw(self.number)

    def narrow(self) -> bool:
        return self.context is not None and not self.context.wide
