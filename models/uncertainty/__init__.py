"""Statistics over Monte Carlo passes: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

from models.uncertainty.blocks import BlockMoments
from models.uncertainty.classes import margin, variation_ratio
from models.uncertainty.entropy import EntropyMoments, entropy, probabilities, softmax, temper
from models.uncertainty.intervals import central_interval, highest_density_interval, quantiles
from models.uncertainty.joint import covariance, joint_entropy, joint_mutual_information, rank_batch
from models.uncertainty.moments import Moments
from models.uncertainty.precision import EntropyErrors, error_of_mean, error_of_variance, errors_of_entropies
from models.uncertainty.separation import (
    Separation,
    gaussian_parts,
    separate_gaussian,
    separate_probabilities,
    separate_values,
)

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
