"""Rows that can be answered, and those that cannot, told apart by trying them together and then in halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from thinned.models.errors import AnswerNotFiniteError, InputError

__all__ = ["sift"]

T = TypeVar("T")


def sift(
    rows: Sequence[int], attempt: Callable[[Sequence[int]], T]
) -> tuple[list[tuple[Sequence[int], T]], dict[int, str]]:
    """What an attempt gives for rows, as few times as can be, without those that it refuses.

    Args:
        rows: Their numbers.
        attempt: Refuses all of them where it refuses one; where its error has the places of those that are wrong, the
            others are tried again at once.

    Returns:
        Runs of rows in order with what the attempt gave for them, and by row why the others were refused.
    """
    if not rows:
        return [], {}
    try:
        return [(rows, attempt(rows))], {}
    except (InputError, AnswerNotFiniteError) as error:
        if len(rows) == 1:
            return [], {rows[0]: _told(error)}
        wrong = {*error.rows} if isinstance(error, AnswerNotFiniteError) else set()
        if wrong:
            found, refused = sift([row for place, row in enumerate(rows) if place not in wrong], attempt)
            return found, refused | {rows[place]: _told(error) for place in wrong}
    half = len(rows) // 2
    before, refused = sift(rows[:half], attempt)
    behind, others = sift(rows[half:], attempt)
    return before + behind, refused | others


def _told(error: Exception) -> str:
    """What is wrong with one row, without the number that it had in the attempt."""
    if isinstance(error, InputError):
        return "; ".join(problem.msg for problem in error.problems)
    return "the model answered NaN or infinity; send values nearer to those that it was trained on"
