"""Parts of an answer that are there when asked for: where its variance comes from, and what it promises to hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import ModelCard, OutputSpec
from thinned.models.uncertainty import Separation, gaussian_parts, probabilities
from thinned.models.uncertainty.conformal_answers import check_coverage, interval, prediction_set
from thinned.models.uncertainty.decomposition import separate_gaussian, separate_probabilities, separate_values

if TYPE_CHECKING:
    from thinned.service.inference.running_statistics import OutputStatistics

__all__ = ["NOT_KNOWN", "PARTS", "calibrated_passes", "check_promises", "needs_passes", "promises", "separations"]

Array = npt.NDArray[Any]
PARTS = ("epistemic", "aleatoric", "total")
NOT_KNOWN = "the noise of the data is not on the model's card, so aleatoric and total are null; run thinned calibrate"


def needs_passes(card: ModelCard) -> bool:
    """Whether the parts of some output cannot be told from its moments."""
    return any(spec.task == "gaussian" or spec.scale == "logits" for spec in card.outputs)


def calibrated_passes(card: ModelCard) -> int | None:
    """Passes that every output was calibrated with, where all were; the most of them."""
    counts = [spec.calibration.n_samples for spec in card.outputs if spec.calibration is not None]
    return max(counts) if len(counts) == len(card.outputs) else None


def check_promises(card: ModelCard, coverage: float) -> None:
    """Refuse a coverage that an output of the model cannot promise.

    Raises:
        CalibrationError: Naming the output and what to run.
    """
    for spec in card.outputs:
        check_coverage(spec, coverage)


def separations(
    statistics: Mapping[str, OutputStatistics], passes: Mapping[str, Array], card: ModelCard, *, n_samples: int
) -> tuple[dict[str, dict[str, Array | None]], dict[str, str]]:
    """Epistemic, aleatoric and total variance by output, and by output why what is None is not known.

    Args:
        statistics: By output.
        passes: All passes (S, B, *shape) by output, where `needs_passes`.
        card: The model's card.
        n_samples: S.
    """
    found: dict[str, dict[str, Array | None]] = {part: {} for part in PARTS}
    unknown: dict[str, str] = {}
    for spec in card.outputs:
        parted = _separate(spec, statistics[spec.name], passes.get(spec.name), n_samples)
        for part in PARTS:
            found[part][spec.name] = getattr(parted, part)
        if parted.aleatoric is None:
            unknown[spec.name] = NOT_KNOWN
    return found, unknown


def promises(
    statistics: Mapping[str, OutputStatistics],
    passes: Mapping[str, Array],
    card: ModelCard,
    *,
    n_samples: int,
    coverage: float,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Intervals of the regressions, [lower, upper] by output, and prediction sets of the classifications.

    Arguments are as for `separations`, with the coverage.

    Raises:
        CalibrationError: An output is not calibrated for it.
    """
    intervals: dict[str, Any] = {}
    sets: dict[str, Any] = {}
    for spec in card.outputs:
        own, drawn = statistics[spec.name], passes.get(spec.name)
        if spec.task in ("classification", "multilabel"):
            probs = _mean_probabilities(spec, own, drawn)
            sets[spec.name] = _members(prediction_set(spec, probs, coverage), spec)
            continue
        mean = own.mean if drawn is None or spec.task != "gaussian" else gaussian_parts(drawn)[0].mean(axis=0)
        parted = _separate(spec, own, drawn, n_samples)
        variance = parted.epistemic if parted.total is None else parted.total
        intervals[spec.name] = interval(spec, mean, variance, coverage)
    return intervals, sets


def _separate(spec: OutputSpec, own: OutputStatistics, drawn: Array | None, n_samples: int) -> Separation:
    if spec.task == "gaussian" and drawn is not None:
        factor = spec.calibration.variance_factor if spec.calibration is not None else None
        return separate_gaussian(drawn, factor=factor or 1.0)
    if spec.task == "regression":
        return separate_values(own.variance, _noise(spec, own.variance.shape))
    if spec.scale == "logits" and drawn is not None:
        probs = _probabilities(spec, drawn)
        return separate_probabilities(probs.mean(axis=0), probs.var(axis=0, ddof=1), n_samples)
    return separate_probabilities(own.mean, own.variance, n_samples)


def _noise(spec: OutputSpec, shape: tuple[int, ...]) -> Array | None:
    if spec.noise is None:
        return None
    noise: Array = np.broadcast_to(np.asarray(spec.noise).reshape((1, *shape[1:])), shape)
    return noise


def _probabilities(spec: OutputSpec, values: Array) -> Array:
    """Probabilities in the output's own shape: a single unit stays one, several labels stay apart."""
    scale: Any = spec.scale
    if spec.task == "multilabel" or spec.shape[-1] == 1:
        of_class_1: Array = probabilities(np.asarray(values)[..., np.newaxis], scale)[..., 1]
        return of_class_1
    return probabilities(values, scale)


def _mean_probabilities(spec: OutputSpec, own: OutputStatistics, drawn: Array | None) -> Array:
    scale: Any = spec.scale
    if spec.scale == "logits" and drawn is not None:
        mean: Array = probabilities(drawn, scale).mean(axis=0)
        return mean
    return probabilities(own.mean, scale)


def _members(members: npt.NDArray[np.bool_], spec: OutputSpec) -> Any:
    """The names, or numbers, of the classes that belong, a list for each row."""
    if members.ndim > 1:
        return [_members(row, spec) for row in members]
    names: Sequence[Any] = spec.labels or range(len(members))
    return [names[i] for i in np.flatnonzero(members).tolist()]
