"""Made-up text for an input of strings: words that the model knows, and one that it need not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from thinned.models.compat.keras import flatten_layers
from thinned.models.dropout.partition.lookups import readers, vocabulary

__all__ = ["known_words", "make_strings", "padding_hint"]

_MOST_WORDS = 64
_WORDS = ("a", "b", "c", "d")
_SENTENCES = (3, 2, 6, 4)
"""Words in the text of one row after the other: where a model pads to the longest, that must show."""


def make_strings(
    shape: tuple[int, ...], words: Sequence[str], draw: np.random.Generator, *, sentences: bool
) -> npt.NDArray[np.object_]:
    """Strings of given words, rows first: a word each, or sentences of 2 to 6."""
    known = np.array(words, object)
    if not sentences:
        return np.asarray(draw.choice(known, shape), object)
    texts = draw.choice(known, (*shape, max(_SENTENCES)))
    made: npt.NDArray[np.object_] = np.empty(shape, object)
    for place in np.ndindex(shape):
        made[place] = " ".join(texts[place][: _SENTENCES[place[0] % len(_SENTENCES)]])
    return made


def known_words(graph: Any, tensor: Any) -> tuple[tuple[str, ...], bool]:
    """Some of the words that the table knows which reads an input, and whether the model splits strings into words.

    Args:
        graph: The model's functional graph; None where it is not known: then plain words are given.
        tensor: The input, one of `graph.inputs`.
    """
    if graph is None:
        return _WORDS, False
    splits = any(isinstance(layer, keras.layers.TextVectorization) for layer in readers(graph, tensor))
    return tuple(vocabulary(graph, tensor)[:_MOST_WORDS]) or _WORDS, splits


def padding_hint(model: Any) -> str:
    """What may be behind it where rows of a request depend on each other, for the end of a message; else nothing."""
    layers = (layer for layer in flatten_layers(model) if isinstance(layer, keras.layers.TextVectorization))
    if any(layer.get_config().get("output_sequence_length") is None for layer in layers):
        return " (its text is padded to the longest row: give TextVectorization an output_sequence_length)"
    return ""
