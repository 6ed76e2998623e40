"""A Keras model that answers with and without its noise: deterministic answers and passes from one set of weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from thinned.models.card import InputSpec, SiteSpec, SplitSpec
from thinned.models.compat.keras import flatten_layers
from thinned.models.compat.tensorflow import floating_point_operations
from thinned.models.dropout.batching import BatchItem, Frontier, graph_arguments, run_arguments
from thinned.models.dropout.block_reduction import ClassScale
from thinned.models.dropout.call_memory import CALL_BYTES, SizeLaw, measure_sizes
from thinned.models.dropout.closed_forms import NO_SITE, find_closed_forms
from thinned.models.dropout.compiled_graphs import CompiledGraphs, GraphKey, Masks
from thinned.models.dropout.example_rows import ExampleRows, find_examples
from thinned.models.dropout.graph_calls import call_model, row_bytes
from thinned.models.dropout.kept_variables import kept_variables
from thinned.models.dropout.monte_carlo_run import MonteCarloRun, complete
from thinned.models.dropout.noise_ahead import MOST_BYTES, NoiseAhead
from thinned.models.dropout.partition.graph_partition import Partition, forced_layers
from thinned.models.dropout.partition.last_layer import ClosedForms
from thinned.models.dropout.partition.partition_runner import (
    FrontierPart,
    PartitionRunner,
    find_row_axes,
    partition_of,
    single_precision,
)
from thinned.models.dropout.partition.prefix_share import describe_split, one_row
from thinned.models.dropout.partition.signature import ModelSignature, OutputSignature, read_outputs, read_signature
from thinned.models.dropout.pooling import Pooling
from thinned.models.dropout.refused_values import placed
from thinned.models.dropout.sites.discovery import DiscoveredSites, discover_sites
from thinned.models.dropout.sites.layer_patching import TRACING
from thinned.models.errors import InputError, NoSitesError, Problem
from thinned.models.sampling import BLOCK, Estimator, Made, Sampling
from thinned.models.uncertainty import BlockStatistics, RunningStatistics
from thinned.models.uncertainty.members import still

__all__ = ["StochasticModel", "enable_mc_dropout"]

Array = npt.NDArray[Any]
Tensor = Any
_MOST_ROW_PASSES = 1 << 15


def enable_mc_dropout(
    model: Any,
    *,
    input_specs: Sequence[InputSpec] | None = None,
    classes: Mapping[str, ClassScale] | None = None,
    examples: ExampleRows | None = None,
    pooling: Pooling | None = None,
) -> StochasticModel:
    """Find the sites of a Keras model and compile it with and without their noise.

    The model itself is left as it is: no variable changes, and calling it gives what it gave before.

    Args:
        model: A built `keras.Model` on the TensorFlow backend.
        input_specs: What the model takes, needed only where it does not say so itself.
        classes: By output name, how the last axis is to be read where it holds classes; their entropies are reduced
            in the graph.
        examples: Rows to try the model on; by default they are made up.
        pooling: How the outputs of an ensemble's members become one; None of a model by itself.

    Raises:
        UnknownNoiseError: A layer draws noise in a way that cannot be replaced.
        UnsupportedModelError: The model cannot be served; the text says why and what to do.

    References:
        Gal & Ghahramani 2016, Dropout as a Bayesian Approximation, https://arxiv.org/abs/1506.02142
    """
    with TRACING:
        signature = read_signature(model, input_specs)
        examples = examples or find_examples(model, signature)
        rows = examples.rows(3)
        three = [tf.convert_to_tensor(rows[spec.name], spec.dtype) for spec in signature.inputs]
        sites = discover_sites(model, signature.tensors, signature.call, forced_layers(model), three)
        return StochasticModel(model, signature, sites, classes or {}, examples, pooling)


class StochasticModel:
    """A model that answers with and without its noise. Made by `enable_mc_dropout`; safe to use from several threads.

    Attributes:
        inputs: What it takes.
        outputs: What it answers; an ensemble what its members answer together.
        sites: Where it draws noise.
        examples: Rows that it is tried on.
        warnings: What a person should know of its sites and outputs.
        graphs: Its compiled graphs.
    """

    def __init__(
        self,
        model: Any,
        signature: ModelSignature,
        sites: DiscoveredSites,
        classes: Mapping[str, ClassScale],
        examples: ExampleRows,
        pooling: Pooling | None = None,
    ) -> None:
        self.keras_model = model
        self.examples = examples
        self.inputs: tuple[InputSpec, ...] = signature.inputs
        self._signature, self._pooling = signature, pooling
        self._side_by_side = pooling.members if pooling else 1
        """How many models are in a call at the same time, each with tensors of its own."""
        partition = partition_of(model, sites)
        self._runner = PartitionRunner(partition, signature)
        self.graphs = CompiledGraphs(model, signature, sites, self._runner)
        self._runner.row_axes = find_row_axes(
            self._runner, lambda body: self.graphs.trace_off(body, signature.tensors), self._tensors(examples.rows(3))
        )
        self.sites: tuple[SiteSpec, ...] = tuple(site.spec for site in sites.active)
        self._predict = self._trace_predict()
        self.graphs.output_dtypes = tuple(tensor.dtype for tensor in self._predict.outputs)
        names = pooling.owners if pooling else [output.name for output in self.outputs]
        self.graphs.classes = tuple(classes.get(name) for name in names)
        self.warnings = sites.warnings + self._constant_outputs(partition)

    def _trace_predict(self) -> Any:
        structure: list[Any] = []

        def predict(*inputs: Tensor) -> list[Tensor]:
            structure.append(self._signature.call(inputs, False))
            return [single_precision(tensor) for tensor in keras.tree.flatten(structure[-1])]

        concrete = self.graphs.trace_off(predict, self._signature.tensors)
        own = read_outputs(self.keras_model, structure[-1])
        self._own_outputs: tuple[OutputSignature, ...] = self._pooling.apart(own) if self._pooling else own
        self.outputs = self._pooling.together(own) if self._pooling else own
        return concrete

    # Answers

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The deterministic answer, equal to Keras's own `model(x, training=False)`; of an ensemble, its members' mean.

        Args:
            inputs: For each input its array, shape (B, *input_shape), of the input's dtype; text as strings.

        Returns:
            For each output its array, shape (B, *output_shape); half-precision outputs are given as float32.

        Raises:
            InputError: The model itself refuses the values, such as an index beyond an embedding's table.
        """
        flat = self.flat(inputs)
        try:
            parts = [call_model(self._predict, part) for part in self._pieces(flat, self.rows_at_once)]
        except InputError as error:
            raise placed(error, inputs) from error
        return self._pooled(self._named([_stacked(column) for column in zip(*parts, strict=True)]))

    def prefix(self, inputs: Mapping[str, Array]) -> Frontier:
        """Run the prefix for some rows, once, for batch items to draw their passes from.

        Raises:
            InputError: The model itself refuses the values.
        """
        # Copied: the frontier stays, and may be the inputs themselves, which are not ours.
        flat, key = self._tensors(inputs), GraphKey("prefix")
        parts = [self.graphs.run(key, *part) for part in self._pieces(flat, self._prefix_rows)]
        return Frontier(len(flat[0]), tuple(_stacked(column) for column in zip(*parts, strict=True)))

    @cached_property
    def frontier_parts(self) -> list[FrontierPart]:
        """What the tensors of a frontier are, masks left out."""
        self.graphs.get(GraphKey("prefix"))
        return self._runner.parts()

    def draw(
        self, items: Sequence[BatchItem], *, sampling: Sampling = "stratified", estimator: Estimator = "best"
    ) -> list[dict[str, BlockStatistics]]:
        """Draw passes for one or several requests in one graph call; pass s is one thinned network.

        Every answer with uncertainty, every law that is checked, every score comes from here.

        Args:
            items: At least one; all with inputs, or all with a frontier; any lengths that vary are the same for all.
                The work is the number of all rows times the largest count.
            sampling: How passes relate to each other.
            estimator: How mean and variance are made of them; the passes themselves are the same.

        Returns:
            For each item, by output name, the statistics of its passes. Other items do not matter to it, but for float
            rounding.

        Raises:
            NoSitesError: The model has no active site, so all passes would be the same.
            InputError: The model itself refuses the values of one of them.
        """
        self.require_passes()
        drawn = self._draw(items, sampling, estimator) if self.sites else self._still(items)
        pooling = self._pooling
        return drawn if pooling is None else [pooling.statistics(part, self._silent) for part in drawn]

    def _still(self, items: Sequence[BatchItem]) -> list[dict[str, BlockStatistics]]:
        """What `draw` gives of members that draw nothing: of each one pass, its deterministic answer."""
        names = [spec.name for spec in self.inputs]
        each = [
            dict(zip(names, item.frontier.tensors, strict=True)) if item.frontier is not None else item.inputs or {}
            for item in items
        ]
        answers = self.apart.predict({name: np.concatenate([np.asarray(one[name]) for one in each]) for name in names})
        scales = dict(zip(answers, self.graphs.classes, strict=True))
        ends = np.cumsum([item.rows for item in items]).tolist()
        return [
            {
                name: still(answers[name][end - item.rows : end], scale, keep_passes=item.keep_passes)
                for name, scale in scales.items()
            }
            for item, end in zip(items, ends, strict=True)
        ]

    def _draw(
        self, items: Sequence[BatchItem], sampling: Sampling, estimator: Estimator
    ) -> list[dict[str, BlockStatistics]]:
        owners, arguments = graph_arguments(items)
        if owners == "several" and self.graphs.sites.rowless:  # a kernel cannot have the noise of each row's request
            return [self._draw([item], sampling, estimator)[0] for item in items]
        if items[0].frontier is None and self._splits and sum(item.rows for item in items) > self._prefix_rows:
            items = [replace(item, inputs=None, frontier=self.prefix(item.inputs or {})) for item in items]
        from_inputs = items[0].frontier is None
        each = [self.flat(i.inputs or {}) if i.frontier is None else list(i.frontier.tensors) for i in items]
        columns = zip(*each, strict=True)
        if len(items) == 1:
            rows = each[0]
        elif not from_inputs and len({tuple(tuple(tensor.shape[1:]) for tensor in tensors) for tensors in each}) > 1:
            # Text is padded to the longest of its request, so that frontiers may differ where inputs do not.
            return [self._draw([item], sampling, estimator)[0] for item in items]
        else:
            rows = [np.concatenate(column) if from_inputs else tf.concat(column, axis=0) for column in columns]
        masks = self._masks(estimator, keep_passes=any(item.keep_passes for item in items))
        key = GraphKey("from_inputs" if from_inputs else "from_frontier", sampling, owners, masks)
        noise = self._given_noise(key, items)
        tensors = self.graphs.run(key._replace(given=bool(noise)), *arguments, *noise, *rows)
        return self.graphs.statistics(key, items, [output.name for output in self._own_outputs], tensors)

    def _masks(self, estimator: Estimator, *, keep_passes: bool) -> Masks:
        """Which masks a graph draws for such an answer."""
        if estimator == "passes" or not self.closed_forms:
            return "all"
        return "all and forms" if keep_passes else "not the last"

    @staticmethod
    def _given_noise(key: GraphKey, items: Sequence[BatchItem]) -> tuple[Tensor, ...]:
        """What a call need not draw: it was drawn ahead, all of it."""
        noise, seed, last = items[0].noise, items[0].seed, items[0].first + max(item.count for item in items)
        if noise is None or key.owners != "one" or key.sampling != "stratified":
            return ()
        return noise.tensors if (noise.masks, noise.seed) == (key.masks, seed) and last <= noise.passes else ()

    def draws_ahead(self, most_bytes: int = MOST_BYTES) -> NoiseAhead | None:
        """What draws noise ahead of requests that name no seed and ask for nothing unusual; traces graphs.

        Args:
            most_bytes: What may be kept of it.

        Returns:
            None where noise is not for whole passes, hangs on the rows, or is too much to keep.
        """
        if not self.sites:
            return None
        ahead = NoiseAhead(self.graphs, self._masks("best", keep_passes=False), most_bytes)
        rows = self.prefix(self.examples.rows(2))
        return ahead if ahead.is_proven(rows.tensors, rows.rows) else None

    def sample(
        self,
        inputs: Mapping[str, Array],
        *,
        n_samples: int,
        seed: int,
        sampling: Sampling = "stratified",
        row_passes: int | None = None,
    ) -> dict[str, Array]:
        """The passes themselves; pass s is one thinned network seen by every row.

        Args:
            inputs: As for `predict`, B rows.
            n_samples: S >= 1, the number of passes.
            seed: Integer in [0, 2**53), exact in JSON. Same seed, same passes, whatever the batch.
            sampling: How passes relate to each other.
            row_passes: How many rows x passes may be computed at once; `row_passes` of the model by default.

        Returns:
            For each output the passes, shape (S, B, *output_shape). Of an ensemble of M they are (S * M, B, ...), those
            of all members, pass by pass; M of one that draws no noise.

        Raises:
            NoSitesError: The model has no active site, so all passes would be the same.
            InputError: The model itself refuses the values.
        """
        return self._run(inputs, n_samples, seed, sampling, row_passes, keep_passes=True, estimator="passes").passes

    def summary(
        self,
        inputs: Mapping[str, Array],
        *,
        n_samples: int,
        seed: int,
        sampling: Sampling = "stratified",
        row_passes: int | None = None,
        estimator: Estimator = "best",
    ) -> dict[str, RunningStatistics]:
        """Mean, variance, standard error and entropies over the passes that `sample` gives, without keeping them.

        Memory does not grow with `n_samples`.

        Args:
            inputs: As for `sample`, as are `n_samples`, `seed`, `sampling`, `row_passes` and errors.
            n_samples: S.
            seed: Of the passes.
            sampling: How passes relate to each other.
            row_passes: How many rows x passes may be computed at once.
            estimator: "best" takes closed forms for the last masks where there are such (`made`); "passes" takes the
                moments of the passes.

        Returns:
            Statistics by output name.
        """
        return self._run(
            inputs, n_samples, seed, sampling, row_passes, keep_passes=False, estimator=estimator
        ).statistics()

    def _run(
        self,
        inputs: Mapping[str, Array],
        n_samples: int,
        seed: int,
        sampling: Sampling,
        row_passes: int | None,
        *,
        keep_passes: bool,
        estimator: Estimator,
    ) -> MonteCarloRun:
        self.require_passes()
        self._require_names(inputs)
        run = MonteCarloRun(
            inputs,
            [output.name for output in self.outputs],
            row_passes=row_passes or self.row_passes_for({name: x.shape[1:] for name, x in inputs.items()}),
            n_samples=n_samples,
            seed=seed,
            sampling=sampling,
            keep_passes=keep_passes,
            estimator=estimator,
            exact=self.needs_no_pass(estimator, keep_passes=keep_passes),
        )
        return complete(run, self)

    # What is known of it

    @cached_property
    def closed_forms(self) -> ClosedForms:
        """Where the last masks need not be drawn. Finding out takes a moment, and traces graphs that answers need."""
        with TRACING:
            known = self.__dict__.get("closed_forms")  # by another thread, meanwhile
            if isinstance(known, ClosedForms):
                return known
            rows = self.examples.rows(2)
            ones = [self.flat({name: x[i : i + 1] for name, x in rows.items()}) for i in range(2)]
            frontiers = [self.graphs.run(GraphKey("prefix"), *one) for one in ones] if self.sites else []
            return find_closed_forms(
                self.graphs, frontiers, row_passes=self.row_passes if self.sites else 1, half=self.half_precision
            )

    @property
    def tensors(self) -> tuple[tf.TensorSpec, ...]:
        """Shape and type of each input, in the order in which the graphs take them."""
        return self._signature.tensors

    @property
    def pooling(self) -> Pooling | None:
        """How the outputs of an ensemble's members become one; None of a model by itself."""
        return self._pooling

    @property
    def deterministic(self) -> Any:
        """The concrete function of the Keras model without noise: flat inputs to the outputs of all members."""
        return self._predict

    def trace_deterministic(self) -> Any:
        """The same, traced anew."""
        return self._trace_predict()

    @property
    def made(self) -> dict[str, Made]:
        """By output name, what the best mean and variance are made of."""
        own = self.closed_forms.made
        found = own if self._pooling is None else self._pooling.made(own, self._silent)
        return {output.name: made for output, made in zip(self.outputs, found, strict=True)}

    @property
    def reasons(self) -> dict[str, str]:
        """By output name, why passes tell its mean and variance; empty where they do not."""
        made, reasons, several = self.made, self.closed_forms.reasons, len(self.outputs)
        if self._pooling is None:
            told = list(reasons)
        else:
            told = [next((why for why in reasons[i::several] if why not in ("", NO_SITE)), "") for i in range(several)]
        names = [output.name for output in self.outputs]
        return {name: why if made[name] == "passes" else "" for name, why in zip(names, told, strict=True)}

    def names_apart(self, names: Sequence[str]) -> list[str]:
        """The outputs of `apart` that the outputs of these names are made of."""
        owners = self._pooling.owners if self._pooling else [output.name for output in self.outputs]
        return [output.name for output, owner in zip(self._own_outputs, owners, strict=True) if owner in names]

    @property
    def _silent(self) -> list[bool]:
        """Of each output of the Keras model whether no noise reaches it."""
        return [not self.sites or why == NO_SITE for why in self.closed_forms.reasons]

    @property
    def exact(self) -> bool:
        """Whether no pass need be drawn for the mean and variance of any output: they are closed forms."""
        return self.has_passes and all(made == "exact" for made in self.made.values())

    def needs_no_pass(self, estimator: Estimator, *, keep_passes: bool) -> bool:
        """Whether an answer can be told without drawing any pass: exactly, or since members draw nothing."""
        if not self.sites:
            return self.has_passes
        return estimator == "best" and self.exact and not keep_passes

    @cached_property
    def apart(self) -> StochasticModel:
        """The same model with the answers of each member by itself, as outputs; itself where it is no ensemble.

        What holds for every model is checked on this: a law that a member breaks may not show in a mean.
        """
        if self._pooling is None:
            return self
        self.closed_forms  # noqa: B018  found once for both
        found = copy.copy(self)
        found._pooling, found.outputs = None, self._own_outputs
        return found

    @cached_property
    def split(self) -> SplitSpec:
        """Which part of the model's work runs once, and which in every pass. Counting it takes two further traces."""

        def trace(body: Callable[..., list[Tensor]]) -> Any:
            shapes = [self.examples.shapes[spec.name] for spec in self.inputs]
            return self.graphs.trace_off(body, one_row(self._signature.tensors, shapes))

        def predict(*inputs: Tensor) -> list[Tensor]:
            return list(keras.tree.flatten(self._signature.call(inputs, False)))

        partition = self._runner.partition
        graphs = [trace(predict), *([trace(lambda *inputs: self._runner.prefix(inputs))] if partition else [])]
        # What splits text into words loses the number of rows, and the profiler counts no operation behind it.
        text = any(tensor.dtype == tf.string for tensor in self._signature.tensors)
        if text and not all(tensor.shape.is_fully_defined() for graph in graphs for tensor in graph.outputs):
            return describe_split(partition, self._signature, self.keras_model, 0, 0)
        whole, *once = [floating_point_operations(graph.graph) for graph in graphs]
        return describe_split(partition, self._signature, self.keras_model, sum(once), whole)

    def reference(self, inputs: Mapping[str, Array], *, keep_seeds: bool = True) -> dict[str, Array]:
        """What Keras itself answers, uncompiled: `model(x, training=False)`. Seeds that it advances are put back."""
        with kept_variables(self.keras_model, trainable=False) if keep_seeds else nullcontext():
            answer = keras.tree.flatten(self._signature.call(self._tensors(inputs), False))
        return self._pooled(self._named([single_precision(tensor) for tensor in answer]))

    def differs_at_sites(self, inputs: Mapping[str, Array], *, n_samples: int, seed: int) -> bool:
        """Whether passes differ right behind some site, where the outputs may be too saturated to show it.

        A block of passes and some of the rows are looked at in one call.
        """
        count = min(n_samples, BLOCK)
        for part in self._pieces(self.flat(inputs), self.row_passes // count):
            for first in range(0, n_samples, count):
                arguments = run_arguments(len(part[0]), min(count, n_samples - first), seed, first)
                if any(float(spread) > 0 for spread in self.graphs.run(GraphKey("spread"), arguments, *part)):
                    return True
        return False

    @cached_property
    def row_passes(self) -> int:
        """Rows x passes to compute at once, for rows as long as the examples."""
        return self.row_passes_for(self.examples.shapes)

    def row_passes_for(self, shapes: Mapping[str, tuple[int, ...]], *, call_bytes: int | None = None) -> int:
        """Rows x passes to compute at once, so that the widest tensor of the suffix stays within `call_bytes`.

        Args:
            shapes: Of one row of each input.
            call_bytes: What the widest tensor may take; 128 MiB by default.

        Returns:
            At least 1: a pass of a row cannot be cut.
        """
        return max(1, min((call_bytes or CALL_BYTES) // self.row_bytes(shapes), _MOST_ROW_PASSES))

    def row_bytes(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """Bytes of the widest tensor that one row takes in one pass, for rows of these shapes; of all members."""
        return self._side_by_side * self._size_law.widest(shapes)

    @cached_property
    def _size_law(self) -> SizeLaw:
        free = [(spec.name, axis) for spec in self.inputs for axis, n in enumerate(spec.shape) if n is None]
        key = GraphKey("sizes")

        def sizes_at(shapes: Mapping[str, tuple[int, ...]]) -> Array:
            rows = self.examples.of_shapes(shapes)
            found: Array = self.graphs.run(key, run_arguments(1, 1, 0, 0), *self.flat(rows))[0].numpy()
            return found

        least = self.graphs.widest_row(GraphKey("suffix")) if self.sites else self.graphs.widest_of(self._predict)
        return measure_sizes(least, free, self.examples.shapes, sizes_at)

    @cached_property
    def rows_at_once(self) -> int:
        """Rows to answer at once without noise, so that the widest tensor stays within 128 MiB."""
        return max(1, CALL_BYTES // (self._side_by_side * row_bytes(self._predict).widest))

    @cached_property
    def bytes_of_a_call(self) -> int:
        """About the bytes of one row that a call of Keras itself keeps until it ends: the outputs of all layers."""
        return row_bytes(self._predict).together

    @cached_property
    def _prefix_rows(self) -> int:
        """Rows to run the prefix on at once."""
        return max(1, CALL_BYTES // (self._side_by_side * row_bytes(self.graphs.get(GraphKey("prefix"))).widest))

    @cached_property
    def _splits(self) -> bool:
        """Whether rows may be taken in pieces. Text is padded to the longest of its request."""
        return all(spec.dtype != "string" for spec in self.inputs)

    @cached_property
    def half_precision(self) -> bool:
        """Whether any layer computes in 16 bits."""
        return any(layer.compute_dtype in ("float16", "bfloat16") for layer in flatten_layers(self.keras_model))

    @cached_property
    def rounding(self) -> float:
        """How far rounding may move answers, relative to the largest number of an output.

        Measured on the model itself: how far they move when each floating-point input moves by its own rounding, times
        the number of layers with weights, each of which rounds anew.
        """
        rows = self.examples.rows(3)
        sign = np.random.default_rng(0)
        moved = {
            name: x * (1 + 2.0**-23 * sign.choice((-1, 1), x.shape)).astype(x.dtype) if x.dtype.kind == "f" else x
            for name, x in rows.items()
        }
        before, after = self.predict(rows), self.predict(moved)
        change = max(
            float(np.abs(np.subtract(after[name], x, dtype=np.float64)).max(initial=0.0))
            / max(float(np.abs(x).max(initial=0.0)), 1e-30)
            for name, x in before.items()
        )
        depth = 1 + sum(bool(layer.weights) for layer in flatten_layers(self.keras_model))
        return depth * max(change, 2.0**-23) if np.isfinite(change) else 2.0**-23 * depth

    def flat(self, inputs: Mapping[str, Array]) -> list[Array]:
        """The inputs in the order and of the dtypes in which the graphs take them; text as arrays of Python strings.

        Raises:
            InputError: It is no mapping of every input's name to its rows.
        """
        self._require_names(inputs)
        dtypes: list[Any] = [object if spec.dtype == "string" else spec.dtype for spec in self.inputs]
        return [np.asarray(inputs[spec.name], dtype=dtype) for spec, dtype in zip(self.inputs, dtypes, strict=True)]

    def _require_names(self, inputs: object) -> None:
        names = [spec.name for spec in self.inputs]
        if isinstance(inputs, Mapping):
            if inputs.keys() >= set(names):
                return
            came = ", ".join(map(str, inputs)) or "none"
        else:
            came = f"a {type(inputs).__name__}"
        raise InputError([Problem((), f"expected a mapping of names to rows, of {', '.join(names)}; got {came}")])

    @property
    def has_passes(self) -> bool:
        """Whether its answers have a variance: it has an active site, or several members."""
        return bool(self.sites) or self._pooling is not None

    def require_passes(self) -> None:
        """Refuse passes of a model that has no active site and is no ensemble.

        Raises:
            NoSitesError: All passes would be the same.
        """
        if not self.has_passes:
            raise NoSitesError(
                f"Model '{self.keras_model.name}' has no active dropout or noise layer: every pass would be the same "
                "and the variance 0. Ask for the deterministic answer, or serve a model with a site of rate above 0."
            )

    # Details

    def _pieces(self, flat: Sequence[Array], most: int) -> Iterator[list[Array]]:
        """The inputs by at most so many rows."""
        rows = len(flat[0])
        step = max(1, most) if self._splits else max(1, rows)
        for start in range(0, max(1, rows), step):
            yield [array[start : start + step] for array in flat] if step < rows else list(flat)

    def _tensors(self, inputs: Mapping[str, Array]) -> list[Tensor]:
        return [tf.convert_to_tensor(x) for x in self.flat(inputs)]

    def _named(self, tensors: Sequence[Tensor]) -> dict[str, Array]:
        return {output.name: tensor.numpy() for output, tensor in zip(self._own_outputs, tensors, strict=True)}

    def _pooled(self, answers: dict[str, Array]) -> dict[str, Array]:
        return answers if self._pooling is None else self._pooling.answers(answers)

    def _constant_outputs(self, partition: Partition | None) -> tuple[str, ...]:
        if partition is None:
            return ()
        return tuple(
            f"Output '{output.name}' depends on no site: its variance is 0 in every answer."
            for output, value in zip(self._own_outputs, partition.outputs, strict=True)
            if not partition.wide[value]
        )


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """Rows one below the other."""
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=0)
