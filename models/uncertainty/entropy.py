"""How uncertain class probabilities are, and how much of it is passes that disagree. Entropies are in nats."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

__all__ = ["EntropyMoments", "entropy", "probabilities", "softmax", "temper"]

Array = NDArray[np.float64]
_TINY = 1e-12


def entropy(probs: NDArray[Any], axis: int = -1) -> Array:
    """Shannon entropy in nats, -sum p ln p, with 0 ln 0 = 0.

    Args:
        probs: Probabilities that sum to 1 along `axis`. Rounding just outside [0, 1] is clipped.
        axis: The axis of classes.

    Returns:
        Entropies between 0 and ln C; the shape of `probs` without `axis`.
    """
    inside = np.minimum(np.maximum(np.asarray(probs, dtype=np.float64), 0.0), 1.0)
    total: Array = entr(inside).sum(axis=axis)
    return total


def softmax(logits: NDArray[Any], axis: int = -1) -> Array:
    """Probabilities of logits, shifted by the largest so that nothing overflows; same shape, float64."""
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    shares: Array = powers / powers.sum(axis=axis, keepdims=True)
    return shares


def probabilities(outputs: NDArray[Any], scale: Literal["probabilities", "logits"]) -> Array:
    """Class probabilities of a classification output.

    Args:
        outputs: Shape (..., C) with one entry a class, or (..., 1) for the probability (or logit) of class 1 alone.
        scale: How the numbers are to be read.

    Returns:
        Probabilities, shape (..., C) with C >= 2, float64; a single unit p becomes [1 - p, p].

    Raises:
        ValueError: There is no axis of classes, or `scale` is neither of the two.
    """
    values = np.asarray(outputs, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"expected outputs of shape (..., C) with C >= 1, received {values.shape}")
    if scale not in ("probabilities", "logits"):
        raise ValueError(f"expected the scale 'probabilities' or 'logits', received {scale!r}")
    if values.shape[-1] > 1:
        return values if scale == "probabilities" else softmax(values)
    if scale == "logits":
        # The logit of one unit is the difference of two, of which one is 0.
        return softmax(np.concatenate([np.zeros_like(values), values], axis=-1))
    return np.concatenate([1.0 - values, values], axis=-1)


def temper(probs: NDArray[Any], temperature: float) -> Array:
    """Probabilities with their logarithms divided by a temperature (Guo et al. 2017): above 1 less sure, below 1 more.

    Args:
        probs: Shape (..., C).
        temperature: Above 0.

    Returns:
        Probabilities of the same shape, float64.
    """
    return softmax(np.log(np.clip(np.asarray(probs, dtype=np.float64), _TINY, 1.0)) / temperature)


class EntropyMoments:
    """Running parts of the entropy of the mean over passes (Depeweg et al. 2018; Houlsby et al. 2011).

    The predictive entropy H(mean p) is the expected entropy, mean H(p), plus the mutual information between the answer
    and the network, which measures how far the passes disagree. `update` changes the instance in place and returns it.
    """

    __slots__ = ("_entropies", "_probs", "count")

    count: int
    """Number of passes seen, S."""

    def __init__(self) -> None:
        self.count = 0
        self._probs: Array = np.zeros(())
        self._entropies: Array = np.zeros(())

    def update(self, passes: NDArray[Any]) -> Self:
        """Add a block of passes.

        Args:
            passes: Class probabilities, shape (S, B, ..., C) with C >= 2, as `probabilities` gives them.

        Raises:
            ValueError: The shape is not that, or differs from the blocks before in more than S.
        """
        values = np.asarray(passes, dtype=np.float64)
        if values.ndim < 2 or values.shape[-1] < 2:
            raise ValueError(f"expected passes of shape (S, B, ..., C) with C >= 2, received {values.shape}")
        if self.count and values.shape[1:] != self._probs.shape:
            raise ValueError(f"expected passes of shape (S, *{self._probs.shape}), received {values.shape}")
        self._probs = self._probs + values.sum(axis=0)
        self._entropies = self._entropies + entropy(values).sum(axis=0)
        self.count += values.shape[0]
        return self

    @property
    def predictive_entropy(self) -> Array:
        """Entropy of the mean probabilities, H(mean p), in nats; shape (B, ...).

        Raises:
            ValueError: No pass was seen yet.
        """
        self._need_passes()
        return entropy(self._probs / self.count)

    @property
    def expected_entropy(self) -> Array:
        """Mean entropy of the passes, mean H(p), in nats; shape (B, ...), never above the predictive entropy.

        Raises:
            ValueError: No pass was seen yet.
        """
        self._need_passes()
        # Jensen's inequality holds in exact arithmetic; rounding must not break it.
        return np.minimum(self._entropies / self.count, self.predictive_entropy)

    @property
    def mutual_information(self) -> Array:
        """Predictive less expected entropy, in nats; shape (B, ...), from 0 to the predictive entropy.

        Raises:
            ValueError: No pass was seen yet.
        """
        return self.predictive_entropy - self.expected_entropy

    def _need_passes(self) -> None:
        if not self.count:
            raise ValueError("an entropy over passes needs 1 or more passes, received 0; draw some")
