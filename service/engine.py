"""One loaded model: deterministic answers, and statistics over passes drawn in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.card import ModelCard
from models.dropout import BLOCK, Sampling, Summary, arm, example_inputs, prove
from models.errors import InputError, Problem, ThinnedError, UnsupportedModelError
from models.registry import StoredModel, load_keras
from models.uncertainty import BlockMoments, entropy

__all__ = ["Engine", "OutputStatistics", "WarmUpError"]

Array = npt.NDArray[Any]


class WarmUpError(ThinnedError):
    """The loaded model does not do what its card promises."""


@dataclass(frozen=True, slots=True)
class OutputStatistics:
    """What S passes say of one output, for B rows.

    `mean`, `variance` (ddof 1) and `standard_error` (of the mean) have shape (B, *output_shape), float64. The error is
    told by the spread of passes, or by that of stratified blocks where there are enough of them. `quantiles`
    has shape (Q, B, *output_shape) and `samples` (S, B, *output_shape) where they were asked for. The entropies, in
    nats, have shape (B,), with further axes where a row holds several classifications; only for classification.
    """

    mean: Array
    variance: Array
    standard_error: Array
    standard_error_from: Literal["passes", "blocks"] = "passes"
    quantiles: Array | None = None
    samples: Array | None = None
    predictive_entropy: Array | None = None
    expected_entropy: Array | None = None
    mutual_information: Array | None = None


class Engine:
    """A stored model, loaded and armed. Safe to use from several threads.

    Args:
        stored: The model in the store.
        block_row_passes: How many rows x passes are computed at once: the bound on memory.

    Raises:
        ThinnedError: The stored model cannot be loaded or armed.
    """

    def __init__(self, stored: StoredModel, *, block_row_passes: int = 4096) -> None:
        self.card: ModelCard = stored.card
        self.version: str = stored.version
        self._budget = block_row_passes
        classes = {
            spec.name: spec.scale
            for spec in stored.card.outputs
            if spec.task == "classification" and spec.scale != "values"
        }
        self._armed = arm(load_keras(stored), input_specs=stored.card.inputs, classes=classes)

    def warm_up(self) -> None:
        """Trace every graph, and prove that answers repeat and that passes differ.

        Raises:
            WarmUpError: The proof failed.
        """
        try:
            prove(self._armed)
            self.trace("stratified")
        except UnsupportedModelError as error:
            raise WarmUpError(f"Model {self.card.name}:{self.version} did not pass its warm-up: {error}") from error

    def trace(self, sampling: Sampling) -> None:
        """Trace and run what answers of one way of sampling need, so that no request waits for it."""
        if not self._armed.sites:
            return
        inputs = example_inputs(self.card.inputs, 2)
        for budget in (2 * BLOCK, 2):  # in one call, and in pieces
            list(self._armed.summarise(inputs, n_samples=2, seed=0, sampling=sampling, budget=budget))
            list(self._armed.sample_blocks(inputs, n_samples=2, seed=0, sampling=sampling, budget=budget))

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
            return self._armed.predict(inputs)

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
            sampling: How passes relate to each other; see `models.dropout.sampling`.

        Returns:
            Statistics by output name.

        Raises:
            NoSitesError: The model has no active site.
            InputError: The model itself refuses the values.
        """
        drawn = {"n_samples": n_samples, "seed": seed, "sampling": sampling, "budget": self._budget}
        with _refusals():
            parts = self._summarise(inputs, drawn)
            samples = self._keep(inputs, drawn) if quantiles or return_samples else {}
        made: dict[str, OutputStatistics] = {}
        for spec in self.card.outputs:
            kept = samples.get(spec.name)
            levels = None if kept is None or not quantiles else _quantiles(kept, quantiles)
            running = [part[spec.name] for part in parts]
            made[spec.name] = _join(running, sampling, levels, kept if return_samples else None)
        return made

    def _summarise(self, inputs: Mapping[str, Array], drawn: Mapping[str, Any]) -> list[dict[str, _Running]]:
        """Statistics of all outputs for the rows of each piece, in the order of rows."""
        pieces: dict[int, dict[str, _Running]] = {}
        for summaries in self._armed.summarise(inputs, **drawn):
            running = pieces.setdefault(summaries.rows.start, {spec.name: _Running() for spec in self.card.outputs})
            for name, summary in summaries.outputs.items():
                running[name].update(summaries.first, summaries.counts, summary)
        return list(pieces.values())

    def _keep(self, inputs: Mapping[str, Array], drawn: Mapping[str, Any]) -> dict[str, Array]:
        """All passes of all rows, (S, B, *output_shape) by output name."""
        kept: dict[str, Array] = {}
        rows = len(next(iter(inputs.values())))
        for piece in self._armed.sample_blocks(inputs, **drawn):
            for name, passes in piece.outputs.items():
                shape = (drawn["n_samples"], rows, *passes.shape[2:])
                whole = kept.setdefault(name, np.empty(shape, passes.dtype))
                whole[piece.first : piece.first + len(passes), piece.rows] = passes
        return kept


class _Running:
    """What is kept of one output of some rows while their passes come in."""

    def __init__(self) -> None:
        self.moments = BlockMoments(BLOCK)
        self._probabilities: Array | None = None
        self._entropy: Array | None = None

    def update(self, first: int, counts: Array, summary: Summary) -> None:
        """Add summaries of the passes from `first` on."""
        self.moments.update(first, counts, summary.mean, summary.deviations)
        if summary.probabilities is not None and summary.entropy is not None:
            self._probabilities = _add(self._probabilities, counts, summary.probabilities)
            self._entropy = _add(self._entropy, counts, summary.entropy)

    def entropies(self) -> tuple[Array, Array] | None:
        """Predictive and expected entropy, in nats; None where the output is no classification."""
        if self._probabilities is None or self._entropy is None:
            return None
        predictive = entropy(self._probabilities / self.moments.count)
        # Jensen's inequality holds in exact arithmetic; rounding must not break it.
        return predictive, np.minimum(self._entropy / self.moments.count, predictive)


def _add(total: Array | None, counts: Array, means: Array) -> Array:
    added: Array = np.tensordot(counts.astype(np.float64), means, axes=1)
    return added if total is None else total + added


def _quantiles(samples: Array, levels: Sequence[float]) -> Array:
    found: Array = np.quantile(samples.astype(np.float64), list(levels), axis=0)
    return found


def _join(
    parts: Sequence[_Running], sampling: Sampling, quantiles: Array | None, samples: Array | None
) -> OutputStatistics:
    """Put rows that were computed apart back together."""
    moments = [part.moments for part in parts]
    by_blocks = sampling == "stratified" and moments[0].enough_blocks()
    errors = [m.error_of_blocks if by_blocks else m.error_of_passes for m in moments]
    entropies = [part.entropies() for part in parts]
    predictive = _rows([e[0] for e in entropies if e is not None])
    expected = _rows([e[1] for e in entropies if e is not None])
    return OutputStatistics(
        mean=np.concatenate([m.mean for m in moments]),
        variance=np.concatenate([m.variance for m in moments]),
        standard_error=np.concatenate(errors),
        standard_error_from="blocks" if by_blocks else "passes",
        quantiles=quantiles,
        samples=samples,
        predictive_entropy=predictive,
        expected_entropy=expected,
        mutual_information=None if predictive is None or expected is None else predictive - expected,
    )


def _rows(parts: Sequence[Array]) -> Array | None:
    return np.concatenate(parts) if parts else None


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what TensorFlow says against values that fit shape and dtype, but not the model, into an `InputError`."""
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
        said = str(error.message).strip().splitlines()[0]
        raise InputError([Problem(("inputs",), f"the model refuses these values: {said}")]) from error
