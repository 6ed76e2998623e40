"""How undecided a classification is, by two measures that need no logarithm."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["margin", "variation_ratio"]

Array = NDArray[np.float64]


def variation_ratio(passes: NDArray[Any]) -> Array:
    """Share of the passes that do not vote for the class with the most votes (Freeman 1965; Gal 2016, section 3.3.1).

    Args:
        passes: Class probabilities, shape (S, B, ..., C) with S >= 1 and C >= 2. A pass votes for its largest; the
            first of equal ones.

    Returns:
        From 0, where all passes agree, to below 1 - 1 / C; shape (B, ...).

    Raises:
        ValueError: The shape is not that.
    """
    values = np.asarray(passes, dtype=np.float64)
    if values.ndim < 2 or values.shape[0] < 1 or values.shape[-1] < 2:
        raise ValueError(f"expected passes of shape (S, B, ..., C) with S >= 1 and C >= 2, received {values.shape}")
    votes = values.argmax(axis=-1)
    counts = np.stack([(votes == label).sum(axis=0) for label in range(values.shape[-1])])
    ratio: Array = 1.0 - counts.max(axis=0) / values.shape[0]
    return ratio


def margin(probs: NDArray[Any]) -> Array:
    """Largest less second-largest probability (Scheffer, Decomain & Wrobel 2001): small where two classes compete.

    Args:
        probs: Probabilities, shape (..., C) with C >= 2.

    Returns:
        From 0 to 1, shape (...).

    Raises:
        ValueError: There are fewer than two classes.
    """
    values = np.asarray(probs, dtype=np.float64)
    if values.ndim < 1 or values.shape[-1] < 2:
        raise ValueError(f"expected probabilities of shape (..., C) with C >= 2, received {values.shape}")
    best = np.partition(values, -2, axis=-1)[..., -2:]
    apart: Array = best[..., 1] - best[..., 0]
    return apart
