"""Passes read as what a model says of the target: by task, in one shape for all."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import OutputSpec
from thinned.models.errors import InputError, Problem
from thinned.models.uncertainty import probabilities, split_gaussian
from thinned.models.uncertainty.members import parts_of_passes

__all__ = [
    "Array",
    "Values",
    "class_targets",
    "classes_of",
    "is_classes",
    "log_likelihood",
    "quantiles_of",
    "value_targets",
    "values_of",
]

Array = npt.NDArray[np.float64]
_TINY = 1e-300


def is_classes(spec: OutputSpec) -> bool:
    """Whether the output tells labels, not numbers."""
    return spec.task in ("classification", "multilabel")


@dataclass(frozen=True)
class Values:
    """What S passes say of K numbers in each of B rows: each a mean and, where it tells, the noise about it.

    `means` is (S, B, K). `noises`, variances, is of that shape for a network that answers them, of shape (K,) where the
    card knows the noise, and None where nothing does. Where they are of several `members`, S counts the passes of all,
    pass by pass.
    """

    means: Array
    noises: Array | None
    members: int = 1

    @property
    def mean(self) -> Array:
        """(B, K)."""
        mean: Array = self.means.mean(axis=0)
        return mean

    @property
    def epistemic(self) -> Array:
        """Variance of the means over passes, (B, K), as it is served; 0 for a single pass."""
        if self.members > 1:
            parts = parts_of_passes(self.means, self.members)
            return parts.within + parts.between
        if len(self.means) < 2:
            return np.zeros(self.means.shape[1:])
        spread: Array = self.means.var(axis=0, ddof=1)
        return spread

    @property
    def aleatoric(self) -> Array | None:
        """Mean noise, (B, K); None where it is not known."""
        if self.noises is None:
            return None
        mean = self.noises.mean(axis=0) if self.noises.ndim == 3 else self.noises
        noise: Array = np.broadcast_to(mean, self.means.shape[1:])
        return noise

    @property
    def variance(self) -> Array:
        """Predictive variance, (B, K): of network and noise, or of the network alone where the noise is not known."""
        return self.epistemic if self.aleatoric is None else self.epistemic + self.aleatoric


def log_likelihood(targets: Array, values: Values) -> Array | None:
    """Logarithm of the predictive density at each target, in nats; shape (B, K).

    With noise it is that of a mixture, a normal about each pass (Gal & Ghahramani 2016, equation 8); where the noise is
    not known, that of one normal as wide as the passes. None where there is no width at all.

    Args:
        targets: (B, K).
        values: What the passes say.
    """
    if values.noises is None:
        if len(values.means) < 2:
            return None
        variance = np.maximum(values.epistemic, _TINY)
        return -0.5 * ((targets - values.mean) ** 2 / variance + np.log(2 * math.pi * variance))
    noise = np.maximum(values.noises, _TINY)
    each = -0.5 * ((targets - values.means) ** 2 / noise + np.log(2 * math.pi * noise))
    # SciPy's logsumexp takes ten times as long on a few rows, and calibration asks for it often.
    most = np.maximum(each.max(axis=0), -sys.float_info.max)
    with np.errstate(divide="ignore"):
        mixed: Array = most + np.log(np.exp(each - most).sum(axis=0)) - math.log(len(values.means))
    return mixed


def values_of(passes: npt.NDArray[Any], spec: OutputSpec, *, calibrated: bool) -> Values:
    """Read passes (S, B, *shape) of a regression.

    Args:
        passes: The passes; a deterministic answer is one.
        spec: The output.
        calibrated: Whether to use what calibration has found.
    """
    flat = np.asarray(passes, np.float64).reshape(*passes.shape[:2], -1)
    several = 1 if len(passes) == 1 else spec.members
    if spec.task == "gaussian":
        means, variances = split_gaussian(np.asarray(passes, np.float64))
        known = spec.calibration if calibrated else None
        factor = (known.variance_factor or 1.0) if known is not None else 1.0
        flat = means.reshape(*passes.shape[:2], -1)
        return Values(flat, factor * variances.reshape(*passes.shape[:2], -1), several)
    noise = None if spec.noise is None or not calibrated else np.asarray(spec.noise, np.float64)
    return Values(flat, noise, several)


def quantiles_of(passes: npt.NDArray[Any]) -> Array:
    """The mean over passes (S, B, ..., Q) of quantiles, (B, K, Q), in ascending order."""
    mean = np.asarray(passes, np.float64).mean(axis=0)
    ordered: Array = np.sort(mean.reshape(len(mean), -1, mean.shape[-1]), axis=-1)
    return ordered


def classes_of(passes: npt.NDArray[Any], spec: OutputSpec) -> Array:
    """Read passes (S, B, *shape) of a classification as probabilities (S, M, C); each label of several is a row."""
    scale: Any = spec.scale
    if spec.task == "multilabel":
        return probabilities(np.asarray(passes)[..., np.newaxis], scale).reshape(len(passes), -1, 2)
    probs = probabilities(passes, scale)
    return probs.reshape(len(passes), -1, probs.shape[-1])


def value_targets(targets: npt.NDArray[Any], rows: int, units: int) -> Array:
    """Targets of a regression as (B, K).

    Raises:
        InputError: They are no numbers, or not as many.
    """
    try:
        values = np.asarray(targets, np.float64)
    except ValueError:
        raise _wrong(f"expected numbers as targets, received {targets.dtype}") from None
    if values.size != rows * units:
        raise _wrong(f"expected {rows} rows of {units} targets, received {values.shape}")
    values = values.reshape(rows, units)
    _refuse_gaps(values)
    return values


def _refuse_gaps(values: Array) -> None:
    """Refuse targets, rows first, that are NaN or infinite, by the first row of them."""
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise _wrong(f"expected finite targets, received NaN or infinity in row {int(np.argmin(finite))}")


def class_targets(targets: npt.NDArray[Any], spec: OutputSpec, rows: int) -> npt.NDArray[np.int64]:
    """Targets of a classification as class numbers, (M,): given as numbers, as the card's labels, or one-hot.

    Raises:
        InputError: They are none of these, or not as many.
    """
    count = 2 if spec.task == "multilabel" or spec.shape[-1] == 1 else int(spec.shape[-1] or 0)
    values = np.asarray(targets)
    if values.dtype.kind in "USO":
        values = _by_label(values, spec)
    one_hot = spec.task == "classification" and values.ndim == len(spec.shape) + 1 and values.shape[-1] == count
    if one_hot and count > 1:
        values = values.argmax(axis=-1)
    if spec.task == "multilabel" and values.size != rows * int(spec.shape[-1] or 1):
        raise _wrong(f"expected {rows} rows of {spec.shape[-1]} labels, each 0 or 1, received {values.shape}")
    numbers = np.asarray(values, np.float64)
    _refuse_gaps(np.atleast_1d(numbers))
    numbers = numbers.ravel()
    whole = numbers.astype(np.int64)
    if (whole != numbers).any() or whole.min(initial=0) < 0 or whole.max(initial=0) >= count or len(whole) % rows:
        raise _wrong(f"expected class numbers from 0 to {count - 1}, a label of the card, or one-hot rows")
    return whole


def _by_label(values: npt.NDArray[Any], spec: OutputSpec) -> npt.NDArray[Any]:
    numbers = {label: i for i, label in enumerate(spec.labels or ())}
    words = [str(word) for word in values.ravel()]
    unknown = sorted(set(words) - set(numbers))
    if unknown:
        raise _wrong(
            f"expected labels {', '.join(list(numbers)[:12]) or '(the card has none)'}, received {unknown[0]!r}"
        )
    return np.array([numbers[word] for word in words]).reshape(values.shape)


def _wrong(what: str) -> InputError:
    return InputError([Problem(("targets",), what)])
