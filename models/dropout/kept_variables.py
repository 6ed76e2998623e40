"""Leave a model's variables as they were, whatever Keras itself does to it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["kept_variables"]


@contextmanager
def kept_variables(model: Any, *, trainable: bool = True) -> Iterator[None]:
    """Put the variables of `model` back, seeds included, whatever is done to it inside.

    Args:
        model: The Keras model.
        trainable: Whether the trainable ones too: a call that only predicts changes none of these.
    """
    kept = model.variables if trainable else [v for v in model.variables if not v.trainable]
    before = [(variable, variable.numpy()) for variable in kept]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)
