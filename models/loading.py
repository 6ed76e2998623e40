"""A stored model as a `StochasticModel`: what the service, the commands and a notebook load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.dropout import ExampleRows, Frontier, StochasticModel, enable_mc_dropout
from thinned.models.dropout.pooling import Pooling
from thinned.models.dropout.prefix_features import PrefixFeatures, prefix_features
from thinned.models.errors import ModelCorruptError
from thinned.models.storage.kept_ood import load_ood
from thinned.models.storage.model_store import StoredModel, find, load_keras, load_rows
from thinned.models.uncertainty.nearest_rows import NearestRows, OodScores

__all__ = ["OodScorer", "load", "load_scorer", "load_stored"]

_ROWS = 256  # whose frontier is held at a time


def load(name: str) -> StochasticModel:
    """Load a model from the store.

    Args:
        name: "name" or "name:version", as `thinned models` lists them.

    Raises:
        ModelNotFoundError: There is no such model; the text lists what there is.
        ModelCorruptError: A stored file is not the one that was imported.
        UnsupportedModelError: It cannot be loaded here, for instance after an update of Keras.
    """
    return load_stored(find(name))


def load_stored(stored: StoredModel) -> StochasticModel:
    """Load a model that was found in the store; its errors are those of `load`."""
    classes = {
        spec.name: spec.scale
        for spec in stored.card.outputs
        if spec.task == "classification" and spec.scale != "values"
    }
    return enable_mc_dropout(
        load_keras(stored),
        input_specs=stored.card.inputs,
        classes=classes,
        examples=_examples(stored),
        pooling=Pooling.of(stored.card.outputs),
    )


def _examples(stored: StoredModel) -> ExampleRows | None:
    """The rows on which the model was checked at import; None for a card that does not say them."""
    if not stored.card.examples:
        return None
    return ExampleRows(stored.card.examples, load_rows(stored))


@dataclass(frozen=True)
class OodScorer:
    """Tells, of what the prefix made of rows, how unlike the calibration rows each is."""

    features: PrefixFeatures
    nearest: NearestRows

    def __call__(self, frontier: Frontier) -> OodScores:
        """Score the rows of a frontier.

        Raises:
            AnswerNotFiniteError: The prefix gave NaN or infinity.
        """
        return self.nearest.answer(self.features.of(frontier))

    def of_rows(self, model: StochasticModel, inputs: Mapping[str, npt.NDArray[Any]]) -> OodScores:
        """Score rows (B, ...) by input name, some at a time."""
        rows = len(next(iter(inputs.values())))
        found = [
            self(model.prefix({name: x[start : start + _ROWS] for name, x in inputs.items()}))
            for start in range(0, rows, _ROWS)
        ]
        return OodScores(*(np.concatenate(column) for column in zip(*found, strict=True)))


def load_scorer(stored: StoredModel, model: StochasticModel) -> OodScorer | None:
    """What tells unlike rows of a loaded model; None where calibration made nothing that does.

    Raises:
        ModelCorruptError: Its file is missing, or is not the one that was stored.
    """
    nearest = load_ood(stored)
    if nearest is None:
        return None
    features = prefix_features(model, stored.card.inputs, stored.card.split.frontier)
    if features.numbers != nearest.width:
        raise ModelCorruptError(
            f"{stored.tag} was calibrated with {nearest.width} numbers of a row before the first dropout, and has "
            f"{features.numbers} now; calibrate it again (thinned calibrate {stored.card.name} --ood)"
        )
    return OodScorer(features, nearest)
