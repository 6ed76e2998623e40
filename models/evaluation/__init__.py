"""Score a model on rows whose answers are known: the deterministic answer and the mean over passes side by side."""

from __future__ import annotations

from thinned.models.evaluation.report import Evaluation, Series
from thinned.models.evaluation.run import evaluate

__all__ = ["Evaluation", "Series", "evaluate"]
