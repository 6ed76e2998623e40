"""What can be measured only of a model as a whole: normalisation, naive training mode, the mean over passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from thinned.models.audit.probe import Normalised, ProbeRun
from thinned.models.audit.rounding import telling
from thinned.models.card import Finding
from thinned.models.compat.keras import flatten_layers, non_trainable_variables
from thinned.models.dropout.kept_variables import kept_variables
from thinned.models.dropout.keras_draws import Gap
from thinned.models.dropout.partition.signature import ModelSignature
from thinned.models.uncertainty import BlockStatistics, RunningStatistics, widening

__all__ = [
    "MeanGap",
    "Naive",
    "Shift",
    "gaps_from_mean",
    "findings_of_gaps",
    "findings_of_keras_gaps",
    "findings_of_naive",
    "findings_of_shifts",
    "naive_training",
    "shifts",
]

Array = npt.NDArray[Any]
LI = "Li et al. 2019, Understanding the Disharmony between Dropout and Batch Normalization, arXiv:1801.05134"
WARNED_SHIFT = 1.1
SHIFT_ROUNDING = 1e-4
STATE_ROUNDING = 1e-6
"""Relative change of an average below which it is the same: averages are kept in 32 bits."""
ERRORS_APART = 4.0
MOST_ERRORS = 1e6
"""Standard errors from which their number says only that one of the two hardly varies."""


@dataclass(frozen=True)
class Shift:
    """Variance of what enters a batch normalisation, with noise over without.

    `ratio` is the median over `channels` channels, and at least nine in ten of these lie from `least` to `most`. Other
    channels vary too little without noise to form a ratio.
    """

    path: str
    ratio: float
    least: float
    most: float
    channels: int


def shifts(noisy: Sequence[Normalised], quiet: Sequence[Normalised], *, unit: float) -> list[Shift]:
    """Shifts of the normalisations that noise reaches, in the order of the model.

    Args:
        noisy: What entered them with every site on.
        quiet: The same with every site off.
        unit: Relative rounding of one operation.
    """
    found = []
    for on, off in zip(noisy, quiet, strict=True):
        there = telling(off.variance, off.mean, unit=unit) & np.isfinite(on.variance)
        if not there.any():
            continue
        ratios = on.variance[there].astype(np.float64) / off.variance[there]
        if np.abs(ratios - 1).max() <= max(SHIFT_ROUNDING, 4 * unit):
            continue  # no noise comes here: the two were only summed over batches of different size
        least, most = np.quantile(ratios, 0.05, method="lower"), np.quantile(ratios, 0.95, method="higher")
        found.append(Shift(on.path, float(np.median(ratios)), float(least), float(most), int(there.sum())))
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
            f"input is {shift.ratio:.3f} times that without{_over_channels(shift)}. Its moving variance fits the "
            f"passes, and not the deterministic answer.{others}",
            reference=LI,
            remedy="Put dropout behind the last normalisation, or prefer the mean over passes to the plain answer.",
        )


def _over_channels(shift: Shift) -> str:
    if shift.channels == 1:
        return ""
    return f" (median over channels; nine in ten from {shift.least:.3f} to {shift.most:.3f})"


def _distance(shift: Shift) -> float:
    return max(shift.ratio, 1 / max(shift.ratio, 1e-12))


@dataclass(frozen=True)
class Naive:
    """What one call with `training=True` does to a model.

    `moved` averages of normalisation changed by more than rounding; `most_moved` is the largest change, relative to
    the largest number of that average, or to the root of the largest of its layer where that is more. `answers` is the
    largest change of a deterministic answer that followed, `relative` the same over the largest answer; both are 0
    where they are no more than rounding.
    """

    moved: int
    most_moved: float
    answers: float
    relative: float


def naive_training(model: Any, signature: ModelSignature, inputs: Sequence[Array], *, rounding: float) -> Naive | None:
    """Call the model with `training=True`, as is usual elsewhere, and put everything back; None if that fails.

    `rounding` is what float rounding may change of an answer, relative to the largest.
    """
    tensors = [keras.ops.convert_to_tensor(x) for x in inputs]
    layers = [layer for layer in flatten_layers(model) if not isinstance(layer, keras.Model)]
    averages = [found for layer in layers if (found := _averages(layer))]
    with kept_variables(model):
        try:
            before = [_numpy(t) for t in keras.tree.flatten(signature.call(tensors, False))]
            start = [[variable.numpy() for variable in group] for group in averages]
            signature.call(tensors, True)
            after = [_numpy(t) for t in keras.tree.flatten(signature.call(tensors, False))]
        except Exception:  # A model may be one that only answers; then no one can call it naively either.
            return None
        end = [[variable.numpy() for variable in group] for group in averages]
    moves = [move for old, new in zip(start, end, strict=True) for move in _moves(old, new)]
    changed = [move for move in moves if move > STATE_ROUNDING]
    largest = max(_size(x) for x in before)
    gap = max(_size(x - y) for x, y in zip(before, after, strict=True))
    if not gap > rounding * largest:
        gap = 0.0
    return Naive(len(changed), max(changed, default=0.0), gap, gap / largest if gap else 0.0)


def _averages(layer: Any) -> list[Any]:
    """What a layer keeps of the batches that it saw; the states of seeds are no averages."""
    return [v for v in non_trainable_variables(layer) if "float" in str(v.dtype)]


def _moves(old: Sequence[Array], new: Sequence[Array]) -> list[float]:
    """The largest change of each average of one layer, in its scale.

    That is its largest number, or the root of the largest of the layer where that is more: of a normalisation the
    deviation, beside which a mean of 0 that moves by rounding is still 0.
    """
    sizes = [max(_size(a), _size(b)) for a, b in zip(old, new, strict=True)]
    root = max(sizes) ** 0.5
    return [_size(b - a) / max(size, root, 1e-30) for a, b, size in zip(old, new, sizes, strict=True)]


def _size(values: Array) -> float:
    return float(np.abs(values).max(initial=0.0))


def findings_of_naive(naive: Naive | None) -> Iterator[Finding]:
    """What calling with `training=True` would have cost."""
    if naive is None or not naive.moved:
        return
    answers = (
        f"every plain answer after it by up to {naive.answers:.3g} ({100 * naive.relative:.3g}% of the largest)"
        if naive.answers
        else "no plain answer to these rows by more than float rounding"
    )
    yield Finding(
        level="note",
        code="training-true-changes-the-model",
        text=f"A single call with training=True, the usual recipe for Monte Carlo dropout, would have changed "
        f"{naive.moved} averages of normalisation, by up to {100 * naive.most_moved:.3g}%, and {answers}. Here nothing "
        "changes.",
        reference=LI,
        remedy="Elsewhere too, switch the dropout layers on and nothing else.",
    )


@dataclass(frozen=True)
class MeanGap:
    """How far an output's deterministic answer is from the mean over passes.

    `largest` and `typical` (root mean square) are in units of the output, `deviations` is `typical` over the passes'
    typical standard deviation (None where that is no more than rounding), `share` of the numbers lie further off than 4
    Monte Carlo errors and rounding, and `labels` of the rows have another most probable class (None for what has no
    classes).
    """

    output: str
    largest: float
    typical: float
    deviations: float | None
    share: float
    labels: float | None


def gaps_from_mean(
    answers: Mapping[str, Array], run: ProbeRun, classes: Sequence[str], rounding: Mapping[str, float]
) -> list[MeanGap]:
    """Compare the deterministic answers with the passes.

    Args:
        answers: By output name, (B, ...).
        run: The passes of the same rows.
        classes: The outputs that hold classes.
        rounding: By output name, how far two answers may lie apart by rounding alone.
    """
    found = []
    for name, passes in run.passes.items():
        moments = RunningStatistics().update(BlockStatistics.of_passes(passes))
        error = moments.standard_error("stratified")[0] * widening(moments.degrees_of_freedom("stratified"))
        gap = np.abs(answers[name] - moments.mean)
        deviation = float(np.sqrt(moments.variance.mean()))
        typical = float(np.sqrt((gap**2).mean()))
        labels = None
        if name in classes and passes.shape[-1] > 1:
            labels = float((answers[name].argmax(axis=-1) != moments.mean.argmax(axis=-1)).mean())
        share = float((gap > ERRORS_APART * error + rounding[name]).mean())
        deviations = typical / deviation if deviation > rounding[name] else None
        found.append(MeanGap(name, float(gap.max()), typical, deviations, share, labels))
    return found


def findings_of_keras_gaps(found: Sequence[Gap]) -> Iterator[Finding]:
    """An error for each output whose passes are not Keras's own draws."""
    for gap in found:
        yield Finding(
            level="error",
            code="passes-differ-from-keras",
            text=f"Output {gap.output}: the {gap.moment} over passes is {gap.ours:.4g}, that over Keras's own draws "
            f"with training=True {gap.keras:.4g}, {_apart(gap)} apart. Some noise is missing in the passes, or is "
            "drawn otherwise.",
            remedy="Look for a layer that draws by NumPy or Python, or whose registered noise is not its own, and say "
            "how it draws with thinned.register_noise.",
        )


def _apart(gap: Gap) -> str:
    """The distance in standard errors, where these are more than nothing."""
    return f"{gap.errors:.0f} standard errors" if gap.errors < MOST_ERRORS else "further than any chance"


def findings_of_gaps(found: Sequence[MeanGap], *, made_up: bool) -> Iterator[Finding]:
    """A finding for each output whose two answers differ by more than chance."""
    for gap in found:
        if gap.share <= 0.01:
            continue
        labels = f"; {gap.labels:.1%} of the rows get another label" if gap.labels else ""
        where = "made-up rows" if made_up else "the rows given"
        deviations = (
            "" if gap.deviations is None else f", typically {gap.deviations:.2f} standard deviations of the passes"
        )
        yield Finding(
            level="note",
            code="deterministic-is-not-the-mean",
            text=f"Output {gap.output}: on {where}, {gap.share:.0%} of the deterministic numbers lie further from "
            f"the mean over passes than 4 Monte Carlo errors, by up to {gap.largest:.3g}{deviations}{labels}. "
            "Behind a nonlinearity the answer "
            "without dropout is only near the mean of answers with it.",
            reference="Baldi & Sadowski 2013, Understanding Dropout, NeurIPS",
            remedy="Compare both by score on held-out rows (thinned evaluate), and use the better.",
        )


def _numpy(tensor: Any) -> Array:
    array: Array = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
    return array
