"""The scores of the intervals of a quantile output: conformalised quantile regression."""

from __future__ import annotations

import numpy as np

from thinned.models.calibration.fitted import Fit, kept, now, require_few
from thinned.models.card import Calibration, OutputSpec, Promise
from thinned.models.evaluation.predictive import Array
from thinned.models.uncertainty.conformal import quantile_scores
from thinned.models.uncertainty.folds import Units

__all__ = ["calibrate_quantiles"]


def calibrate_quantiles(
    quantiles: Array, targets: Array, spec: OutputSpec, n_samples: int, units: Units | None = None
) -> Fit:
    """Score how far each target lies outside the outermost quantiles. Nothing else is fitted, so all rows are scored.

    Args:
        quantiles: Their mean over passes, (B, K, Q), ascending.
        targets: (B, K).
        spec: The output.
        n_samples: Passes that the mean is over.
        units: What is exchangeable; by default each row.

    Raises:
        CalibrationError: A row has more numbers than can be calibrated one by one.
    """
    require_few(targets.shape[1])
    units = units or Units.of_rows(len(targets))
    scores = quantile_scores(targets, quantiles[..., 0], quantiles[..., -1])
    made = Calibration(
        created=now(),
        rows=len(targets),
        n_samples=n_samples,
        scores=kept(np.asarray(scores), units),
        promise=Promise(n=units.count, counted=units.counted),
    )
    return Fit(spec.model_copy(update={"calibration": made}), None, None)
