"""What a calibration found, and how its scores are kept."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from thinned.models.card import OutputSpec
from thinned.models.errors import CalibrationError
from thinned.models.evaluation.predictive import Array
from thinned.models.uncertainty import conformal
from thinned.models.uncertainty.folds import Units

__all__ = ["FINE", "SEED", "Fit", "kept", "now", "require_few"]

SEED = 20170806
MOST_SCORES = 1000
MOST_UNITS = 64
FINE = {"xatol": 1e-3}
"""Where a search over logarithms ends: a thousandth of a temperature or a noise is far below what rows can tell."""


@dataclass(frozen=True)
class Fit:
    """An output with its calibration, and the negative log-likelihood (nats) on the calibration rows with and without.

    `nll_before` is None where there was no density before: a regression whose noise was not known. Of quantiles both
    are.
    """

    spec: OutputSpec
    nll_before: float | None
    nll_after: float | None


def require_few(numbers: int) -> None:
    """Refuse to keep scores for each of very many numbers.

    Raises:
        CalibrationError: A row has more than 64.
    """
    if numbers > MOST_UNITS:
        raise CalibrationError(f"expected at most {MOST_UNITS} numbers a row to calibrate, this output has {numbers}")


def kept(scores: Array, units: Units) -> tuple[tuple[float, ...], ...]:
    """Scores (n, K) as a card keeps them."""
    return tuple(map(tuple, conformal.thin(scores, MOST_SCORES, units.of).tolist()))


def now() -> datetime.datetime:
    """The date of a calibration."""
    return datetime.datetime.now(datetime.UTC)
