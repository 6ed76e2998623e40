"""Which rows to accept so that few of them are wrong: a threshold on a score, with a guarantee from held-out rows.

Learn-then-Test: for each of several thresholds the hypothesis that the rows below it have a larger risk than stated is
tested, one threshold after another from a strict one on, until one is not rejected; the last that was rejected is
taken. The thresholds and where to begin come of other rows than the tests. So the rows that are accepted have a larger
risk than stated in at most a share 1 - confidence of all calibrations, whatever the model.

References:
    Angelopoulos, Bates, Candes, Jordan & Lei 2021, Learn then Test: Calibrating Predictive Algorithms to Achieve Risk
    Control, https://arxiv.org/abs/2110.01052
    Geifman & El-Yaniv 2017, Selective Classification for Deep Neural Networks, https://arxiv.org/abs/1705.08500
    Waudby-Smith & Ramdas 2024, Estimating Means of Bounded Random Variables by Betting,
    https://arxiv.org/abs/2010.09686
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "Accepted",
    "Fold",
    "Tested",
    "bet_p_value",
    "least_accepted",
    "rows_for",
    "share_p_value",
    "threshold_for",
]

Array = NDArray[np.float64]
THRESHOLDS = 100
MOST_ROWS = 10**7
PARTS = np.geomspace(0.02, 0.98, 12)
"""Of the largest bet that can lose no more than the stake."""
SURE = 0.2
"""A threshold is likely to pass whose expected p-value is this share of the largest that passes."""


@dataclass(frozen=True)
class Accepted:
    """Of the rows with a score of at most `threshold`: their share of all, and their mean loss."""

    threshold: float
    share: float
    loss: float
    rows: int


@dataclass(frozen=True)
class Tested:
    """The threshold that was found, or None, and the one that the tests began with."""

    found: Accepted | None
    first: Accepted


@dataclass(frozen=True)
class Fold:
    """Scores and losses of rows, (n,) each, and the unit of each, from 0 on; the less a score the surer."""

    scores: Array
    losses: Array
    units: NDArray[np.int64]

    def beyond(self, threshold: float, risk: float) -> Array:
        """What the accepted rows of each unit lose beyond the risk, on average over all its rows."""
        lost = np.where(self.scores <= threshold, self.losses - risk, 0.0)
        means: Array = np.bincount(self.units, lost) / np.maximum(np.bincount(self.units), 1)
        return means


def threshold_for(fitting: Fold, testing: Fold, *, risk: float, confidence: float, exact: bool) -> Tested:
    """The loosest threshold whose accepted rows keep the risk.

    Args:
        fitting: Rows that are not tested; they say which thresholds are tested, and how.
        testing: Rows that are.
        risk: The mean loss that accepted rows may have, in (0, 1).
        confidence: In (0, 1).
        exact: Whether losses are 0 or 1 and each row is a unit: then the test is the exact one of a share. Else it is a
            bet, on which see `bet_p_value`.
    """
    thresholds = np.unique(np.quantile(fitting.scores, np.linspace(0, 1, THRESHOLDS + 1)[1:], method="higher"))
    parts, expected = _expected(fitting, testing, thresholds, risk, exact)
    # The first that fails ends the tests: they begin between the strictest that is likely to pass and the likeliest.
    likely, first = expected <= SURE * (1 - confidence), int(np.argmin(expected))
    if likely.any():
        first = (int(np.argmax(likely)) + first) // 2
    found: Accepted | None = None
    for threshold, part in zip(thresholds[first:].tolist(), parts[first:].tolist(), strict=True):
        accepted = testing.losses[testing.scores <= threshold]
        p = share_p_value(accepted, risk) if exact else bet_p_value(testing.beyond(threshold, risk), risk, part)
        if p > 1 - confidence:
            break
        found = _accepted(threshold, testing)
    return Tested(found, _accepted(float(thresholds[first]), testing))


def _expected(fitting: Fold, testing: Fold, thresholds: Array, risk: float, exact: bool) -> tuple[Array, Array]:
    """For each threshold which part to bet, and the p-value that the tested rows would have if they err as these."""
    more = (testing.units.max() + 1) / (fitting.units.max() + 1)
    if not exact:
        grown = np.array([_growth(fitting.beyond(threshold, risk), risk, PARTS) for threshold in thresholds])
        # Half a unit more that is lost: a few without a loss say little.
        grown += np.log1p(-PARTS / 2)
        best = grown.argmax(axis=1)
        return PARTS[best], np.exp(-np.maximum(more * grown.max(axis=1), 0.0))
    below = fitting.scores[np.newaxis] <= thresholds[:, np.newaxis]
    counts = below.sum(axis=1)
    rate = ((below * fitting.losses).sum(axis=1) + 0.5) / (counts + 1)
    accepted = np.floor(more * counts)
    return np.zeros(len(thresholds)), np.asarray(stats.binom.cdf(np.floor(rate * accepted), accepted, risk))


def _accepted(threshold: float, fold: Fold) -> Accepted:
    accepted = fold.losses[fold.scores <= threshold]
    share, loss = len(accepted) / len(fold.losses), float(accepted.mean()) if len(accepted) else 0.0
    return Accepted(threshold, share, loss, len(accepted))


def share_p_value(losses: Array, risk: float) -> float:
    """How likely as few losses would be, if the risk were larger than stated: exact for independent rows.

    Args:
        losses: Of accepted rows, 0 or 1.
        risk: In (0, 1).
    """
    return float(stats.binom.cdf(round(float(losses.sum())), len(losses), risk)) if len(losses) else 1.0


def bet_p_value(beyond: Array, risk: float, part: float) -> float:
    """The same for shares, and for units of several rows.

    Each unit multiplies a stake by 1 less a multiple of what it loses beyond the risk. With a larger risk than stated
    the stake is not expected to grow, so that the inverse of what has become of it is a p-value.

    Args:
        beyond: Of independent units, each at most 1 - risk.
        risk: In (0, 1).
        part: Of the largest bet that can lose no more than the stake, in (0, 1); these units have no say in it.
    """
    return min(1.0, math.exp(-float(_growth(beyond, risk, np.array([part]))[0])))


def _growth(beyond: Array, risk: float, parts: Array) -> Array:
    """The logarithm of what becomes of a stake of 1, for each part."""
    growth: Array = np.log1p(-parts[:, np.newaxis] / (1 - risk) * beyond).sum(axis=1)
    return growth


def least_accepted(risk: float, confidence: float) -> int:
    """Rows that must be accepted, all without a loss, for a risk to be promised."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-risk) - 1e-9)


def rows_for(tested: Tested, risk: float, confidence: float) -> int | None:
    """About how many rows must be tested for the first threshold; None where its rows err too often."""
    first = tested.first
    if first.share == 0 or first.loss >= risk:
        return None
    count = least_accepted(risk, confidence)
    while count < MOST_ROWS and _failing(first.loss, count, risk) > 1 - confidence:
        count = math.ceil(1.05 * count)
    return math.ceil(count / first.share)


def _failing(loss: float, count: int, risk: float) -> Any:
    return stats.binom.cdf(math.ceil(loss * count), count, risk)
