"""Write the functions of a model as a SavedModel: with the variables that they read, and nothing else of Keras."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from thinned.models.compat.keras import flatten_layers
from thinned.models.compat.messages import message_of
from thinned.models.errors import ExportError

__all__ = ["write_saved_model"]


def write_saved_model(functions: Mapping[str, Any], keras_model: Any, folder: Path) -> None:
    """Write a SavedModel.

    What the functions read is tracked by itself: the variables that their graphs captured, and lookup tables of layers.
    State that passes do not read, such as the seed generator that a recurrent layer keeps, is not in the file.

    Args:
        functions: By name of their signature, each a `tf.function` that was traced.
        keras_model: Whose they are.
        folder: Where to; it need not be there.

    Raises:
        ExportError: A graph reads something that TensorFlow cannot write into a file.
    """
    module = tf.Module()
    graphs = [function.get_concrete_function().graph for function in functions.values()]
    module.read = [variable for graph in graphs for variable in graph.variables]
    module.tables = list(_tables(keras_model))
    module.functions = dict(functions)
    try:
        with _quiet():
            tf.saved_model.save(module, str(folder), signatures=dict(functions))
    except (AssertionError, ValueError, TypeError, NotImplementedError, tf.errors.OpError) as error:
        raise ExportError(
            f"TensorFlow cannot write the model '{keras_model.name}' as a SavedModel: {message_of(error)}"
        ) from error


def _tables(keras_model: Any) -> Iterator[Any]:
    """Lookup tables of layers such as StringLookup: resources of TensorFlow, which are no variables."""
    for layer in flatten_layers(keras_model):
        for value in vars(layer).values():
            if isinstance(value, tf.saved_model.experimental.TrackableResource):
                yield value


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines that TensorFlow logs of every file it writes."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
