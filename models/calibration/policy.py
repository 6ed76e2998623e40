"""A policy: which rows to accept so that the stated risk is kept, or why these rows cannot promise it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thinned.models.calibration.fitted import SEED
from thinned.models.card import Policy, PolicyScore
from thinned.models.errors import CalibrationError
from thinned.models.evaluation.losses import RowLosses
from thinned.models.evaluation.ranking import area_under
from thinned.models.uncertainty.folds import Units, units_for
from thinned.models.uncertainty.risk_control import Fold, Tested, least_accepted, rows_for, threshold_for

__all__ = ["PolicyRequest", "check_request", "fit_policy"]


@dataclass(frozen=True)
class PolicyRequest:
    """What is asked of a policy: at most this risk, with this confidence; by this score, or by the one that ranks best.

    `max_error`, in units of the target, says which answers of a regression count as a loss.
    """

    risk: float
    confidence: float = 0.95
    score: PolicyScore | None = None
    max_error: float | None = None


def fit_policy(asked: PolicyRequest, rows: RowLosses, units: Units) -> Policy:
    """The policy that accepts most.

    A third of the rows (the units are parted as for a coverage) chooses the score, the thresholds and the first of
    them; the others test these.

    Args:
        asked: What is asked.
        rows: Scores and losses of the B calibration rows.
        units: What is exchangeable among the B rows.

    Raises:
        CalibrationError: There is no such score, or these rows cannot promise that risk; says how many could.
    """
    if asked.score is not None and asked.score not in rows.scores:
        raise CalibrationError(f"--score expects {' or '.join(rows.scores)} of this output, received {asked.score}")
    fits, scored = units.parted(SEED)
    known = {asked.score: rows.scores[asked.score]} if asked.score is not None else rows.scores
    name = min(known, key=lambda name: area_under(known[name][fits], rows.losses[fits]))
    scores, losses, own = known[name], rows.losses, np.unique(units.of[fits], return_inverse=True)[1]
    tested = threshold_for(
        Fold(scores[fits], losses[fits], own),
        Fold(scores[~fits], losses[~fits], scored.of),
        risk=asked.risk,
        confidence=asked.confidence,
        # The pixels, labels or numbers of a row are averaged: its loss is a share.
        exact=rows.per_row == 1 and units.counted == "rows",
    )
    if tested.found is None:
        raise CalibrationError(_too_few(asked, tested, scored))
    return Policy(
        score=name,
        threshold=tested.found.threshold,
        risk=asked.risk,
        confidence=asked.confidence,
        loss="wrong" if asked.max_error is None else "large error",
        max_error=asked.max_error,
        n=scored.count,
        counted=scored.counted,
        accepted=tested.found.share,
        measured=tested.found.loss,
    )


def _too_few(asked: PolicyRequest, tested: Tested, units: Units) -> str:
    """Why the risk cannot be promised, and what could be done."""
    first, least = tested.first, least_accepted(asked.risk, asked.confidence)
    seen = f"of the {first.rows} surest of {len(units.of)} tested rows a share of {first.loss:.3g} is lost"
    said = f"a risk of {asked.risk:g} cannot be promised with a confidence of {asked.confidence:g}: {seen}"
    needed = rows_for(tested, asked.risk, asked.confidence)
    if units.counted == "groups":
        return f"{said}, and {units.count} groups are too few; give more groups, or ask for more risk"
    if needed is None:
        return f"{said}, which is no less than asked for; ask for more risk"
    return (
        f"{said}. {least} accepted rows without a loss are the least that could; with as many losses as were seen it "
        f"takes about {units_for(max(needed, 1))} calibration rows, of which two thirds are tested. Give more, or ask "
        "for more risk"
    )


def check_request(asked: PolicyRequest) -> None:
    """Refuse what no policy can keep.

    Raises:
        CalibrationError: The risk or the confidence lies outside (0, 1), or an error is not above 0.
    """
    for name, value in (("risk", asked.risk), ("confidence", asked.confidence)):
        if not 0 < value < 1:
            raise CalibrationError(f"--{name} expects a number between 0 and 1, both left out, received {value:g}")
    if asked.max_error is not None and not 0 < asked.max_error < np.inf:
        raise CalibrationError(f"--max-error expects a number above 0, received {asked.max_error:g}")
