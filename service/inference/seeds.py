"""The seeds that a request may name, and one for requests that name none."""

from __future__ import annotations

import secrets

__all__ = ["SEEDS", "draw_seed"]

SEEDS = 2**53
"""Seeds are the integers below this: exact in every JSON client, whose numbers may be float64."""


def draw_seed() -> int:
    """A seed that nobody can have known."""
    return secrets.randbelow(SEEDS)
