"""The loaded model of a worker: its card, its warm-up, and how much of it is computed at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any, TypeAlias

import numpy.typing as npt

from thinned.models.card import ModelCard
from thinned.models.dropout import ALL_THE_SAME, BatchItem, StochasticModel, check_laws
from thinned.models.dropout.call_memory import CALL_BYTES
from thinned.models.dropout.noise_ahead import NoiseAhead
from thinned.models.errors import MemoryLimitError, UnsupportedModelError, WarmUpError
from thinned.models.loading import OodScorer, load_scorer, load_stored
from thinned.models.sampling import BLOCK, ESTIMATORS, Sampling
from thinned.models.storage.model_store import StoredModel

__all__ = ["Engine"]

Array: TypeAlias = npt.NDArray[Any]

PEAK_OF_A_CALL = 8
"""The peak of a call over its widest tensor. Measured with two heads of attention over 1,024 and 2,048 positions: 3 and
6 times what the widest tensor takes in all passes."""
PEAK_OF_A_PASS = 24
"""The same of a single pass, whose masks are drawn with those of its block (4,000 positions: 24 times)."""
MOST_ROW_PASSES = 8192
"""In one call, unless it is set otherwise: more would keep other requests waiting for it, and make it no faster."""


class Engine:
    """A stored model, loaded. Safe to use from several threads.

    Args:
        stored: The model in the store.
        block_row_passes: How many rows x passes are computed at once: the bound on memory. By default as many as keep
            the widest tensor within 128 MiB.
        call_memory: Bytes that a call may use at its peak.
        noise_memory: Bytes that noise may take which is drawn before it is asked for.

    Attributes:
        card: The model's card.
        version: Its version in the store.
        model: What answers.
        ood: What tells rows unlike the calibration rows; None where the model was not calibrated for it.
        ahead: Noise for requests that name no seed; None until all graphs are there, and where it cannot be kept.

    Raises:
        ThinnedError: The stored model cannot be loaded.
    """

    def __init__(
        self,
        stored: StoredModel,
        *,
        block_row_passes: int | None = None,
        call_memory: int = PEAK_OF_A_CALL * CALL_BYTES,
        noise_memory: int = 0,
    ) -> None:
        self.card: ModelCard = stored.card
        self.version: str = stored.version
        self.model: StochasticModel = load_stored(stored)
        self.ood: OodScorer | None = load_scorer(stored, self.model)
        self._row_passes = block_row_passes
        self._call_memory, self._noise_memory = call_memory, noise_memory
        self.ahead: NoiseAhead | None = None

    def row_passes_for(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """How many rows x passes of rows of these shapes may be computed at once.

        Raises:
            MemoryLimitError: Not even one pass of one row can be.
        """
        if self._row_passes is not None:
            return self._row_passes
        widest = self.model.row_bytes(shapes)
        if widest * PEAK_OF_A_PASS > self._call_memory:
            raise MemoryLimitError(
                f"one pass of one row of these lengths needs about {widest * PEAK_OF_A_PASS >> 20} MiB, and a call may "
                f"use {self._call_memory >> 20} MiB; send shorter rows"
            )
        most = self.model.row_passes_for(shapes, call_bytes=min(CALL_BYTES, self._call_memory // PEAK_OF_A_CALL))
        return min(most, MOST_ROW_PASSES)

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in the model's order."""
        return [spec.name for spec in self.card.outputs]

    def numbers_per_row(self, inputs: Mapping[str, Array]) -> int:
        """Numbers that all outputs hold for one row; of lengths that vary, as many as the longest input has."""
        longest = max(max(x.shape[1:], default=1) for x in inputs.values())
        return sum(math.prod(longest if n is None else n for n in spec.shape) for spec in self.card.outputs)

    def warm_up(self) -> None:
        """Trace the graphs that most requests need, and check that answers repeat and that passes differ.

        Raises:
            WarmUpError: A check failed.
        """
        try:
            noted = check_laws(self.model)
            known = any(ALL_THE_SAME in warning for warning in self.card.warnings)
            if not known and any(ALL_THE_SAME in note for note in noted):
                raise UnsupportedModelError(f"{' '.join(noted)} When it was imported they differed.")
            self._trace("stratified", joined=False)
        except UnsupportedModelError as error:
            raise WarmUpError(f"Model {self.card.name}:{self.version} did not pass its warm-up: {error}") from error

    def warm_up_rest(self) -> None:
        """Trace what few requests need: independent passes, and seeds that share a call. It takes as long again.

        Then noise can be drawn ahead of requests.
        """
        self._trace("stratified", joined=True)
        self._trace("independent", joined=True)
        ahead = self.model.draws_ahead(self._noise_memory) if self._noise_memory else None
        if ahead is not None:
            inputs = self.model.examples.rows(2)
            noise = ahead.sample()
            for rows in ({"inputs": inputs}, {"frontier": self.model.prefix(inputs)}):
                self.model.draw([BatchItem(2, noise.seed, 0, 2, noise=noise, **rows)])
        self.ahead = ahead

    def _trace(self, sampling: Sampling, *, joined: bool) -> None:
        """Trace and run the graphs of one way of sampling, so that no request waits for it."""
        if not self.model.sites:
            return
        inputs = self.model.examples.rows(2)
        made = ESTIMATORS if self.model.closed_forms and joined else ESTIMATORS[:1]
        for row_passes, estimator in product((2 * BLOCK, 2), made):  # in one call, and in pieces
            self.model.summary(
                inputs, n_samples=2, seed=0, sampling=sampling, row_passes=row_passes, estimator=estimator
            )
        if not joined:
            return
        frontier = self.model.prefix(inputs)
        for seeds in ((0, 0), (0, 1)):
            for rows in ({"inputs": inputs}, {"frontier": frontier}):
                items = [BatchItem(2, seed, 0, count, **rows) for seed, count in zip(seeds, (1, 2), strict=True)]
                for estimator in made:
                    self.model.draw(items, sampling=sampling, estimator=estimator)
