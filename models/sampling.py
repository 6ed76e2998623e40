"""What a draw of Monte Carlo passes is named by: its seed, how passes relate to each other, the length of a block."""

from __future__ import annotations

import secrets
from typing import Literal, get_args

__all__ = [
    "BLOCK",
    "ESTIMATORS",
    "SAMPLINGS",
    "SEEDS",
    "Estimator",
    "Made",
    "Sampling",
    "draw_seed",
]

Sampling = Literal["stratified", "independent"]
"""How passes relate to each other; `thinned.models.dropout.noise.samplers` says what each does."""

SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)

Estimator = Literal["best", "passes"]
"""How mean and variance are made of passes: as well as can be, or as those of the passes themselves."""

ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)

Made = Literal["passes", "more_masks", "closed_form", "exact"]
"""What an output's mean and variance were made of: passes; passes, each with several last masks; passes without their
last masks, over which mean and variance are closed forms; closed forms alone, where no other noise reaches the
output."""

BLOCK = 32
"""Passes in a block. Stratified passes are negatively dependent within a block; blocks are independent."""

SEEDS = 2**53
"""Seeds are the integers below this: exact in every JSON client, whose numbers may be float64."""


def draw_seed() -> int:
    """A seed that nobody can have known."""
    return secrets.randbelow(SEEDS)
