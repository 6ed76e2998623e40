"""Are a rival's answers those of the same network? A wrong answer's speed means nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinned.loadtest.benchmarks.rivals.contenders import Moments

__all__ = ["Reference", "WrongRivalError", "pooled", "worst_distance"]

FURTHEST = 5.0
"""Standard errors that a mean may be from the reference."""


class WrongRivalError(RuntimeError):
    """A rival answers something else than the network's mean and variance."""


@dataclass(frozen=True)
class Reference:
    """Mean and variance of some rows by many passes: each (B, classes), and the number of passes."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    passes: int


def pooled(answers: Sequence[Moments], passes: int) -> Reference:
    """One reference from answers to the same rows.

    Args:
        answers: Mean and sample variance, each (B, classes).
        passes: Of each answer.
    """
    means, variances = (np.stack(parts) for parts in zip(*answers, strict=True))
    between = means.var(axis=0, ddof=1) if len(means) > 1 else np.zeros_like(means[0])
    # Of all passes: within the answers, and between their means.
    variance = variances.mean(axis=0) + (between - variances.mean(axis=0) / passes).clip(min=0)
    return Reference(means.mean(axis=0), variance, passes * len(means))


def worst_distance(told: Reference, reference: Reference) -> float:
    """The distance of the furthest mean from the reference, in standard errors.

    Outputs are probabilities, and skewed: of a class that is hardly ever named, a single pass can be all of the mean.
    What one pass can change is added to each standard error.

    Raises:
        WrongRivalError: It is too far, or the variance is another, or the shapes are, or some numbers are not finite.
    """
    for name in ("mean", "variance"):
        mine, theirs = getattr(reference, name), getattr(told, name)
        if theirs.shape != mine.shape or not np.isfinite(theirs).all():
            raise WrongRivalError(f"{name}: expected finite numbers, {mine.shape}, received {theirs.shape}")
    error = np.sqrt(reference.variance * (1 / told.passes + 1 / reference.passes)) + 1 / told.passes
    distance = float((np.abs(told.mean - reference.mean) / error).max())
    if distance > FURTHEST:
        raise WrongRivalError(f"a mean is {distance:.1f} standard errors from Thinned's (at most {FURTHEST:g})")
    ratio, within = float(told.variance.sum() / reference.variance.sum()), 0.15 + 3 / told.passes**0.5
    if abs(ratio - 1) > within:
        raise WrongRivalError(f"the variance is {ratio:.2f} times Thinned's (1 to within {within:.2f})")
    return distance
