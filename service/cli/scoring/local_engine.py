"""Scores the parts of a run one after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from thinned.service.cli.scoring.data_set import Part
from thinned.service.cli.scoring.run import Run
from thinned.service.cli.scoring.scorer import Scored, Scorer

__all__ = ["score_here"]


def score_here(run: Run, parts: Sequence[Part]) -> Iterator[Scored]:
    """Score parts as they are asked for.

    Raises:
        ThinnedError: The model or the data cannot be used.
        OSError: Nothing can be written.
    """
    scorer = Scorer(run)
    for part in parts:
        yield scorer.score(part)
