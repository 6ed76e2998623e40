"""Statistics over Monte Carlo passes: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

from models.uncertainty.blocks import BlockMoments
from models.uncertainty.entropy import EntropyMoments, entropy, probabilities, softmax
from models.uncertainty.moments import Moments

__all__ = ["BlockMoments", "EntropyMoments", "Moments", "entropy", "probabilities", "softmax"]
