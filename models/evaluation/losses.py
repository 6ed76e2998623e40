"""Of each row the scores that a policy may go by, and the loss that it is to keep small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thinned.models.card import Policy, PolicyScore
from thinned.models.evaluation.by_group import clopper_pearson
from thinned.models.evaluation.predictive import Array
from thinned.models.evaluation.rows import ClassRows
from thinned.models.uncertainty.policies import row_means

__all__ = ["PolicyScores", "RowLosses", "class_losses", "policy_scores", "value_losses"]


@dataclass(frozen=True)
class RowLosses:
    """Scores by name and losses in [0, 1], (B,) each; `per_row` answers stand behind a row."""

    scores: dict[PolicyScore, Array]
    losses: Array
    per_row: int


@dataclass(frozen=True)
class PolicyScores:
    """Of the evaluated rows the share that a policy accepts, and the mean loss of these with its interval of 95 %.

    `stated` is the risk that the policy keeps with its confidence; the loss of all rows is `of_all`.
    """

    rows: int
    accepted: float
    loss: float | None
    interval: tuple[float, float] | None
    of_all: float
    stated: float
    confidence: float

    @property
    def told(self) -> str:
        """In a sentence."""
        stated = f"{self.stated:g} was stated with a confidence of {self.confidence:g}"
        if self.loss is None or self.interval is None:
            return f"Policy: none of {self.rows} rows is accepted; {stated}."
        low, high = self.interval
        return (
            f"Policy: {self.accepted:.1%} of {self.rows} rows are accepted, with a mean loss of {self.loss:.4g} "
            f"[{low:.3g}, {high:.3g}]; {stated}, and of all rows it is {self.of_all:.4g}."
        )


def policy_scores(policy: Policy, rows: RowLosses) -> PolicyScores:
    """What a policy does with rows whose answers are known."""
    accepted = rows.scores[policy.score] <= policy.threshold
    count, lost = int(accepted.sum()), rows.losses[accepted]
    return PolicyScores(
        rows=len(accepted),
        accepted=float(accepted.mean()),
        loss=float(lost.mean()) if count else None,
        interval=clopper_pearson(float(lost.mean()), count) if count else None,
        of_all=float(rows.losses.mean()),
        stated=policy.risk,
        confidence=policy.confidence,
    )


def class_losses(rows: ClassRows, labels: npt.NDArray[np.int64], count: int, *, several: bool) -> RowLosses:
    """Of a classification: the share of its answers that are wrong.

    Args:
        rows: What passes say as they are, of M answers.
        labels: (M,).
        count: Rows, B, of M / B answers each.
        several: Whether these are several labels.
    """

    def by_row(values: npt.NDArray[np.generic]) -> Array:
        return row_means(np.asarray(values).reshape(count, -1))

    scores: dict[PolicyScore, Array] = {"entropy": by_row(rows.entropy)}
    if not several:
        scores["mutual_information"] = by_row(rows.information)
    wrong = rows.probs[:, 1] >= 0.5 if several else rows.probs.argmax(axis=1)
    return RowLosses(scores, by_row(wrong != labels), len(labels) // count)


def value_losses(mean: Array, variance: Array, targets: Array, max_error: float) -> RowLosses:
    """Of a regression: the share of its numbers that are off by more than `max_error`.

    Args:
        mean: Mean over passes, (B, K).
        variance: Of the passes, with no noise but that which the network answers, as it is; (B, K).
        targets: (B, K).
        max_error: In units of the target.
    """
    wrong = np.abs(mean - targets) > max_error
    return RowLosses({"variance": row_means(variance)}, row_means(wrong), targets.shape[1])
