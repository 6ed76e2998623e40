"""How far a statistic over S independent passes may be from that over all passes: Monte Carlo standard errors.

They shrink as 1 / sqrt(S). Stratified passes are not independent: for these they overstate the error of the mean,
which `BlockMoments` tells, and say roughly that of the others.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thinned.models.uncertainty.entropy import entropy

__all__ = ["EntropyErrors", "error_of_mean", "error_of_variance", "errors_of_entropies"]

Array = NDArray[np.float64]


class EntropyErrors(NamedTuple):
    """Standard errors in nats, shape (B, ...) each."""

    predictive_entropy: Array
    expected_entropy: Array
    mutual_information: Array


def error_of_mean(passes: NDArray[Any]) -> Array:
    """Standard error of the mean, s / sqrt(S), where s is the sample standard deviation (ddof 1).

    Args:
        passes: Shape (S, ...), S >= 2.

    Returns:
        Shape (...).

    Raises:
        ValueError: There are fewer than 2 passes.
    """
    values = _at_least(passes, 2, "an error of the mean")
    error: Array = values.std(axis=0, ddof=1) / np.sqrt(values.shape[0])
    return error


def error_of_variance(passes: NDArray[Any]) -> Array:
    """Standard error of the sample variance, sqrt((m4 - s^4 (S - 3) / (S - 1)) / S).

    From Mood, Graybill & Boes 1974, chapter VI. `m4`, the fourth central moment, is estimated from the same passes, so
    few passes give a rough error.

    Args:
        passes: Shape (S, ...), S >= 4.

    Returns:
        Shape (...).

    Raises:
        ValueError: There are fewer than 4 passes.
    """
    values = _at_least(passes, 4, "an error of the variance")
    count = values.shape[0]
    apart = values - values.mean(axis=0)
    fourth = (apart**4).mean(axis=0)
    variance = (apart**2).sum(axis=0) / (count - 1)
    error: Array = np.sqrt(np.maximum(fourth - variance**2 * (count - 3) / (count - 1), 0.0) / count)
    return error


def errors_of_entropies(passes: NDArray[Any]) -> EntropyErrors:
    """Standard errors of predictive entropy, expected entropy and mutual information, by the delta method.

    To first order the predictive entropy H(q), q being the mean of the passes p_s, moves as the mean over passes of
    -sum p_s ln q; the mutual information as the mean of KL(p_s || q). Their spread over passes tells the errors
    (van der Vaart 1998, chapter 3). Besides, H(q) is too small by about the mean of chi-squared(p_s, q) / (2 S)
    (Miller 1955), which no standard error shows.

    Args:
        passes: Class probabilities, shape (S, B, ..., C), S >= 2.

    Raises:
        ValueError: There are fewer than 2 passes or 2 classes.
    """
    values = _at_least(passes, 2, "an error of an entropy")
    if values.ndim < 2 or values.shape[-1] < 2:
        raise ValueError(f"expected passes of shape (S, B, ..., C) with C >= 2, received {values.shape}")
    mean = np.clip(values.mean(axis=0), 0.0, 1.0)
    logs = np.log(mean, out=np.zeros_like(mean), where=mean > 0.0)
    crossed = -(values * logs).sum(axis=-1)
    own = entropy(values)
    return EntropyErrors(error_of_mean(crossed), error_of_mean(own), error_of_mean(crossed - own))


def _at_least(passes: NDArray[Any], least: int, what: str) -> Array:
    values = np.asarray(passes, dtype=np.float64)
    if values.ndim < 1 or values.shape[0] < least:
        received = values.shape[0] if values.ndim else 0
        raise ValueError(f"{what} needs {least} or more passes, received {received}; draw more")
    return values
