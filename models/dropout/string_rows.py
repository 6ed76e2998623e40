"""Made-up text for an input of strings: words that the model knows, and one that it need not know."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.compat.keras import flatten_layers, functional_graph
from thinned.models.dropout.partition.lookups import readers, vocabulary
from thinned.models.dropout.partition.signature import UNKNOWN_LENGTH, read_signature

__all__ = ["padding_hint", "string_rows"]

_WORDS = ("a", "b", "c", "d")
_SENTENCES = (3, 2, 6, 4)
"""Words in the text of one row after the other: where a model pads to the longest, that must show."""


def string_rows(model: Any, spec: InputSpec, rows: int, seed: int) -> npt.NDArray[np.object_]:
    """Strings for one input, shape (rows, *shape): from the vocabulary of the table that reads it, else plain words.

    Where the model splits text into words, a string holds 2 to 6 of them.

    Args:
        model: The Keras model; None where only its card is at hand.
        spec: The input.
        rows: How many rows.
        seed: Of the choice.
    """
    draw = np.random.default_rng(seed)
    shape = (rows, *(UNKNOWN_LENGTH if n is None else n for n in spec.shape))
    known, splits = _known(model, spec)
    words = np.array(known or _WORDS, object)
    if not splits:
        return np.asarray(draw.choice(words, shape), object)
    sentences = draw.choice(words, (*shape, max(_SENTENCES)))
    made: npt.NDArray[np.object_] = np.empty(shape, object)
    for place in np.ndindex(shape):
        made[place] = " ".join(sentences[place][: _SENTENCES[place[0] % len(_SENTENCES)]])
    return made


def padding_hint(model: Any) -> str:
    """What may be behind it where rows of a request depend on each other, for the end of a message; else nothing."""
    layers = (layer for layer in flatten_layers(model) if isinstance(layer, keras.layers.TextVectorization))
    if any(layer.get_config().get("output_sequence_length") is None for layer in layers):
        return " (its text is padded to the longest row: give TextVectorization an output_sequence_length)"
    return ""


def _known(model: Any, spec: InputSpec) -> tuple[list[str], bool]:
    """The words that the model knows, and whether it splits strings into words."""
    graph = None if model is None else functional_graph(model)
    if graph is None:
        return [], False
    texts = {
        found.name: tensor
        for found, tensor in zip(read_signature(model).inputs, graph.inputs, strict=True)
        if found.dtype == "string"
    }
    # A user may have given inputs other names: then one that has no rival will be meant.
    tensor = texts.get(spec.name, next(iter(texts.values())) if len(texts) == 1 else None)
    if tensor is None:
        return [], False
    splits = any(isinstance(layer, keras.layers.TextVectorization) for layer in readers(graph, tensor))
    return vocabulary(graph, tensor), splits
