"""Statistics over Monte Carlo passes: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

from thinned.models.uncertainty.block_moments import BlockMoments
from thinned.models.uncertainty.classes import margin, variation_ratio
from thinned.models.uncertainty.decomposition import (
    Separation,
    gaussian_parts,
    separate_gaussian,
    separate_probabilities,
    separate_values,
)
from thinned.models.uncertainty.entropy import EntropyMoments, entropy, probabilities, softmax, temper
from thinned.models.uncertainty.intervals import central_interval, highest_density_interval, quantiles
from thinned.models.uncertainty.joint import covariance, joint_entropy, joint_mutual_information, rank_batch
from thinned.models.uncertainty.moments import Moments
from thinned.models.uncertainty.precision import EntropyErrors, error_of_mean, error_of_variance, errors_of_entropies

__all__ = [
    "BlockMoments",
    "EntropyErrors",
    "EntropyMoments",
    "Moments",
    "Separation",
    "central_interval",
    "covariance",
    "entropy",
    "error_of_mean",
    "error_of_variance",
    "errors_of_entropies",
    "gaussian_parts",
    "highest_density_interval",
    "joint_entropy",
    "joint_mutual_information",
    "margin",
    "probabilities",
    "quantiles",
    "rank_batch",
    "separate_gaussian",
    "separate_probabilities",
    "separate_values",
    "softmax",
    "temper",
    "variation_ratio",
]
