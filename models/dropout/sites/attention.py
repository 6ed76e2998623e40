"""Multi-head attention whose inputs no noise has touched: all but its last sum runs once for each row."""

from __future__ import annotations

from typing import Any

import keras

from thinned.models.compat.keras import COMPUTE_ATTENTION, attention_dropout, attention_einsum, flatten_layers
from thinned.models.dropout.sites.custom_noise import sites_of
from thinned.models.dropout.sites.noise_layers import NoiseProvider, Patches

__all__ = ["attend", "attends_with_noise"]

Tensor = Any
_MULTI_HEAD = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)


def attends_with_noise(layer: Any) -> bool:
    """Whether a layer is multi-head attention, Keras's own, whose only site is the dropout of its attention weights."""
    if type(layer) not in _MULTI_HEAD:
        return False
    return [site.layer for inner in flatten_layers(layer) for site in sites_of(inner)] == [attention_dropout(layer)]


def attend(layer: Any, provider: NoiseProvider) -> Patches:
    """Have multi-head attention compute its weights once for each row, where no noise has touched its inputs.

    Only what comes after the dropout of the weights, the sum of values, is different in every pass.
    """
    original = getattr(layer, COMPUTE_ATTENTION)

    def compute_attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not provider.narrow():
            return original(query, key, value, *args, **kwargs)
        kept: list[Tensor] = []

        def keep(weights: Tensor, training: bool | None = None) -> Tensor:
            kept.append(weights)
            return weights

        dropout = attention_dropout(layer).__dict__
        drawing = dropout["call"]
        dropout["call"] = keep
        try:
            _, scores = original(query, key, value, *args, **kwargs)
        finally:
            dropout["call"] = drawing
        draw = provider.draw(kept[0])
        if draw is None:
            raise RuntimeError(f"'{layer.name}' was traced without noise")
        weights = draw.bernoulli(kept[0], attention_dropout(layer).rate)
        attended = keras.ops.einsum(attention_einsum(layer), weights, draw.identity(value))
        return attended, None if scores is None else draw.identity(scores)

    return {COMPUTE_ATTENTION: compute_attention}
