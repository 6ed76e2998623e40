"""The variance of a new target in two parts: *epistemic*, of the network, and *aleatoric*, of the data.

More data could remove the first, and never the second. By the law of total variance,
var(y) = var(E[y | network]) + E[var(y | network)]: the spread of the networks' means over passes, and the mean of the
noise that each expects.

References:
    Kendall & Gal 2017, What Uncertainties Do We Need in Bayesian Deep Learning for Computer Vision?,
    https://arxiv.org/abs/1703.04977
    Kwon et al. 2020, Uncertainty Quantification Using Bayesian Neural Networks in Classification,
    https://doi.org/10.1016/j.csda.2019.106816
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Decomposition",
    "decompose_gaussian",
    "decompose_probabilities",
    "decompose_values",
    "split_gaussian",
    "split_probabilities",
]

Array = NDArray[np.float64]
MOST_LOG_VARIANCE = 60.0


class Decomposition(NamedTuple):
    """Variances of a new target. `aleatoric` and `total` are None where nothing tells the noise of the data."""

    epistemic: Array
    aleatoric: Array | None
    total: Array | None


def decompose_values(variance: NDArray[Any], noise: float | NDArray[Any] | None) -> Decomposition:
    """A regression whose network answers a mean only: the noise comes from elsewhere (Gal & Ghahramani 2016).

    Args:
        variance: Variance of the network's answer over passes, shape (B, ...).
        noise: Variance of the observation noise, 1 / tau, in squared units of the target; None if it is not known.
    """
    epistemic = np.asarray(variance, dtype=np.float64)
    if noise is None:
        return Decomposition(epistemic, None, None)
    aleatoric: Array = np.broadcast_to(np.asarray(noise, dtype=np.float64), epistemic.shape).copy()
    return Decomposition(epistemic, aleatoric, epistemic + aleatoric)


def split_gaussian(outputs: NDArray[Any]) -> tuple[Array, Array]:
    """Means and variances of an output whose last axis holds K means, then K logarithms of variances.

    Args:
        outputs: Shape (..., 2 K).

    Returns:
        Means and variances, shape (..., K) each. Logarithms are bounded to ±60, so that none is 0 or infinite.

    Raises:
        ValueError: The last axis is not of even length.
    """
    values = np.asarray(outputs, dtype=np.float64)
    if values.ndim < 1 or values.shape[-1] < 2 or values.shape[-1] % 2:
        raise ValueError(f"expected K means and K log-variances on the last axis, received shape {values.shape}")
    means, logs = np.split(values, 2, axis=-1)
    return means, np.exp(np.clip(logs, -MOST_LOG_VARIANCE, MOST_LOG_VARIANCE))


def decompose_gaussian(
    passes: NDArray[Any], *, factor: float = 1.0, epistemic: NDArray[Any] | None = None
) -> Decomposition:
    """A regression whose network answers a mean and a log-variance (Kendall & Gal 2017, equation 9).

    Args:
        passes: Shape (S, B, ..., 2 K) with S >= 2, as for `split_gaussian`.
        factor: What the network's variances are multiplied by; from calibration.
        epistemic: The variance of the means, (B, ..., K), where it is known better than these passes tell it.

    Returns:
        Variances of shape (B, ..., K).

    Raises:
        ValueError: The shape is not that.
    """
    means, variances = split_gaussian(passes)
    if means.ndim < 2 or means.shape[0] < 2:
        raise ValueError(f"expected passes of shape (S, B, ..., 2 K) with S >= 2, received {np.shape(passes)}")
    spread: Array = means.var(axis=0, ddof=1) if epistemic is None else np.asarray(epistemic, np.float64)
    aleatoric: Array = factor * variances.mean(axis=0)
    return Decomposition(spread, aleatoric, spread + aleatoric)


def decompose_probabilities(mean: NDArray[Any], variance: NDArray[Any], count: int) -> Decomposition:
    """The variance of each class's indicator (Kwon et al. 2020): a label is 0 or 1, and a pass knows its own noise.

    With p over passes, the aleatoric part is the mean of p (1 - p), the epistemic part the variance of p, and both
    together m (1 - m), where m is the mean of p. Only moments are needed.

    Args:
        mean: Mean probabilities over passes, shape (B, ..., C); or of single sigmoids.
        variance: Their sample variance (ddof 1), of the same shape.
        count: Passes S >= 2 that these come from.

    Returns:
        Variances of the same shape; `epistemic` as the population variance (ddof=0), so that the parts add up exactly.

    Raises:
        ValueError: There are fewer than 2 passes.
    """
    if count < 2:
        raise ValueError(f"expected 2 or more passes, received {count}; draw more")
    return split_probabilities(mean, np.asarray(variance, dtype=np.float64) * ((count - 1) / count))


def split_probabilities(mean: NDArray[Any], spread: NDArray[Any]) -> Decomposition:
    """The same of mean probabilities and their population variance (ddof=0), of one shape."""
    m = np.clip(np.asarray(mean, dtype=np.float64), 0.0, 1.0)
    total = m * (1.0 - m)
    # A variable on [0, 1] varies by no more than m (1 - m); rounding must not break it.
    epistemic = np.clip(np.asarray(spread, dtype=np.float64), 0.0, total)
    return Decomposition(epistemic, total - epistemic, total)
