"""An armed model: deterministic answers and Monte Carlo passes from one set of weights, as compiled graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.card import InputSpec, SiteSpec, SplitSpec
from models.dropout.draws import Draw, Passes
from models.dropout.interface import ArmedOutput, Interface, read_interface, read_outputs
from models.dropout.kinds import NoiseShape, SiteLayer
from models.dropout.patching import TRACING, patched
from models.dropout.plan import Plan, forced_layers, make_plan
from models.dropout.program import Program, single_precision
from models.dropout.split import describe_split, floating_point_operations, one_row
from models.dropout.survey import Survey, survey
from models.errors import NoSitesError

__all__ = ["ArmedModel", "Block", "arm"]

Array = npt.NDArray[Any]
Tensor = Any
DEFAULT_BLOCK = 4096
"""Row-passes in one block: enough to fill the cores, few enough to stay in the caches of a small network."""


class Block(NamedTuple):
    """Passes `first` and on, of the rows in `rows`; each of `passes` has shape (S, B, *output_shape) of this block."""

    rows: slice
    first: int
    passes: dict[str, Array]


def arm(model: Any, *, input_specs: Sequence[InputSpec] | None = None) -> ArmedModel:
    """Find the sites of a Keras model and compile it with and without their noise.

    The model itself is left as it is: no variable changes, and calling it gives what it gave before.

    Args:
        model: A built `keras.Model` on the TensorFlow backend.
        input_specs: What the model takes, needed only where it does not say so itself.

    Raises:
        UnknownNoiseError: A layer draws noise in a way that cannot be armed.
        UnsupportedModelError: The model cannot be served; the text says why and what to do.
    """
    with TRACING:
        interface = read_interface(model, input_specs)
        found = survey(model, interface.signature, interface.call, forced_layers(model))
        return ArmedModel(model, interface, found)


class ArmedModel:
    """A model whose sites are known and armed. Made by `arm`; safe to use from several threads at once."""

    def __init__(self, model: Any, interface: Interface, found: Survey) -> None:
        self._model = model
        self._interface = interface
        self._survey = found
        self._numbers = {id(site.source): site.number for site in found.active}
        holders = {id(site.source.layer) for site in found.active}

        def holds_site(operation: Any) -> bool:
            if not isinstance(operation, keras.layers.Layer):
                return False
            return any(id(layer) in holders for layer in operation._flatten_layers())

        plan = None
        if found.active:
            plan = make_plan(model, holds_site, lambda operation: id(operation) in holders and not operation._layers)
        self._program = Program(plan, interface)
        self.inputs: tuple[InputSpec, ...] = interface.inputs
        self.sites: tuple[SiteSpec, ...] = tuple(site.spec for site in found.active)
        self._predict = self._trace_predict()
        self._compiled: dict[str, Any] = {}
        self.warnings = found.warnings + self._constant_outputs(plan)

    # Tracing

    def _trace_predict(self) -> Any:
        structure: list[Any] = []

        def predict(*inputs: Tensor) -> list[Tensor]:
            structure.append(self._interface.call(inputs, False))
            return [single_precision(tensor) for tensor in keras.tree.flatten(structure[-1])]

        concrete = self._trace_off(predict, self._interface.signature)
        self.outputs: tuple[ArmedOutput, ...] = read_outputs(self._model, structure[-1])
        return concrete

    def _trace_off(self, body: Callable[..., list[Tensor]], signature: Sequence[tf.TensorSpec]) -> Any:
        with patched(self._model, self._survey.sources, lambda source: _Off()):
            return tf.function(body, autograph=False).get_concrete_function(*signature)

    def _function(self, name: str) -> Any:
        """One of the Monte Carlo graphs, traced when it is first needed."""
        compiled = self._compiled.get(name)
        if compiled is None:
            with TRACING:
                compiled = self._compiled.get(name) or self._trace(name)
                self._compiled[name] = compiled
        return compiled

    def _trace(self, name: str) -> Any:
        scalars = (
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.int64),
            tf.TensorSpec([], tf.int64),
            tf.TensorSpec([], tf.int32),
        )
        here: list[_On] = []

        def arming(source: SiteLayer) -> _On | _Off:
            number = self._numbers.get(id(source))
            if number is None:
                return _Off()
            here.append(_On(number))
            return here[-1]

        def passes_of(rows: Tensor, seed: Tensor, first: Tensor, count: Tensor) -> Passes:
            passes = Passes(seed=seed, first=first, count=count, rows=rows)
            for site in here:
                site.passes = passes
            return passes

        def prefix(*inputs: Tensor) -> list[Tensor]:
            return self._program.prefix(inputs)

        def suffix(rows: Tensor, seed: Tensor, first: Tensor, count: Tensor, *frontier: Tensor) -> list[Tensor]:
            return self._program.suffix(passes_of(rows, seed, first, count), frontier)

        def whole(rows: Tensor, seed: Tensor, first: Tensor, count: Tensor, *inputs: Tensor) -> list[Tensor]:
            return self._program.suffix(passes_of(rows, seed, first, count), self._program.prefix(inputs))

        def spread(rows: Tensor, seed: Tensor, first: Tensor, count: Tensor, *inputs: Tensor) -> list[Tensor]:
            passes = passes_of(rows, seed, first, count)
            outputs = self._program.suffix(passes, self._program.prefix(inputs))
            # What a loop's body draws belongs to another graph, out of reach from here.
            met = [tensor for tensor in passes.met if tensor.graph is outputs[0].graph]
            return [tf.reduce_max(tf.reduce_max(tensor, axis=0) - tf.reduce_min(tensor, axis=0)) for tensor in met]

        inputs = self._interface.signature
        bodies = {"prefix": prefix, "suffix": suffix, "whole": whole, "spread": spread}
        signature: tuple[tf.TensorSpec, ...] = inputs if name == "prefix" else (*scalars, *inputs)
        if name == "suffix":
            signature = (*scalars, *(tf.TensorSpec(t.shape, t.dtype) for t in self._function("prefix").outputs))
        with patched(self._model, self._survey.sources, arming):
            return tf.function(bodies[name], autograph=False).get_concrete_function(*signature)

    # Answers

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The deterministic answer, equal to Keras's own `model(x, training=False)`.

        Args:
            inputs: For each input its array, shape (B, *input_shape), of the input's dtype.

        Returns:
            For each output its array, shape (B, *output_shape); half-precision outputs are given as float32.
        """
        return self._named(self._predict(*self._flat(inputs)))

    def sample(
        self, inputs: Mapping[str, Array], *, n_samples: int, seed: int, first_pass: int = 0
    ) -> dict[str, Array]:
        """Draw passes; pass s is one thinned network seen by every row.

        Args:
            inputs: As for `predict`, B rows.
            n_samples: S >= 1, the number of passes.
            seed: Integer in [0, 2**53), exact in JSON. Same seed, same passes, whatever the batch and the block.
            first_pass: Index of the first pass to draw.

        Returns:
            For each output the passes, shape (S, B, *output_shape).

        Raises:
            NoSitesError: The model has no active site, so all passes would be the same.
        """
        self._require_sites()
        flat = self._flat(inputs)
        rows = len(flat[0])
        outputs = self._function("whole")(*_scalars(rows, seed, first_pass, n_samples), *flat)
        return self._passes(outputs, n_samples, rows)

    def sample_blocks(
        self,
        inputs: Mapping[str, Array],
        *,
        n_samples: int,
        seed: int,
        first_pass: int = 0,
        block_row_passes: int = DEFAULT_BLOCK,
    ) -> Iterator[Block]:
        """The same passes as `sample`, a block at a time, so that memory stays bounded whatever S and B are.

        The prefix runs once for each row, whatever S is.

        Args:
            inputs: As for `predict`.
            n_samples: S >= 1.
            seed: As for `sample`.
            first_pass: As for `sample`.
            block_row_passes: How many rows x passes one block may hold, at least 1.

        Yields:
            Blocks that together hold each pass of each row once.

        Raises:
            NoSitesError: The model has no active site.
        """
        self._require_sites()
        flat = self._flat(inputs)
        total = len(flat[0])
        if total * n_samples <= block_row_passes:
            passes = self.sample(inputs, n_samples=n_samples, seed=seed, first_pass=first_pass)
            yield Block(slice(0, total), first_pass, passes)
            return
        for start in range(0, total, block_row_passes):
            rows = slice(start, min(start + block_row_passes, total))
            count = rows.stop - rows.start
            frontier = self._function("prefix")(*(x[rows] for x in flat))
            per_block = max(1, block_row_passes // count)
            for first in range(0, n_samples, per_block):
                drawn = min(per_block, n_samples - first)
                outputs = self._function("suffix")(*_scalars(count, seed, first_pass + first, drawn), *frontier)
                yield Block(rows, first_pass + first, self._passes(outputs, drawn, count))

    @cached_property
    def split(self) -> SplitSpec:
        """Which part of the model's work runs once, and which in every pass. Counting it takes two further traces."""

        def operations(body: Callable[..., list[Tensor]]) -> int:
            return floating_point_operations(self._trace_off(body, one_row(self._interface.signature)).graph)

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
        spreads = self._function("spread")(*_scalars(len(flat[0]), seed, 0, n_samples), *flat)
        return any(float(spread) > 0 for spread in spreads)

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


class _Off:
    """Armed with nothing: the site passes its input on."""

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        return None

    def seen(self, training: bool | None) -> None:
        pass


class _On(_Off):
    """Armed with the passes of the graph under construction."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.passes: Passes | None = None

    def draw(self, x: Tensor, noise_shape: NoiseShape = None) -> Draw | None:
        return None if self.passes is None else self.passes.draw(self.number)


def _scalars(rows: int, seed: int, first: int, count: int) -> tuple[Any, ...]:
    return (np.int32(rows), np.int64(seed), np.int64(first), np.int32(count))
