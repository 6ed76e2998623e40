"""One loaded model: deterministic answers, and statistics over passes drawn in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from thinned.models.card import ModelCard
from thinned.models.dropout import (
    BLOCK,
    Ask,
    Frontier,
    Sampling,
    Summaries,
    check_laws,
    enable_mc_dropout,
    example_inputs,
)
from thinned.models.errors import InputError, Problem, ThinnedError, UnsupportedModelError
from thinned.models.storage.model_store import StoredModel, load_keras
from thinned.service.inference.running_statistics import OutputStatistics, Running, join_rows

__all__ = ["Engine", "OutputStatistics", "WarmUpError"]

Array = npt.NDArray[Any]


MOST_ROW_PASSES = 8192
"""In one call, unless told otherwise: more would keep other requests waiting for it, and make it no faster."""


class WarmUpError(ThinnedError):
    """The loaded model does not do what its card promises."""


class Engine:
    """A stored model, loaded and stochastic. Safe to use from several threads.

    Args:
        stored: The model in the store.
        block_row_passes: How many rows x passes are computed at once: the bound on memory. By default as many as keep
            the widest tensor within 128 MiB.

    Raises:
        ThinnedError: The stored model cannot be loaded or stochastic.
    """

    def __init__(self, stored: StoredModel, *, block_row_passes: int | None = None) -> None:
        self.card: ModelCard = stored.card
        self.version: str = stored.version
        self._given_budget = block_row_passes
        classes = {
            spec.name: spec.scale
            for spec in stored.card.outputs
            if spec.task == "classification" and spec.scale != "values"
        }
        self._stochastic = enable_mc_dropout(load_keras(stored), input_specs=stored.card.inputs, classes=classes)

    @property
    def graphs_traced(self) -> int:
        """How many graphs were traced so far: constant once all of the model is warm, whatever is asked."""
        return self._stochastic.graphs.traced

    def warm_up(self) -> None:
        """Trace every graph, and check_laws that answers repeat and that passes differ.

        Raises:
            WarmUpError: The proof failed.
        """
        try:
            check_laws(self._stochastic)
            self._trace("stratified")
        except UnsupportedModelError as error:
            raise WarmUpError(f"Model {self.card.name}:{self.version} did not pass its warm-up: {error}") from error

    def warm_up_rest(self) -> None:
        """Trace what few requests need: independent passes, and seeds that share a call. It takes as long again."""
        self._trace("stratified", company=True)
        self._trace("independent", company=True)

    def _trace(self, sampling: Sampling, *, company: bool = False) -> None:
        """Trace and run graphs of one way of sampling, so that no request waits for it."""
        if not self._stochastic.sites:
            return
        inputs = example_inputs(self.card.inputs, 2)
        for budget in (2 * BLOCK, 2):  # in one call, and in pieces
            list(self._stochastic.summarise(inputs, n_samples=2, seed=0, sampling=sampling, budget=budget))
            list(self._stochastic.sample_blocks(inputs, n_samples=2, seed=0, sampling=sampling, budget=budget))
        frontier = self._stochastic.prefix(inputs)
        for seeds in [(0, 0), (0, 1)] if company else [(0, 0)]:
            for rows in ({"inputs": inputs}, {"frontier": frontier}):
                asks = [Ask(2, seed, 0, count, **rows) for seed, count in zip(seeds, (1, 2), strict=True)]
                self._stochastic.summarise_together(asks, sampling=sampling)

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The deterministic answer, `model(x, training=False)`.

        Args:
            inputs: Checked arrays by input name, (B, *input_shape).

        Returns:
            Arrays by output name, (B, *output_shape).

        Raises:
            InputError: The model itself refuses the values, such as an index beyond an embedding's table.
        """
        with _refusals():
            return self._stochastic.predict(inputs)

    def predict_mc(
        self,
        inputs: Mapping[str, Array],
        *,
        n_samples: int,
        seed: int,
        quantiles: Sequence[float] | None = None,
        return_samples: bool = False,
        sampling: Sampling = "stratified",
    ) -> dict[str, OutputStatistics]:
        """Statistics over passes 0 to S - 1 of `seed`.

        Args:
            inputs: As for `predict`.
            n_samples: S >= 2, so that a sample variance exists.
            seed: Integer in [0, 2**53). Same seed, same answer.
            quantiles: Levels in (0, 1) to give over the passes; keeps all passes in memory.
            return_samples: Whether to give the passes themselves.
            sampling: How passes relate to each other; see `thinned.models.dropout.noise.samplers`.

        Returns:
            Statistics by output name.

        Raises:
            NoSitesError: The model has no active site.
            InputError: The model itself refuses the values.
        """
        drawn = {"n_samples": n_samples, "seed": seed, "sampling": sampling, "budget": self.budget}
        with _refusals():
            parts = self._summarise(inputs, drawn)
            samples = self._keep(inputs, drawn) if quantiles or return_samples else {}
        return {
            spec.name: join_rows(
                [part[spec.name].statistics(sampling) for part in parts],
                samples=samples.get(spec.name),
                quantiles=quantiles,
                return_samples=return_samples,
            )
            for spec in self.card.outputs
        }

    # For several requests at once

    @property
    def budget(self) -> int:
        """How many rows x passes are computed at once."""
        return self._given_budget or min(self._stochastic.default_budget, MOST_ROW_PASSES)

    def prefix(self, inputs: Mapping[str, Array]) -> Frontier:
        """What does not change from pass to pass, computed once for some rows.

        Raises:
            InputError: The model itself refuses the values.
        """
        with _refusals():
            return self._stochastic.prefix(inputs)

    def summarise_together(self, asks: Sequence[Ask], sampling: Sampling) -> list[Summaries]:
        """Summaries for several requests from one call of a graph; see `StochasticModel.summarise_together`.

        Raises:
            NoSitesError: The model has no active site.
            InputError: The model refuses the values of one of them.
        """
        with _refusals():
            return self._stochastic.summarise_together(asks, sampling=sampling)

    def passes(
        self, inputs: Mapping[str, Array], *, first: int, count: int, seed: int, sampling: Sampling
    ) -> dict[str, Array]:
        """Passes first to first + count - 1 themselves, (count, B, *output_shape) by output name."""
        drawn = {"n_samples": count, "seed": seed, "first_pass": first, "sampling": sampling, "budget": self.budget}
        with _refusals():
            return self._keep(inputs, drawn)

    def _summarise(self, inputs: Mapping[str, Array], drawn: Mapping[str, Any]) -> list[dict[str, Running]]:
        """Statistics of all outputs for the rows of each piece, in the order of rows."""
        pieces: dict[int, dict[str, Running]] = {}
        for summaries in self._stochastic.summarise(inputs, **drawn):
            running = pieces.setdefault(summaries.rows.start, {spec.name: Running() for spec in self.card.outputs})
            for name, summary in summaries.outputs.items():
                running[name].update(summaries.first, summaries.counts, summary)
        return list(pieces.values())

    def _keep(self, inputs: Mapping[str, Array], drawn: Mapping[str, Any]) -> dict[str, Array]:
        """All passes of all rows, (S, B, *output_shape) by output name."""
        kept: dict[str, Array] = {}
        rows = len(next(iter(inputs.values())))
        for piece in self._stochastic.sample_blocks(inputs, **drawn):
            for name, passes in piece.outputs.items():
                shape = (drawn["n_samples"], rows, *passes.shape[2:])
                whole = kept.setdefault(name, np.empty(shape, passes.dtype))
                start = piece.first - drawn.get("first_pass", 0)
                whole[start : start + len(passes), piece.rows] = passes
        return kept


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what TensorFlow says against values that fit shape and dtype, but not the model, into an `InputError`."""
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
        said = str(error.message).strip().splitlines()[0]
        raise InputError([Problem(("inputs",), f"the model refuses these values: {said}")]) from error
