"""What is kept of each row for one number of passes: all that scores need, whatever the number of passes is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thinned.models.evaluation.predictive import Array, Values, log_likelihood
from thinned.models.uncertainty import EntropyMoments, entropy

__all__ = ["ClassRows", "ValueRows"]


@dataclass(frozen=True)
class ClassRows:
    """Mean probabilities (M, C), and predictive entropy and mutual information in nats (M,)."""

    probs: Array
    entropy: Array
    information: Array

    @classmethod
    def of(cls, passes: Array) -> ClassRows:
        """Of probabilities (S, M, C); the mutual information of one pass is 0."""
        found = EntropyMoments().update(passes)
        return cls(passes.mean(axis=0), found.predictive_entropy, found.mutual_information)

    def with_probs(self, probs: Array) -> ClassRows:
        """The same rows with other probabilities, and their entropy."""
        return ClassRows(probs, entropy(probs), self.information)

    @classmethod
    def joined(cls, parts: Sequence[ClassRows]) -> ClassRows:
        """Rows that were computed separately."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("probs", "entropy", "information")))


@dataclass(frozen=True)
class ValueRows:
    """Mean, variances and log-likelihood (nats) of each number, (B, K); None where the noise would be needed."""

    mean: Array
    epistemic: Array
    aleatoric: Array | None
    log_likelihood: Array | None

    @classmethod
    def of(cls, values: Values, targets: Array | None) -> ValueRows:
        """Of passes, with the log-likelihood of targets (B, K) where there are any."""
        found = None if targets is None else log_likelihood(targets, values)
        return cls(values.mean, values.epistemic, values.aleatoric, found)

    @property
    def variance(self) -> Array:
        """Predictive variance: of network and noise, or of the network alone where the noise is not known."""
        return self.epistemic if self.aleatoric is None else self.epistemic + self.aleatoric

    @classmethod
    def joined(cls, parts: Sequence[ValueRows]) -> ValueRows:
        """Rows that were computed separately."""

        def join(name: str) -> Array | None:
            arrays = [getattr(part, name) for part in parts]
            return None if arrays[0] is None else np.concatenate(arrays)

        return cls(
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.epistemic for part in parts]),
            join("aleatoric"),
            join("log_likelihood"),
        )
