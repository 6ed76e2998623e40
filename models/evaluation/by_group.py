"""Coverage and size of intervals or sets by group: a promise over all rows may hide the group that it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from thinned.models.errors import CalibrationError, InputError, Problem
from thinned.models.evaluation.predictive import Array
from thinned.models.evaluation.resampling import LEVEL

__all__ = ["LEAST_ROWS", "ByGroup", "GroupScores", "by_group", "clopper_pearson"]

LEAST_ROWS = 10
"""A group of fewer rows is not scored: its coverage could be nearly anything."""
JUDGED_AT = 0.9
"""The coverage by which groups are compared."""


@dataclass(frozen=True)
class GroupScores:
    """Scores of the rows of one group, by name, each with its interval of 95 %."""

    group: str
    rows: int
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class ByGroup:
    """Scores by the values of a column.

    `score` is the coverage that groups are compared by, `worst` the group where it is lowest, and `worst_is_below` says
    that it is less than `stated` by more than chance, with the number of groups taken into account. `left_out` groups
    with `left_out_rows` rows in all have too few to be scored.
    """

    column: str
    stated: float
    score: str
    groups: tuple[GroupScores, ...]
    worst: str
    worst_is_below: bool
    left_out: int = 0
    left_out_rows: int = 0

    @property
    def told(self) -> str:
        """The worst group, in a sentence or two."""
        worst = next(group for group in self.groups if group.group == self.worst)
        low, high = worst.intervals[self.score]
        chance = (
            "less than stated, by more than chance explains"
            if self.worst_is_below
            else "which may be chance: it is the lowest of as many groups"
            if worst.scores[self.score] < self.stated
            else "no less than stated"
        )
        text = (
            f"Lowest of {len(self.groups)} groups by {self.column}: {worst.group}, where {100 * self.stated:g} % was "
            f"stated and {100 * worst.scores[self.score]:.1f} % of {worst.rows} rows held "
            f"[{100 * low:.1f}, {100 * high:.1f}], {chance}."
        )
        few = (
            f" {self.left_out} groups of fewer than {LEAST_ROWS} rows ({self.left_out_rows} rows in all) are left out."
        )
        return text + (few if self.left_out else "")


def by_group(
    column: str, groups: npt.NDArray[np.generic], held: Mapping[str, npt.NDArray[np.generic] | None]
) -> ByGroup:
    """Score each group.

    Args:
        column: What the groups are the values of.
        groups: The group of each row, (B,).
        held: By the name of a score (those of coverage hold "coverage_"), for each answer what its mean is of,
            (B * A,); None where nothing tells it.

    Raises:
        CalibrationError: No coverage is known.
        InputError: No group has rows enough.
    """
    rows = len(groups)
    by_row: dict[str, Array] = {
        name: np.asarray(each, np.float64).reshape(rows, -1).mean(axis=1)
        for name, each in held.items()
        if each is not None
    }
    levels = {float(name.rpartition("_")[2]): name for name in by_row if "coverage_" in name}
    if not levels:
        raise CalibrationError(
            f"--by {column} scores the coverage of intervals or sets by group, and the model has none; run thinned "
            "calibrate NAME --data val.npz, on 13 rows or more, and evaluate the version that it makes"
        )
    stated = JUDGED_AT if JUDGED_AT in levels else max(levels)
    names, number = np.unique(groups, return_inverse=True)
    counts = np.bincount(number)
    if counts.max() < LEAST_ROWS:
        what = f"expected a group of {LEAST_ROWS} or more rows, the largest of {len(names)} has {counts.max()}"
        raise InputError([Problem((column,), f"{what}; give more rows, or another column")])
    scored = tuple(
        _scores(str(name), {key: each[number == i] for key, each in by_row.items()})
        for i, name in enumerate(names.tolist())
        if counts[i] >= LEAST_ROWS
    )
    score = levels[stated]
    worst = min(scored, key=lambda group: (group.scores[score], -group.rows))
    # One in 20 of all comparisons together.
    upper = clopper_pearson(worst.scores[score], worst.rows, 1 - (1 - LEVEL) / len(scored))[1]
    few = counts[counts < LEAST_ROWS]
    return ByGroup(column, stated, score, scored, worst.group, upper < stated, len(few), int(few.sum()))


def _scores(group: str, by_row: Mapping[str, Array]) -> GroupScores:
    rows = len(next(iter(by_row.values())))
    scores = {name: float(each.mean()) for name, each in by_row.items()}
    intervals = {
        name: clopper_pearson(scores[name], rows) if "coverage_" in name else _of_mean(each)
        for name, each in by_row.items()
    }
    return GroupScores(group, rows, scores, intervals)


def clopper_pearson(share: float, rows: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a share of rows; of a mean of shares, which varies less, it is too wide."""
    held, tail = share * rows, (1 - level) / 2
    low = 0.0 if held <= 0 else float(stats.beta.ppf(tail, held, rows - held + 1))
    high = 1.0 if held >= rows else float(stats.beta.ppf(1 - tail, held + 1, rows - held))
    return low, high


def _of_mean(values: Array) -> tuple[float, float]:
    """The interval of a mean by Student's t."""
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return float(values.mean()) - half, float(values.mean()) + half
