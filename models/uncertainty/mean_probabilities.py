"""Mean probabilities of a classification over passes, as they are and with the temperature that was fitted to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import OutputSpec
from thinned.models.errors import CalibrationError
from thinned.models.uncertainty.entropy import entropy, probabilities, temper
from thinned.models.uncertainty.running_statistics import RunningStatistics

__all__ = ["MeanProbabilities", "check_temperature", "has_temperature", "in_own_shape", "mean_probabilities"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MeanProbabilities:
    """Mean probabilities (B, *output_shape); and of a classification their entropy in nats, (B, ...), else None.

    `plain` are those of the passes. `tempered` are these with the fitted temperature; None where there is none, or none
    is asked for.
    """

    plain: Array
    tempered: Array | None
    plain_entropy: Array | None
    tempered_entropy: Array | None

    @property
    def best(self) -> Array:
        """Tempered where they are."""
        return self.plain if self.tempered is None else self.tempered


def has_temperature(spec: OutputSpec) -> bool:
    """Whether a temperature was fitted to the mean over passes of an output."""
    return spec.calibration is not None and spec.calibration.temperature is not None


def check_temperature(outputs: tuple[OutputSpec, ...]) -> None:
    """Refuse to answer with a calibration that there is not.

    Raises:
        CalibrationError: No output was calibrated; says what to run.
    """
    if not any(spec.calibration is not None for spec in outputs):
        raise CalibrationError(
            "the model is not calibrated, so there are no calibrated answers; run thinned calibrate NAME --data "
            "val.npz and serve the version that it makes, or leave `calibrated` out"
        )


def mean_probabilities(
    spec: OutputSpec, statistics: RunningStatistics, passes: npt.NDArray[Any] | None, *, calibrated: bool
) -> MeanProbabilities | None:
    """Mean probabilities of an output.

    Args:
        spec: The output.
        statistics: Of its passes.
        passes: The passes, (S, B, *output_shape), where they are kept.
        calibrated: Whether to apply the fitted temperature, where there is one.

    Returns:
        None for a regression, and for several labels whose numbers are logits where no passes are kept.
    """
    if spec.task not in ("classification", "multilabel"):
        return None
    classes = statistics.mean_probabilities  # (B, ..., C), of a single unit [1 - p, p]
    if spec.scale == "probabilities":
        plain = statistics.mean
    elif classes is not None:
        plain = classes[..., 1:] if spec.shape[-1] == 1 else classes
    elif passes is not None:
        plain = in_own_shape(spec, passes).mean(axis=0)
    else:
        return None
    plain_entropy = None if classes is None else entropy(classes)
    fitted = spec.calibration.temperature if spec.calibration is not None else None
    if not calibrated or fitted is None:
        return MeanProbabilities(plain, None, plain_entropy, None)
    if spec.task == "multilabel":
        tempered = temper(probabilities(plain[..., np.newaxis], "probabilities"), fitted)[..., 1]
        return MeanProbabilities(plain, tempered, None, None)
    of_classes = temper(probabilities(plain, "probabilities"), fitted)
    tempered = of_classes[..., 1:] if spec.shape[-1] == 1 else of_classes
    return MeanProbabilities(plain, tempered, plain_entropy, entropy(of_classes))


def in_own_shape(spec: OutputSpec, values: npt.NDArray[Any]) -> Array:
    """Probabilities in the output's own shape: a single unit stays one, several labels stay several."""
    scale: Any = spec.scale
    if spec.task == "multilabel" or spec.shape[-1] == 1:
        of_class_1: Array = probabilities(np.asarray(values)[..., np.newaxis], scale)[..., 1]
        return of_class_1
    return probabilities(values, scale)
