"""How well the distance to known rows tells rows from elsewhere from one's own."""

from __future__ import annotations

from dataclasses import dataclass

from thinned.models.evaluation.ranking import auroc_of_ood, auroc_of_ood_drawn
from thinned.models.evaluation.resampling import LEAST_UNITS, Resampling
from thinned.models.uncertainty.nearest_rows import OodScores

__all__ = ["LEVEL", "UnlikeRows", "unlike_rows"]

LEVEL = 0.05
"""The p-value at and below which rows are counted."""


@dataclass(frozen=True)
class UnlikeRows:
    """What `ood` says of rows from elsewhere and of one's own.

    `auroc` is the probability that a row from elsewhere lies farther from known rows than one of one's own, None where
    all lie alike; `interval` that of the bootstrap, None for few rows. `own_share` and `other_share` are the shares of
    rows with a p-value of `level` at most: of rows like the calibration rows it is at most `level` on average. `least`
    is the least p-value that the calibration rows allow.
    """

    auroc: float | None
    interval: tuple[float, float] | None
    own_share: float
    other_share: float
    least: float
    level: float = LEVEL

    @property
    def told(self) -> str:
        """It in a sentence."""
        about = "" if self.interval is None else " [{:.3g}, {:.3g}]".format(*self.interval)
        farther = "" if self.auroc is None else f", and lie farther from known rows {self.auroc:.4g}{about} of the time"
        none = f" The least that so few calibration rows allow is {self.least:.3g}." if self.least > self.level else ""
        return (
            f"By `ood`, p-values of {self.level:g} at most: {self.own_share:.1%} of the rows of --data, "
            f"{self.other_share:.1%} of those of --ood{farther} (0.5 is chance).{none}"
        )


def unlike_rows(own: OodScores, other: OodScores, *, units: int, seed: int) -> UnlikeRows:
    """Score what was told of both.

    Args:
        own: Of one's own rows, (B,) each.
        other: Of rows from elsewhere, (C,) each.
        units: Calibration rows, or groups of them, whose distances make the p-values.
        seed: Of the draws that the interval is computed from.
    """
    area = auroc_of_ood(own.score, other.score)
    draws = (Resampling(len(own.score), seed=seed), Resampling(len(other.score), seed=seed + 1))
    drawn = auroc_of_ood_drawn(own.score, other.score, draws) if len(other.score) >= LEAST_UNITS else None
    interval = draws[0].interval(area, drawn)
    own_share, other_share = (float((scores.p_value <= LEVEL).mean()) for scores in (own, other))
    return UnlikeRows(area, interval, own_share, other_share, 1 / (units + 1))
