"""The loaded model of a worker: its card, its warm-up, and how much of it is computed at once."""

from __future__ import annotations

from thinned.models.card import ModelCard
from thinned.models.dropout import BatchItem, StochasticModel, check_laws, example_inputs
from thinned.models.errors import UnsupportedModelError, WarmUpError
from thinned.models.loading import load_stored
from thinned.models.sampling import BLOCK, Sampling
from thinned.models.storage.model_store import StoredModel

__all__ = ["Engine"]

MOST_ROW_PASSES = 8192
"""In one call, unless it is set otherwise: more would keep other requests waiting for it, and make it no faster."""


class Engine:
    """A stored model, loaded. Safe to use from several threads.

    Args:
        stored: The model in the store.
        block_row_passes: How many rows x passes are computed at once: the bound on memory. By default as many as keep
            the widest tensor within 128 MiB.

    Attributes:
        card: The model's card.
        version: Its version in the store.
        model: What answers.

    Raises:
        ThinnedError: The stored model cannot be loaded.
    """

    def __init__(self, stored: StoredModel, *, block_row_passes: int | None = None) -> None:
        self.card: ModelCard = stored.card
        self.version: str = stored.version
        self.model: StochasticModel = load_stored(stored)
        self._row_passes = block_row_passes

    @property
    def row_passes(self) -> int:
        """How many rows x passes are computed at once."""
        return self._row_passes or min(self.model.row_passes, MOST_ROW_PASSES)

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in the model's order."""
        return [spec.name for spec in self.card.outputs]

    def warm_up(self) -> None:
        """Trace the graphs that most requests need, and check that answers repeat and that passes differ.

        Raises:
            WarmUpError: A check failed.
        """
        try:
            check_laws(self.model)
            self._trace("stratified", joined=False)
        except UnsupportedModelError as error:
            raise WarmUpError(f"Model {self.card.name}:{self.version} did not pass its warm-up: {error}") from error

    def warm_up_rest(self) -> None:
        """Trace what few requests need: independent passes, and seeds that share a call. It takes as long again."""
        self._trace("stratified", joined=True)
        self._trace("independent", joined=True)

    def _trace(self, sampling: Sampling, *, joined: bool) -> None:
        """Trace and run the graphs of one way of sampling, so that no request waits for it."""
        if not self.model.sites:
            return
        inputs = example_inputs(self.card.inputs, 2, model=self.model.keras_model)
        for row_passes in (2 * BLOCK, 2):  # in one call, and in pieces
            self.model.summary(inputs, n_samples=2, seed=0, sampling=sampling, row_passes=row_passes)
        if not joined:
            return
        frontier = self.model.prefix(inputs)
        for seeds in ((0, 0), (0, 1)):
            for rows in ({"inputs": inputs}, {"frontier": frontier}):
                items = [BatchItem(2, seed, 0, count, **rows) for seed, count in zip(seeds, (1, 2), strict=True)]
                self.model.draw(items, sampling=sampling)
