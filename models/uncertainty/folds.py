"""Which calibration rows fit a scale, and which make the scores of a promise: never the same, and whole units.

A *unit* is what is exchangeable with what comes later: a row with all of its positions (an image with its pixels), or a
group of rows that belong together (the rows of one patient).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Counted", "Units", "units_for"]

Counted = Literal["rows", "groups"]
SHARE = 3
"""One unit in three fits: a number or two are fitted, which needs few; each further score makes a promise sharper."""


@dataclass(frozen=True)
class Units:
    """The unit of each of M numbers, (M,), from 0 to `count` - 1; what a unit is, and how many numbers a row has."""

    of: NDArray[np.int64]
    count: int
    counted: Counted = "rows"
    per_row: int = 1

    @classmethod
    def of_rows(cls, rows: int, per_row: int = 1) -> Units:
        """Each row is a unit, with `per_row` numbers that follow each other."""
        return cls(np.repeat(np.arange(rows), per_row), rows, "rows", per_row)

    @classmethod
    def of_groups(cls, groups: NDArray[Any], per_row: int = 1) -> Units:
        """Rows with the same value in `groups` (B,) are a unit."""
        names, numbers = np.unique(groups, return_inverse=True)
        return cls(np.repeat(numbers.astype(np.int64).ravel(), per_row), len(names), "groups", per_row)

    def parted(self, seed: int, share: int = SHARE) -> tuple[NDArray[np.bool_], Units]:
        """Which numbers fit, (M,), and the units of those that do not, in their order: the units are shuffled first.

        One unit in `share` fits.
        """
        fitting = np.zeros(self.count, np.bool_)
        fitting[np.random.default_rng(seed).permutation(self.count)[: self.count // share]] = True
        fits: NDArray[np.bool_] = fitting[self.of]
        numbers = np.cumsum(~fitting) - 1
        return fits, Units(numbers[self.of[~fits]], int((~fitting).sum()), self.counted, self.per_row)


def units_for(scored: int) -> int:
    """The least number of units of which so many are left to be scored."""
    return scored + (scored - 1) // (SHARE - 1)
