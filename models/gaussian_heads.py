"""Two outputs of a model that tell one gaussian: its mean, and how far the target lies from it."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

__all__ = ["SPREADS", "GaussianHeads", "Spread"]

Spread = Literal["log_variance", "variance", "deviation"]
"""What the second output tells of the target: the natural logarithm of its variance, that, or its square root."""
SPREADS: tuple[Spread, ...] = get_args(Spread)


class GaussianHeads(NamedTuple):
    """The names of the two outputs, and what the second one tells."""

    mean: str
    spread: str
    kind: Spread = "log_variance"

    @property
    def joined(self) -> str:
        """The name of the output that they become."""
        return f"{self.mean}_and_{self.spread}"
