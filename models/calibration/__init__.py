"""What a network cannot know of itself, fitted on rows that it was not trained on and kept on its card."""

from thinned.models.calibration.classes import calibrate_classes
from thinned.models.calibration.fitted import Fit
from thinned.models.calibration.ood import FittedOod, fit_ood
from thinned.models.calibration.policy import PolicyRequest
from thinned.models.calibration.quantiles import calibrate_quantiles
from thinned.models.calibration.run import fit, store_calibrated
from thinned.models.calibration.values import calibrate_values

__all__ = [
    "Fit",
    "FittedOod",
    "PolicyRequest",
    "calibrate_classes",
    "calibrate_quantiles",
    "calibrate_values",
    "fit",
    "fit_ood",
    "store_calibrated",
]
