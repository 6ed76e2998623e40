"""Weights that are no numbers: a NaN or an infinity among them makes every answer worthless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from thinned.models.card import Finding
from thinned.models.compat.keras import flatten_layers

__all__ = ["findings_of_weights"]

_MOST = 5
"""Variables that get a finding of their own; a model that diverged holds NaN in nearly all."""


def findings_of_weights(model: Any, paths: Mapping[int, str]) -> list[Finding]:
    """An error for each variable that holds NaN or infinity, the first ones of the model where there are many.

    Args:
        model: The Keras model.
        paths: Path of each layer by `id`.
    """
    holders = _holders(model, paths)
    broken = [(variable, count) for variable in model.variables if (count := _not_finite(variable))]
    findings = []
    for place, (variable, count) in enumerate(broken[:_MOST], 1):
        layer = holders.get(id(variable), model.name)
        left = len(broken) - _MOST if place == _MOST else 0
        others = f" So do {left} more {'variable' if left == 1 else 'variables'} of the model." if left > 0 else ""
        findings.append(
            Finding(
                level="error",
                code="weights-not-finite",
                site=layer,
                text=f"Layer {layer}: its variable {variable.name} holds NaN or infinity ({count:,} of "
                f"{_size(variable):,} numbers). What the layer computes from them is no number.{others}",
                remedy="Go back to weights from before the training diverged, or train again with a smaller learning "
                "rate or clipped gradients.",
            )
        )
    return findings


def _holders(model: Any, paths: Mapping[int, str]) -> dict[int, str]:
    """Path of the innermost layer that holds a variable, by `id` of the variable."""
    held: dict[int, str] = {}
    for layer in flatten_layers(model):  # a layer comes before those inside it
        if id(layer) in paths:
            held.update((id(variable), paths[id(layer)]) for variable in layer.variables)
    return held


def _not_finite(variable: Any) -> int:
    if "float" not in str(variable.dtype):
        return 0
    ops = keras.ops
    return int(ops.sum(ops.cast(ops.logical_not(ops.isfinite(variable.value)), "int32")))


def _size(variable: Any) -> int:
    size = 1
    for length in variable.shape:
        size *= int(length)
    return size
