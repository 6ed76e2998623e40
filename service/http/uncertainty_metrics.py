"""The uncertainty of what was answered, one number a row, for the metrics: inputs that drift show there first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from thinned.models.uncertainty.answer import OutputAnswer
from thinned.service.metrics import Metrics

__all__ = ["note_uncertainty"]

MOST_ROWS = 256
"""Of one request: more would not change the picture, and would cost time."""


def note_uncertainty(metrics: Metrics, answers: Mapping[str, OutputAnswer]) -> None:
    """Tell the uncertainty of every row and output.

    Of a classification the predictive entropy, the mean over the classifications of a row; else the standard deviation
    over passes, from the mean variance over the numbers of a row. All are of the passes, not tempered: a calibration
    should not look like a drift.
    """
    for name, answer in answers.items():
        if answer.predictive_entropy is not None:
            plain = answer.plain_predictive_entropy
            kind, values = "predictive_entropy", (answer.predictive_entropy if plain is None else plain)[:MOST_ROWS]
        else:
            kind, values = "standard_deviation", answer.variance[:MOST_ROWS]
        by_row = values.reshape(len(values), -1).mean(axis=1)
        if kind == "standard_deviation":
            by_row = np.sqrt(by_row)
        metrics.uncertainty(name, kind, by_row.tolist())
