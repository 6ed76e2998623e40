"""Passes in which each row has thinned networks of its own, as requests have that are sent one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thinned.models.sampling import SEEDS
from thinned.models.uncertainty.promises import CALIBRATED_SAMPLING

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["own_passes"]

MOST_ITEMS = 64
"""Rows in one graph call; each draws masks for itself."""


def own_passes(
    model: StochasticModel, output: str, inputs: Mapping[str, npt.NDArray[Any]], *, n_samples: int, seed: int
) -> npt.NDArray[Any]:
    """Passes (S, B, *shape) of one output in which each row has thinned networks of its own.

    Rows that share their networks share the error of these, and are more alike than a later request is.

    Args:
        model: The model.
        output: Name of the output.
        inputs: By input name, (B, *shape).
        n_samples: S.
        seed: Of the seeds of the rows.

    Raises:
        NoSitesError: The model has no site.
    """
    from thinned.models.dropout.batching import BatchItem

    model.require_passes()
    rows = len(next(iter(inputs.values())))
    seeds = np.random.default_rng(seed).integers(0, SEEDS, rows).tolist()
    ones = [{name: x[i : i + 1] for name, x in inputs.items()} for i in range(rows)]
    together = min(MOST_ITEMS, model.row_passes_for({name: x.shape[1:] for name, x in inputs.items()}) // n_samples)
    if together < 2:
        one = [model.sample(own, n_samples=n_samples, seed=s)[output] for own, s in zip(ones, seeds, strict=True)]
        return np.concatenate(one, axis=1)
    items = [
        BatchItem(1, s, 0, n_samples, inputs=own, frontier=None, keep_passes=True)
        for own, s in zip(ones, seeds, strict=True)
    ]
    drawn = []
    for start in range(0, rows, together):
        for part in model.draw(items[start : start + together], sampling=CALIBRATED_SAMPLING):
            passes = part[output].passes
            drawn += [] if passes is None else [passes]
    return np.concatenate(drawn, axis=1)
