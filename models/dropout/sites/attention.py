"""Multi-head attention whose inputs no noise has touched: all but its last sum runs once for each row."""

from __future__ import annotations

from typing import Any

import keras

from thinned.models.dropout.sites.noise_layers import Here, Patches, kind_of

__all__ = ["attend", "attends_with_noise"]

Tensor = Any
_MULTI_HEAD = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)


def attends_with_noise(layer: Any) -> bool:
    """Whether a layer is multi-head attention, Keras's own, whose only site is the dropout of its attention weights."""
    if type(layer) not in _MULTI_HEAD:
        return False
    return [site.layer for inner in layer._flatten_layers() for site in kind_of(inner)] == [layer._dropout_layer]


def attend(layer: Any, here: Here) -> Patches:
    """Have multi-head attention compute its weights once for each row, where no noise has touched its inputs.

    Only what comes after the dropout of the weights, the sum of values, is different in every pass.
    """
    original = layer._compute_attention

    def compute_attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not here.narrow():
            return original(query, key, value, *args, **kwargs)
        kept: list[Tensor] = []

        def keep(weights: Tensor, training: bool | None = None) -> Tensor:
            kept.append(weights)
            return weights

        dropout = layer._dropout_layer.__dict__
        stochastic = dropout["call"]
        dropout["call"] = keep
        try:
            _, scores = original(query, key, value, *args, **kwargs)
        finally:
            dropout["call"] = stochastic
        draw = here.draw(kept[0])
        if draw is None:
            raise RuntimeError(f"'{layer.name}' was stochastic without noise")
        weights = draw.bernoulli(kept[0], layer._dropout_layer.rate)
        attended = keras.ops.einsum(layer._combine_equation, weights, draw.identity(value))
        return attended, None if scores is None else draw.identity(scores)

    return {"_compute_attention": compute_attention}
