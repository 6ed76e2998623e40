"""One loaded model: deterministic answers, and statistics over passes drawn in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.card import ModelCard, OutputSpec
from models.dropout import Block, arm, prove
from models.errors import InputError, Problem, ThinnedError, UnsupportedModelError
from models.registry import StoredModel, load_keras
from models.uncertainty import EntropyMoments, Moments, probabilities

__all__ = ["Engine", "OutputStatistics", "WarmUpError"]

Array = npt.NDArray[Any]


class WarmUpError(ThinnedError):
    """The loaded model does not do what its card promises."""


@dataclass(frozen=True, slots=True)
class OutputStatistics:
    """What S passes say of one output, for B rows.

    `mean`, `variance` (ddof 1) and `standard_error` (of the mean) have shape (B, *output_shape), float64. `quantiles`
    has shape (Q, B, *output_shape) and `samples` (S, B, *output_shape) where they were asked for. The entropies, in
    nats, have shape (B,), with further axes where a row holds several classifications; only for classification.
    """

    mean: Array
    variance: Array
    standard_error: Array
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
        self._block_row_passes = block_row_passes
        self._armed = arm(load_keras(stored), input_specs=stored.card.inputs)

    def warm_up(self) -> None:
        """Trace every graph, and prove that answers repeat and that passes differ.

        Raises:
            WarmUpError: The proof failed.
        """
        try:
            prove(self._armed)
        except UnsupportedModelError as error:
            raise WarmUpError(f"Model {self.card.name}:{self.version} did not pass its warm-up: {error}") from error

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
    ) -> dict[str, OutputStatistics]:
        """Statistics over passes 0 to S - 1 of `seed`.

        Args:
            inputs: As for `predict`.
            n_samples: S >= 2, so that a sample variance exists.
            seed: Integer in [0, 2**53). Same seed, same answer.
            quantiles: Levels in (0, 1) to give over the passes; keeps all passes in memory.
            return_samples: Whether to give the passes themselves.

        Returns:
            Statistics by output name.

        Raises:
            NoSitesError: The model has no active site.
            InputError: The model itself refuses the values.
        """
        keep = bool(quantiles) or return_samples
        pieces: dict[int, dict[str, _Running]] = {}
        with _refusals():
            for block in self._blocks(inputs, n_samples, seed):
                running = pieces.setdefault(
                    block.rows.start, {spec.name: _Running(spec, keep) for spec in self.card.outputs}
                )
                for name, passes in block.passes.items():
                    running[name].update(passes)
        parts = list(pieces.values())
        return {
            spec.name: _join([part[spec.name] for part in parts], quantiles, return_samples)
            for spec in self.card.outputs
        }

    def _blocks(self, inputs: Mapping[str, Array], n_samples: int, seed: int) -> Iterator[Block]:
        return self._armed.sample_blocks(
            inputs, n_samples=n_samples, seed=seed, block_row_passes=self._block_row_passes
        )


class _Running:
    """What is kept of one output of some rows while their passes come in."""

    def __init__(self, spec: OutputSpec, keep: bool) -> None:
        self._spec = spec
        self.moments = Moments()
        self.entropies = EntropyMoments() if spec.task == "classification" else None
        self.passes: list[Array] | None = [] if keep else None

    def update(self, passes: Array) -> None:
        self.moments.update(passes)
        if self.entropies is not None and self._spec.scale != "values":
            self.entropies.update(probabilities(passes, self._spec.scale))
        if self.passes is not None:
            self.passes.append(passes)


def _join(parts: Sequence[_Running], quantiles: Sequence[float] | None, return_samples: bool) -> OutputStatistics:
    """Put rows that were computed apart back together."""
    samples = None
    if parts[0].passes is not None:
        samples = np.concatenate([np.concatenate(part.passes or []) for part in parts], axis=1)
    levels = None
    if quantiles and samples is not None:
        levels = np.quantile(samples.astype(np.float64), list(quantiles), axis=0)
    entropies = [part.entropies for part in parts if part.entropies is not None]
    return OutputStatistics(
        mean=np.concatenate([part.moments.mean for part in parts]),
        variance=np.concatenate([part.moments.variance for part in parts]),
        standard_error=np.concatenate([part.moments.standard_error for part in parts]),
        quantiles=levels,
        samples=samples if return_samples else None,
        predictive_entropy=np.concatenate([e.predictive_entropy for e in entropies]) if entropies else None,
        expected_entropy=np.concatenate([e.expected_entropy for e in entropies]) if entropies else None,
        mutual_information=np.concatenate([e.mutual_information for e in entropies]) if entropies else None,
    )


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what TensorFlow says against values that fit shape and dtype, but not the model, into an `InputError`."""
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
        said = str(error.message).strip().splitlines()[0]
        raise InputError([Problem(("inputs",), f"the model refuses these values: {said}")]) from error
