"""What passes say of several rows together. It is there because every row of a pass sees the same thinned network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinned.models.uncertainty.entropy import entropy

__all__ = ["MOST_JOINT", "covariance", "joint_entropy", "joint_mutual_information", "rank_batch"]

Array = NDArray[np.float64]
MOST_JOINT = 1_000_000
"""Most joint outcomes times passes that are kept: C ** rows * S."""


def covariance(passes: NDArray[Any]) -> Array:
    """Sample covariance of all outputs of all rows over shared passes (ddof 1), as a joint answer needs it.

    What it is for, and why single rows do not tell it: Wang, Sun & Grosse 2021, "Beyond marginal uncertainty".

    Args:
        passes: Shape (S, B, ...), S >= 2, every row drawn with the same masks; K outputs a row in all.

    Returns:
        Shape (B, K, B, K): entry [i, k, j, l] for output k of row i and output l of row j; symmetric, and never
        indefinite but for rounding.

    Raises:
        ValueError: There are fewer than 2 passes, or no axis of rows.
    """
    values = np.asarray(passes, dtype=np.float64)
    if values.ndim < 2 or values.shape[0] < 2:
        raise ValueError(f"expected passes of shape (S, B, ...) with S >= 2, received {values.shape}")
    count, rows = values.shape[:2]
    flat = values.reshape(count, -1)
    apart = flat - flat.mean(axis=0)
    spread: Array = apart.T @ apart / (count - 1)
    return spread.reshape(rows, -1, rows, flat.shape[1] // rows if rows else 0)


def joint_entropy(passes: NDArray[Any]) -> float:
    """Entropy of the labels of all rows together, in nats, with all C ** B outcomes counted.

    Args:
        passes: Class probabilities over shared passes, shape (S, B, C).

    Raises:
        ValueError: The shape is not that, or C ** B * S is over `MOST_JOINT`.
    """
    values = _classes(passes)
    joint = np.ones((len(values), 1))
    for row in range(values.shape[1]):
        joint = _extend(joint, values[:, row])
    return float(entropy(joint.mean(axis=0)))


def joint_mutual_information(passes: NDArray[Any]) -> float:
    """Mutual information between the network and the labels of all rows together (BatchBALD, Kirsch et al. 2019).

    At most the sum of the rows' own mutual informations: what two rows tell alike counts once.

    Args:
        passes: Class probabilities over shared passes, shape (S, B, C).

    Raises:
        ValueError: As for `joint_entropy`.
    """
    values = _classes(passes)
    return max(0.0, joint_entropy(values) - float(entropy(values).sum(axis=1).mean()))


def rank_batch(passes: NDArray[Any], count: int) -> tuple[list[int], list[float]]:
    """The rows whose labels would together tell most of the network, picked greedily (Kirsch et al. 2019, algorithm 1).

    Args:
        passes: Class probabilities over shared passes, shape (S, B, C).
        count: Rows to pick, at most B.

    Returns:
        Their numbers in the order of picking, and the joint mutual information after each, in nats.

    Raises:
        ValueError: There are fewer rows, or C ** count * S is over `MOST_JOINT`.
    """
    values = _classes(passes)
    if not 1 <= count <= values.shape[1]:
        raise ValueError(f"expected a count from 1 to {values.shape[1]}, the number of rows, received {count}")
    own = entropy(values).mean(axis=0)
    chosen: list[int] = []
    gains: list[float] = []
    joint = np.ones((len(values), 1))
    for _ in range(count):
        # p(earlier labels, label of row) for every row at once: the mean over passes of an outer product.
        together = np.einsum("sk,sbc->bkc", joint, values, optimize=True) / len(values)
        gain = entropy(together.reshape(len(together), -1)) - own - own[chosen].sum()
        gain[chosen] = -np.inf
        best = int(gain.argmax())
        chosen.append(best)
        gains.append(max(0.0, float(gain[best])))
        if len(chosen) < count:
            joint = _extend(joint, values[:, best])
    return chosen, gains


def _classes(passes: NDArray[Any]) -> Array:
    values = np.asarray(passes, dtype=np.float64)
    if values.ndim != 3 or values.shape[0] < 1 or values.shape[2] < 2:
        raise ValueError(f"expected passes of shape (S, B, C) with S >= 1 and C >= 2, received {values.shape}")
    return values


def _extend(joint: Array, probs: Array) -> Array:
    """Outcomes (S, K) of some rows, extended by a further row (S, C): (S, K * C)."""
    size = joint.size * probs.shape[1]
    if size > MOST_JOINT:
        raise ValueError(
            f"expected at most {MOST_JOINT} joint outcomes times passes, received {size}; take fewer rows or passes"
        )
    return (joint[:, :, np.newaxis] * probs[:, np.newaxis, :]).reshape(len(joint), -1)
