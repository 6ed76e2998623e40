"""Two outputs, a mean and how far the target lies from it, made the one output that a gaussian is read from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thinned.models.errors import UnsupportedModelError, UsageError
from thinned.models.gaussian_heads import GaussianHeads, Spread

__all__ = ["join_heads"]

_LEAST = 1e-30
"""Variances below it, 0 among them, have no logarithm that float32 holds."""


def join_heads(model: Any, pairs: Sequence[GaussianHeads]) -> Any:
    """A model with one output for each pair, K means and then K log-variances, in the place of the mean.

    Args:
        model: A functional Keras model.
        pairs: Names of outputs, as the model gives them.

    Returns:
        The model, its layers shared with the one that was given; its outputs by name where they were.

    Raises:
        UsageError: There is no such output, or one is named twice.
        UnsupportedModelError: The model is no functional one, or the two differ in shape.
    """
    import keras

    from thinned.models.compat.keras import functional_graph, outputs_structure
    from thinned.models.dropout.partition.signature import output_names

    graph = functional_graph(model)
    if graph is None or isinstance(model, keras.Sequential):
        raise UnsupportedModelError(
            f"'{model.name}' is a {type(model).__name__}, whose outputs cannot be joined from outside; join them in "
            "the model (keras.layers.Concatenate of the mean and the log-variance) and save it again"
        )
    outputs = dict(zip(output_names(graph), graph.outputs, strict=True))
    named = [name for pair in pairs for name in (pair.mean, pair.spread)]
    for name in named:
        if name not in outputs:
            raise UsageError(f"--gaussian names the output {name!r}; the model's outputs are {', '.join(outputs)}")
        if named.count(name) > 1:
            raise UsageError(f"--gaussian names the output {name!r} twice")
    for pair in pairs:
        mean, spread = outputs[pair.mean], outputs.pop(pair.spread)
        if tuple(mean.shape) != tuple(spread.shape) or len(mean.shape) < 2:
            raise UnsupportedModelError(
                f"--gaussian: '{pair.mean}' has the shape {tuple(mean.shape)} and '{pair.spread}' "
                f"{tuple(spread.shape)}; expected the same, a row's numbers on the last axis"
            )
        outputs[pair.mean] = keras.layers.Concatenate(name=pair.joined)([mean, _log_variance(spread, pair.kind)])
    means = {pair.mean: pair.joined for pair in pairs}
    left = {means.get(name, name): tensor for name, tensor in outputs.items()}
    by_name = isinstance(outputs_structure(graph), dict)
    flat = list(left.values())
    return keras.Model(graph.input, left if by_name else flat[0] if len(flat) == 1 else flat, name=model.name)


def _log_variance(spread: Any, kind: Spread) -> Any:
    import keras

    if kind == "log_variance":
        return spread
    variance = keras.ops.square(spread) if kind == "deviation" else spread
    return keras.ops.log(keras.ops.maximum(variance, _LEAST))
