"""What can be measured only of a model as a whole: normalisation, naive training mode, the mean over passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from thinned.models.audit.probe import Normalised, ProbeRun
from thinned.models.card import Finding
from thinned.models.compat.keras import flatten_layers, non_trainable_variables
from thinned.models.dropout.kept_variables import kept_variables
from thinned.models.dropout.keras_draws import Gap
from thinned.models.dropout.partition.signature import ModelSignature
from thinned.models.dropout.sites.noise_layers import SiteLayer
from thinned.models.uncertainty import BlockStatistics, RunningStatistics

__all__ = [
    "MeanGap",
    "Naive",
    "Shift",
    "gaps_from_mean",
    "findings_of_gaps",
    "findings_of_keras_gaps",
    "findings_of_dormant",
    "findings_of_naive",
    "findings_of_shifts",
    "naive_training",
    "shifts",
]

Array = npt.NDArray[Any]
LI = "Li et al. 2019, Understanding the Disharmony between Dropout and Batch Normalization, arXiv:1801.05134"
WARNED_SHIFT = 1.1
ERRORS_APART = 4.0


@dataclass(frozen=True)
class Shift:
    """Variance of what enters a batch normalisation, with noise over without: median, least and most of channels."""

    path: str
    ratio: float
    least: float
    most: float


def shifts(noisy: Sequence[Normalised], quiet: Sequence[Normalised]) -> list[Shift]:
    """Shifts of the normalisations that noise reaches, in the order of the model."""
    found = []
    for on, off in zip(noisy, quiet, strict=True):
        alive = off.variance > 1e-12
        if np.array_equal(on.variance, off.variance) or not alive.any():
            continue
        ratios = on.variance[alive] / off.variance[alive]
        found.append(Shift(on.path, float(np.median(ratios)), float(ratios.min()), float(ratios.max())))
    return found


def findings_of_shifts(found: Sequence[Shift]) -> Iterator[Finding]:
    """At most one warning and one note, of the normalisation that is shifted most, with the number of the others."""
    near = [shift for shift in found if _distance(shift) <= WARNED_SHIFT]
    far = [shift for shift in found if _distance(shift) > WARNED_SHIFT]
    for level, shifted in (("warning", far), ("note", near)):
        if not shifted:
            continue
        shift = max(shifted, key=_distance)
        others = f" So do {len(shifted) - 1} more, with less of a shift." if len(shifted) > 1 else ""
        yield Finding(
            level="warning" if level == "warning" else "note",
            code="batch-normalization-after-dropout",
            site=shift.path,
            text=f"{shift.path} normalises what dropout has touched: with dropout, as in training, the variance of its "
            f"input is {shift.ratio:.3f} times that without (median over channels; {shift.least:.3f} to "
            f"{shift.most:.3f}). Its moving variance fits the passes, and not the deterministic answer.{others}",
            reference=LI,
            remedy="Put dropout behind the last normalisation, or prefer the mean over passes to the plain answer.",
        )


def _distance(shift: Shift) -> float:
    return max(shift.ratio, 1 / max(shift.ratio, 1e-12))


@dataclass(frozen=True)
class Naive:
    """What one call with `training=True` does to a model.

    `moved` averages of normalisation changed; `most_moved` is the largest change, relative to the largest number of
    that average before or after. `answers` is the largest change of a deterministic answer that followed, `relative`
    the same over the largest answer.
    """

    moved: int
    most_moved: float
    answers: float
    relative: float


def naive_training(model: Any, signature: ModelSignature, inputs: Sequence[Array]) -> Naive | None:
    """Call the model with `training=True`, as is usual elsewhere, and put everything back; None if that fails."""
    tensors = [keras.ops.convert_to_tensor(x) for x in inputs]
    averages = [
        variable
        for layer in flatten_layers(model)
        if not isinstance(layer, keras.Model)
        for variable in non_trainable_variables(layer)
    ]
    with kept_variables(model):
        try:
            before = [_numpy(t) for t in keras.tree.flatten(signature.call(tensors, False))]
            start = [variable.numpy() for variable in averages]
            signature.call(tensors, True)
            after = [_numpy(t) for t in keras.tree.flatten(signature.call(tensors, False))]
        except Exception:  # A model may be one that only answers; then no one can call it naively either.
            return None
        moves = [
            float(
                np.abs(new - old).max(initial=0.0)
                / max(np.abs(old).max(initial=0.0), np.abs(new).max(initial=0.0), 1e-12)
            )
            for new, old in zip([variable.numpy() for variable in averages], start, strict=True)
        ]
    largest = max(float(np.abs(x).max(initial=0.0)) for x in before)
    gap = max(float(np.abs(x - y).max(initial=0.0)) for x, y in zip(before, after, strict=True))
    changed = [move for move in moves if move > 0]
    return Naive(len(changed), max(changed, default=0.0), gap, gap / max(largest, 1e-12))


def findings_of_naive(naive: Naive | None) -> Iterator[Finding]:
    """What calling with `training=True` would have cost."""
    if naive is None or not naive.moved:
        return
    yield Finding(
        level="note",
        code="training-true-changes-the-model",
        text=f"A single call with training=True, the usual recipe for Monte Carlo dropout, would have changed "
        f"{naive.moved} averages of normalisation, by up to {naive.most_moved:.1%}, and every plain answer after it "
        f"by up to {naive.answers:.3g} ({naive.relative:.1%} of the largest). Here nothing changes.",
        reference=LI,
        remedy="Elsewhere too, switch the dropout layers on and nothing else.",
    )


@dataclass(frozen=True)
class MeanGap:
    """How far an output's deterministic answer is from the mean over passes.

    `largest` and `typical` (root mean square) are in units of the output, `deviations` is `typical` over the passes'
    typical standard deviation, `share` of the numbers lie further off than 4 Monte Carlo errors, and `labels` of the
    rows have another most probable class (None for what has no classes).
    """

    output: str
    largest: float
    typical: float
    deviations: float
    share: float
    labels: float | None


def gaps_from_mean(answers: Mapping[str, Array], run: ProbeRun, classes: Sequence[str]) -> list[MeanGap]:
    """Compare the deterministic answers (B, ...) with the passes; `classes` names the outputs that hold classes."""
    found = []
    for name, passes in run.passes.items():
        moments = RunningStatistics().update(BlockStatistics.of_passes(passes))
        error = moments.error_of_blocks if moments.enough_blocks() else moments.error_of_passes
        gap = np.abs(answers[name] - moments.mean)
        deviation = float(np.sqrt(moments.variance.mean()))
        typical = float(np.sqrt((gap**2).mean()))
        labels = None
        if name in classes and passes.shape[-1] > 1:
            labels = float((answers[name].argmax(axis=-1) != moments.mean.argmax(axis=-1)).mean())
        share = float((gap > ERRORS_APART * error + 1e-7 * np.abs(answers[name])).mean())
        found.append(MeanGap(name, float(gap.max()), typical, typical / max(deviation, 1e-30), share, labels))
    return found


def findings_of_keras_gaps(found: Sequence[Gap]) -> Iterator[Finding]:
    """An error for each output whose passes are not Keras's own draws."""
    for gap in found:
        yield Finding(
            level="error",
            code="passes-differ-from-keras",
            text=f"Output {gap.output}: the {gap.moment} over passes is {gap.ours:.4g}, that over Keras's own draws "
            f"with training=True {gap.keras:.4g}, {gap.errors:.0f} standard errors apart. Some noise is missing in the "
            "passes, or is drawn otherwise.",
            remedy="Look for a layer that draws by NumPy or Python, or whose registered noise is not its own, and say "
            "how it draws with thinned.register_noise.",
        )


def findings_of_gaps(found: Sequence[MeanGap], *, made_up: bool) -> Iterator[Finding]:
    """A finding for each output whose two answers differ by more than chance."""
    for gap in found:
        if gap.share <= 0.01:
            continue
        labels = f"; {gap.labels:.1%} of the rows get another label" if gap.labels else ""
        where = "made-up rows" if made_up else "the rows given"
        yield Finding(
            level="note",
            code="deterministic-is-not-the-mean",
            text=f"Output {gap.output}: on {where}, {gap.share:.0%} of the deterministic numbers lie further from "
            f"the mean over passes than 4 Monte Carlo errors, by up to {gap.largest:.3g}, typically "
            f"{gap.deviations:.2f} standard deviations of the passes{labels}. Behind a nonlinearity the answer "
            "without dropout is only near the mean of answers with it.",
            reference="Baldi & Sadowski 2013, Understanding Dropout, NeurIPS",
            remedy="Compare both by score on held-out rows (thinned evaluate), and use the better.",
        )


def findings_of_dormant(dormant: Sequence[SiteLayer], paths: Mapping[int, str]) -> Iterator[Finding]:
    """Sites of rate 0, and those that stay off."""
    for source in dormant:
        path = paths.get(id(source.layer), source.layer.name)
        if source.active:
            yield Finding(
                level="warning",
                code="stays-off",
                site=path,
                text=f"{path} ({source.kind}) is never told that the model trains, or is never called: it draws "
                "nothing, neither in training nor provider.",
                reference="Keras, the argument training of a layer's call",
                remedy="Hand training on to it in the call that holds it, and train again.",
            )
        inside = source.kind.endswith("dropout") and source.kind != "Dropout"
        if not source.active and not inside and (source.rate == 0 or source.stddev == 0):
            yield Finding(
                level="note",
                code="rate-0",
                site=path,
                text=f"{path} ({source.kind}) has a rate of 0 and draws nothing.",
                remedy="If it was meant to, give it a rate and train again.",
            )


def _numpy(tensor: Any) -> Array:
    array: Array = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
    return array
