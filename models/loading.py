"""A stored model as a `StochasticModel`: what the service, the commands and a notebook load."""

from __future__ import annotations

from thinned.models.dropout import ExampleRows, StochasticModel, enable_mc_dropout
from thinned.models.storage.model_store import StoredModel, find, load_keras, load_rows

__all__ = ["load", "load_stored"]


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
        load_keras(stored), input_specs=stored.card.inputs, classes=classes, examples=_examples(stored)
    )


def _examples(stored: StoredModel) -> ExampleRows | None:
    """The rows on which the model was checked at import; None for a card that does not say them."""
    if not stored.card.examples:
        return None
    return ExampleRows(stored.card.examples, load_rows(stored))
