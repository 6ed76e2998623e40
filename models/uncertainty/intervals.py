"""Intervals that hold a share of the passes. They say where the networks' means lie, not where a new target will."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["central_interval", "highest_density_interval", "quantiles"]

Array = NDArray[np.float64]


def quantiles(passes: NDArray[Any], levels: Sequence[float]) -> Array:
    """Quantiles over the passes, by linear interpolation (definition 7 of Hyndman & Fan 1996).

    Args:
        passes: Shape (S, ...), S >= 1.
        levels: Q levels in [0, 1].

    Returns:
        Shape (Q, ...), float64.

    Raises:
        ValueError: There is no pass, or a level lies outside [0, 1].
    """
    values = _passes(passes)
    if any(not 0 <= level <= 1 for level in levels):
        raise ValueError(f"expected levels from 0 to 1, received {list(levels)}")
    found: Array = np.quantile(values, list(levels), axis=0)
    return found


def central_interval(passes: NDArray[Any], share: float) -> tuple[Array, Array]:
    """The interval that leaves (1 - share) / 2 of the passes on either side.

    Args:
        passes: Shape (S, ...), S >= 1.
        share: In (0, 1).

    Returns:
        Lower and upper ends, shape (...) each.

    Raises:
        ValueError: There is no pass, or `share` lies outside (0, 1).
    """
    _check_share(share)
    lower, upper = quantiles(passes, ((1 - share) / 2, (1 + share) / 2))
    return lower, upper


def highest_density_interval(passes: NDArray[Any], share: float) -> tuple[Array, Array]:
    """The shortest interval that holds at least `share` of the passes (Hyndman 1996; Chen & Shao 1999).

    For a distribution of one peak this is its region of highest density. Ends are passes themselves.

    Args:
        passes: Shape (S, ...), S >= 1.
        share: In (0, 1).

    Returns:
        Lower and upper ends, shape (...) each; of equally short intervals the lowest.

    Raises:
        ValueError: There is no pass, or `share` lies outside (0, 1).
    """
    _check_share(share)
    ordered = np.sort(_passes(passes), axis=0)
    count = ordered.shape[0]
    # A hair less, so that 0.9 of 10 passes is 9 of them whatever 0.9 * 10 rounds to.
    held = max(1, math.ceil(share * count - 1e-9))
    widths = ordered[held - 1 :] - ordered[: count - held + 1]
    start = widths.argmin(axis=0)[np.newaxis]
    lower = np.take_along_axis(ordered, start, axis=0)[0]
    upper = np.take_along_axis(ordered, start + held - 1, axis=0)[0]
    return lower, upper


def _passes(passes: NDArray[Any]) -> Array:
    values = np.asarray(passes, dtype=np.float64)
    if values.ndim < 1 or values.shape[0] < 1:
        raise ValueError(f"expected passes of shape (S, ...) with S >= 1, received {values.shape}")
    return values


def _check_share(share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"expected a share between 0 and 1, both left out, received {share}")
