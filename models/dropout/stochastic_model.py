"""An stochastic model: deterministic answers and Monte Carlo passes from one set of weights, as compiled graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from thinned.models.card import InputSpec, SiteSpec, SplitSpec
from thinned.models.dropout.batching import Ask, Frontier, arguments, block_counts, parts
from thinned.models.dropout.block_reduction import Classes
from thinned.models.dropout.compiled_graphs import GraphKey, Graphs, call_flat, run_arguments
from thinned.models.dropout.noise.samplers import Sampling
from thinned.models.dropout.partition.graph_partition import Plan, forced_layers
from thinned.models.dropout.partition.partition_runner import PartitionRunner, partition_of, single_precision
from thinned.models.dropout.partition.prefix_share import describe_split, floating_point_operations, one_row
from thinned.models.dropout.partition.signature import ModelSignature, OutputSignature, read_outputs, read_signature
from thinned.models.dropout.pieces import Passes, Piece, Summaries, cut
from thinned.models.dropout.sites.discovery import DiscoveredSites, survey
from thinned.models.dropout.sites.layer_patching import TRACING
from thinned.models.errors import NoSitesError

__all__ = ["StochasticModel", "enable_mc_dropout"]

Array = npt.NDArray[Any]
Tensor = Any
_PIECE_BYTES = 128 << 20
_LEAST_BUDGET, _MOST_BUDGET = 64, 1 << 15


def enable_mc_dropout(
    model: Any,
    *,
    input_specs: Sequence[InputSpec] | None = None,
    classes: Mapping[str, Classes] | None = None,
) -> StochasticModel:
    """Find the sites of a Keras model and compile it with and without their noise.

    The model itself is left as it is: no variable changes, and calling it gives what it gave before.

    Args:
        model: A built `keras.Model` on the TensorFlow backend.
        input_specs: What the model takes, needed only where it does not say so itself.
        classes: By output name, how the last axis is to be read where it holds classes; their entropies are summarised.

    Raises:
        UnknownNoiseError: A layer draws noise in a way that cannot be stochastic.
        UnsupportedModelError: The model cannot be served; the text says why and what to do.
    """
    with TRACING:
        interface = read_signature(model, input_specs)
        found = survey(model, interface.signature, interface.call, forced_layers(model))
        return StochasticModel(model, interface, found, classes or {})


class StochasticModel:
    """A model that answers with and without its noise. Made by `enable_mc_dropout`; safe to use from several threads."""

    def __init__(
        self, model: Any, interface: ModelSignature, found: DiscoveredSites, classes: Mapping[str, Classes]
    ) -> None:
        self._model = model
        self._interface = interface
        plan = partition_of(model, found)
        self._program = PartitionRunner(plan, interface)
        self.graphs = Graphs(model, interface, found, self._program)
        self.inputs: tuple[InputSpec, ...] = interface.inputs
        self.sites: tuple[SiteSpec, ...] = tuple(site.spec for site in found.active)
        self._predict = self._trace_predict()
        self.graphs.classes = tuple(classes.get(output.name) for output in self.outputs)
        self.warnings = found.warnings + self._constant_outputs(plan)

    def _trace_predict(self) -> Any:
        structure: list[Any] = []

        def predict(*inputs: Tensor) -> list[Tensor]:
            structure.append(self._interface.call(inputs, False))
            return [single_precision(tensor) for tensor in keras.tree.flatten(structure[-1])]

        concrete = self.graphs.trace_off(predict, self._interface.signature)
        self.outputs: tuple[OutputSignature, ...] = read_outputs(self._model, structure[-1])
        return concrete

    # Answers

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The deterministic answer, equal to Keras's own `model(x, training=False)`.

        Args:
            inputs: For each input its array, shape (B, *input_shape), of the input's dtype.

        Returns:
            For each output its array, shape (B, *output_shape); half-precision outputs are given as float32.
        """
        return self._named(call_flat(self._predict, self._flat(inputs)))

    def sample(
        self,
        inputs: Mapping[str, Array],
        *,
        n_samples: int,
        seed: int,
        first_pass: int = 0,
        sampling: Sampling = "stratified",
    ) -> dict[str, Array]:
        """Draw passes; pass s is one thinned network seen by every row.

        Args:
            inputs: As for `predict`, B rows.
            n_samples: S >= 1, the number of passes.
            seed: Integer in [0, 2**53), exact in JSON. Same seed, same passes, whatever the batch and the block.
            first_pass: Index of the first pass to draw.
            sampling: How passes relate to each other; see `thinned.models.dropout.noise.samplers`.

        Returns:
            For each output the passes, shape (S, B, *output_shape).

        Raises:
            NoSitesError: The model has no active site, so all passes would be the same.
        """
        self._require_sites()
        flat = self._flat(inputs)
        rows = len(flat[0])
        tensors = self.graphs.run(GraphKey("whole", sampling), run_arguments(rows, n_samples, seed, first_pass), *flat)
        return self._passes(tensors, n_samples, rows)

    def sample_blocks(
        self,
        inputs: Mapping[str, Array],
        *,
        n_samples: int,
        seed: int,
        first_pass: int = 0,
        sampling: Sampling = "stratified",
        budget: int | None = None,
    ) -> Iterator[Passes]:
        """The same passes as `sample`, a piece at a time, so that memory stays bounded whatever S and B are.

        The prefix runs once for each row, whatever S is.

        Args:
            inputs: As for `predict`.
            n_samples: S >= 1.
            seed: As for `sample`.
            first_pass: As for `sample`.
            sampling: As for `sample`.
            budget: How many rows x passes may be computed at once, at least 1; `default_budget` by default.

        Yields:
            Pieces that together hold each pass of each row once.

        Raises:
            NoSitesError: The model has no active site.
        """
        for piece, tensors in self._run(("whole", "suffix"), inputs, n_samples, seed, first_pass, sampling, budget):
            count = piece.rows.stop - piece.rows.start
            yield Passes(piece.rows, piece.first, self._passes(tensors, piece.drawn, count))

    def summarise(
        self,
        inputs: Mapping[str, Array],
        *,
        n_samples: int,
        seed: int,
        first_pass: int = 0,
        sampling: Sampling = "stratified",
        budget: int | None = None,
    ) -> Iterator[Summaries]:
        """Summaries of the same passes as `sample_blocks`, reduced inside the graph to one for each 32 passes.

        Arguments and errors are those of `sample_blocks`.
        """
        for piece, tensors in self._run(("summary", "rest"), inputs, n_samples, seed, first_pass, sampling, budget):
            summaries = self.graphs.unpack(tensors)
            named = {output.name: summary for output, summary in zip(self.outputs, summaries, strict=True)}
            yield Summaries(piece.rows, piece.first, block_counts(piece.first, piece.drawn), named)

    def prefix(self, inputs: Mapping[str, Array]) -> Frontier:
        """Run the prefix for some rows, once, for asks to draw their passes from."""
        flat = self._flat(inputs)
        return Frontier(len(flat[0]), tuple(self.graphs.run(GraphKey("prefix"), *flat)))

    def summarise_together(self, asks: Sequence[Ask], *, sampling: Sampling = "stratified") -> list[Summaries]:
        """Summaries for several requests from one call of a graph.

        Args:
            asks: At least one; all with inputs, or all with a frontier; any lengths that vary are the same for all.
                The work is the number of all rows times the largest count.
            sampling: As for `sample`.

        Returns:
            For each ask what `summarise` would give, to float rounding: other requests do not matter to it.

        Raises:
            NoSitesError: The model has no active site.
        """
        self._require_sites()
        kind, told = arguments(asks)
        fresh = asks[0].frontier is None
        given = [self._flat(ask.inputs or {}) if ask.frontier is None else list(ask.frontier.tensors) for ask in asks]
        columns = zip(*given, strict=True)
        if len(asks) == 1:
            rows = given[0]
        else:
            rows = [np.concatenate(column) if fresh else tf.concat(column, axis=0) for column in columns]
        key = GraphKey("summary" if fresh else "rest", sampling, kind)
        summaries = self.graphs.unpack(self.graphs.run(key, *told, *rows))
        named = {output.name: summary for output, summary in zip(self.outputs, summaries, strict=True)}
        return [
            Summaries(slice(0, ask.rows), ask.first, block_counts(ask.first, ask.count), part)
            for ask, part in zip(asks, parts(asks, named), strict=True)
        ]

    def _run(
        self,
        bodies: tuple[Any, Any],
        inputs: Mapping[str, Array],
        n_samples: int,
        seed: int,
        first_pass: int,
        sampling: Sampling,
        budget: int | None,
    ) -> Iterator[tuple[Piece, Sequence[Tensor]]]:
        """Run one graph for all of it where the budget allows, or the prefix once and the suffix in pieces."""
        self._require_sites()
        budget = budget or self.default_budget
        flat = self._flat(inputs)
        total = len(flat[0])
        if total * n_samples <= budget:
            head = run_arguments(total, n_samples, seed, first_pass)
            tensors = self.graphs.run(GraphKey(bodies[0], sampling), head, *flat)
            yield Piece(slice(0, total), first_pass, n_samples), tensors
            return
        for rows in (slice(start, min(start + budget, total)) for start in range(0, total, budget)):
            count = rows.stop - rows.start
            frontier = self.graphs.run(GraphKey("prefix"), *(x[rows] for x in flat))
            for first, drawn in cut(first_pass, n_samples, max(1, budget // count)):
                head = run_arguments(count, drawn, seed, first)
                yield Piece(rows, first, drawn), self.graphs.run(GraphKey(bodies[1], sampling), head, *frontier)

    @cached_property
    def split(self) -> SplitSpec:
        """Which part of the model's work runs once, and which in every pass. Counting it takes two further traces."""

        def operations(body: Callable[..., list[Tensor]]) -> int:
            return floating_point_operations(self.graphs.trace_off(body, one_row(self._interface.signature)).graph)

        def predict(*inputs: Tensor) -> list[Tensor]:
            return list(keras.tree.flatten(self._interface.call(inputs, False)))

        plan = self._program.plan
        once, all_of_it = (operations(lambda *inputs: self._program.prefix(inputs)) if plan else 0), operations(predict)
        return describe_split(plan, self._interface, self._model, once, all_of_it)

    def reference(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What Keras itself answers, uncompiled: `model(x, training=False)`."""
        tensors = [tf.convert_to_tensor(x) for x in self._flat(inputs)]
        return self._named(
            [single_precision(tensor) for tensor in keras.tree.flatten(self._interface.call(tensors, False))]
        )

    def differs_at_sites(self, inputs: Mapping[str, Array], *, n_samples: int, seed: int) -> bool:
        """Whether passes differ right behind some site, where the outputs may be too saturated to show it."""
        flat = self._flat(inputs)
        spreads = self.graphs.run(GraphKey("spread"), run_arguments(len(flat[0]), n_samples, seed, 0), *flat)
        return any(float(spread) > 0 for spread in spreads)

    @cached_property
    def default_budget(self) -> int:
        """Row-passes to compute at once, so that the widest tensor of the suffix stays within 128 MiB."""
        widest = self.graphs.widest_row(GraphKey("suffix"))
        return min(max(_PIECE_BYTES // widest, _LEAST_BUDGET), _MOST_BUDGET)

    @cached_property
    def half_precision(self) -> bool:
        """Whether any layer computes in 16 bits."""
        return any(layer.compute_dtype in ("float16", "bfloat16") for layer in self._model._flatten_layers())

    # Details

    def _require_sites(self) -> None:
        if not self.sites:
            raise NoSitesError(
                f"Model '{self._model.name}' has no active dropout or noise layer: every pass would be the same "
                "and the variance 0. Ask for the deterministic answer, or serve a model with a site of rate above 0."
            )

    def _flat(self, inputs: Mapping[str, Array]) -> list[Array]:
        return [np.asarray(inputs[spec.name], dtype=spec.dtype) for spec in self.inputs]

    def _named(self, tensors: Sequence[Tensor]) -> dict[str, Array]:
        return {output.name: tensor.numpy() for output, tensor in zip(self.outputs, tensors, strict=True)}

    def _passes(self, tensors: Sequence[Tensor], count: int, rows: int) -> dict[str, Array]:
        return {name: array.reshape(count, rows, *array.shape[1:]) for name, array in self._named(tensors).items()}

    def _constant_outputs(self, plan: Plan | None) -> tuple[str, ...]:
        if plan is None:
            return ()
        return tuple(
            f"Output '{output.name}' depends on no site: its variance is 0 in every answer."
            for output, value in zip(self.outputs, plan.outputs, strict=True)
            if not plan.wide[value]
        )
