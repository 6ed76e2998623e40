"""Statistics over Monte Carlo passes, in NumPy: moments, entropies, parts of the variance, intervals and sets."""

from __future__ import annotations

from thinned.models.uncertainty.answer import OutputAnswer, answer_output
from thinned.models.uncertainty.decomposition import (
    Decomposition,
    decompose_gaussian,
    decompose_probabilities,
    decompose_values,
    split_gaussian,
)
from thinned.models.uncertainty.entropy import EntropyMoments, entropy, probabilities, softmax, temper
from thinned.models.uncertainty.moments import Moments
from thinned.models.uncertainty.running_statistics import BlockStatistics, RunningStatistics, widening

__all__ = [
    "BlockStatistics",
    "Decomposition",
    "EntropyMoments",
    "Moments",
    "OutputAnswer",
    "RunningStatistics",
    "answer_output",
    "decompose_gaussian",
    "decompose_probabilities",
    "decompose_values",
    "entropy",
    "probabilities",
    "softmax",
    "split_gaussian",
    "temper",
    "widening",
]
