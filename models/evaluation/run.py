"""Evaluate one output of a model: passes are drawn once, and each number of passes is the first of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from thinned.models.card import OutputSpec
from thinned.models.evaluation.classification import classification_scores, reliability, set_scores
from thinned.models.evaluation.predictive import (
    Array,
    class_targets,
    classes_of,
    is_classes,
    value_targets,
    values_of,
)
from thinned.models.evaluation.ranking import area_under, auroc, risk_coverage
from thinned.models.evaluation.regression import conformal_scores, coverage_curve, regression_scores
from thinned.models.evaluation.report import Evaluation, Series
from thinned.models.evaluation.rows import ClassRows, ValueRows
from thinned.models.uncertainty import temper

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["SEED", "evaluate", "gather"]

SEED = 20160604
_AT_ONCE = 20_000_000
"""Numbers of passes held at a time."""
Inputs = Mapping[str, npt.NDArray[Any]]
OnRows = Callable[[int, int], None]
Rows = TypeVar("Rows", ClassRows, ValueRows)


def evaluate(
    model: StochasticModel,
    spec: OutputSpec,
    inputs: Inputs,
    targets: npt.NDArray[Any],
    *,
    counts: Sequence[int],
    seed: int = SEED,
    ood: Inputs | None = None,
    on_rows: OnRows | None = None,
    name: str = "",
    version: str = "",
) -> Evaluation:
    """Score the deterministic answer and the mean over passes.

    Args:
        model: The model; without a site only its deterministic answer is scored.
        spec: The output, with what the card knows of its noise and calibration.
        inputs: By input name, (B, *shape).
        targets: The answers, as `predictive.value_targets` or `class_targets` takes them.
        counts: Numbers of passes, each at least 1.
        seed: Of the passes.
        ood: Rows from elsewhere, which uncertainty ought to tell from the others.
        on_rows: Called with the rows done, and the rows in all.
        name: Name of the model, for the report.
        version: Its version, for the report.

    Raises:
        InputError: The targets do not fit.
    """
    rows = len(next(iter(inputs.values())))
    counts = sorted(set(counts)) if model.sites else []
    if is_classes(spec):
        labels = class_targets(targets, spec, rows)
        series, notes = _classes(model, spec, inputs, labels, counts, seed, ood, on_rows)
    else:
        series, notes = _values(model, spec, inputs, targets, counts, seed, ood, on_rows)
    if not model.sites:
        notes = (*notes, "The model has no site: there are no passes to score.")
    return Evaluation(name, version, spec.name, spec.task, rows, seed, tuple(series), tuple(notes))


def gather(
    model: StochasticModel,
    spec: OutputSpec,
    inputs: Inputs,
    counts: Sequence[int],
    seed: int,
    keep: Callable[[npt.NDArray[Any], slice], Rows],
    on_rows: OnRows | None = None,
) -> list[list[Rows]]:
    """For each number of passes, what `keep` makes of the passes (S, B, ...) of each slice of rows."""
    total, most = len(next(iter(inputs.values()))), max(counts)
    size = int(np.prod([n or 1 for n in spec.shape]))
    step = max(1, _AT_ONCE // (most * size))
    found: list[list[Rows]] = [[] for _ in counts]
    for rows in (slice(start, min(start + step, total)) for start in range(0, total, step)):
        some = {name: x[rows] for name, x in inputs.items()}
        passes = model.sample(some, n_samples=most, seed=seed)[spec.name]
        for parts, count in zip(found, counts, strict=True):
            parts.append(keep(passes[:count], rows))
        if on_rows is not None:
            on_rows(rows.stop, total)
    return found


def _classes(
    model: StochasticModel,
    spec: OutputSpec,
    inputs: Inputs,
    labels: npt.NDArray[np.int64],
    counts: Sequence[int],
    seed: int,
    ood: Inputs | None,
    on_rows: OnRows | None,
) -> tuple[list[Series], tuple[str, ...]]:
    def keep(passes: npt.NDArray[Any], rows: slice) -> ClassRows:
        return ClassRows.of(classes_of(passes, spec))

    def plain(given: Inputs) -> ClassRows:
        return ClassRows.of(classes_of(model.predict(given)[spec.name][np.newaxis], spec))

    def passes_of(given: Inputs, on_rows: OnRows | None = None) -> list[ClassRows]:
        return [ClassRows.joined(parts) for parts in gather(model, spec, given, counts, seed, keep, on_rows)]

    own, other = plain(inputs), None if ood is None else plain(ood)
    series = [_class_series("deterministic", (0,), [own], [other], labels)]
    notes: tuple[str, ...] = ()
    if counts:
        sampled = passes_of(inputs, on_rows)
        others = [None] * len(counts) if ood is None else passes_of(ood)
        series.append(_class_series("passes", tuple(counts), sampled, others, labels))
        fitted = spec.calibration
        if fitted is not None:
            temperature = fitted.temperature or 1.0
            tempered = [rows.with_probs(temper(rows.probs, temperature)) for rows in sampled]
            other_tempered = [
                None if rows is None else rows.with_probs(temper(rows.probs, temperature)) for rows in others
            ]
            series.append(_class_series("calibrated", tuple(counts), tempered, other_tempered, labels))
            for rows, scores in zip(tempered, series[-1].scores, strict=True):
                if spec.task == "classification":
                    scores |= set_scores(rows.probs, labels, fitted)  # type: ignore[operator]
            notes = (
                f"Calibrated: temperature {temperature:.4g}, from {fitted.rows} rows and {fitted.n_samples} passes.",
            )
    return series, notes


def _class_series(
    name: str,
    counts: tuple[int, ...],
    rows: Sequence[ClassRows],
    others: Sequence[ClassRows | None],
    labels: npt.NDArray[np.int64],
) -> Series:
    scores = []
    for own, other in zip(rows, others, strict=True):
        wrong = own.probs.argmax(axis=1) != labels
        found = classification_scores(own.probs, labels)
        found["area_under_risk_coverage"] = area_under(own.entropy, wrong.astype(float))
        for what, uncertainty in _uncertainties(name, own):
            found[f"auroc_error_{what}"] = auroc(uncertainty, wrong)
            if other is not None:
                found[f"auroc_strange_{what}"] = _auroc_of_ood(uncertainty, dict(_uncertainties(name, other))[what])
        scores.append(found)
    last = rows[-1]
    wrong = (last.probs.argmax(axis=1) != labels).astype(float)
    curves = {
        "reliability": reliability(last.probs, labels),
        **{f"risk_coverage_{what}": risk_coverage(u, wrong) for what, u in _uncertainties(name, last)},
    }
    return Series(name, counts, tuple(scores), curves)


def _uncertainties(name: str, rows: ClassRows) -> Iterator[tuple[str, Array]]:
    yield "entropy", rows.entropy
    if name != "deterministic":
        yield "mutual_information", rows.information


def _auroc_of_ood(own: Array, other: Array) -> float | None:
    ood = np.repeat([False, True], [own.size, other.size])
    return auroc(np.concatenate([own.ravel(), other.ravel()]), ood)


def _values(
    model: StochasticModel,
    spec: OutputSpec,
    inputs: Inputs,
    targets: npt.NDArray[Any],
    counts: Sequence[int],
    seed: int,
    ood: Inputs | None,
    on_rows: OnRows | None,
) -> tuple[list[Series], tuple[str, ...]]:
    answer = model.predict(inputs)[spec.name][np.newaxis]
    first = values_of(answer, spec, calibrated=False)
    truth = value_targets(targets, *first.mean.shape)
    known = spec.noise is not None or spec.calibration is not None
    series, notes = [], []
    for calibrated in (False, True) if known else (False,):
        own = ValueRows.of(values_of(answer, spec, calibrated=calibrated), truth)
        prefix = "calibrated " if calibrated else ""
        series.append(_value_series(f"{prefix}deterministic", (0,), [own], [None], truth, None))
        if not counts:
            continue

        def keep(passes: npt.NDArray[Any], rows: slice, calibrated: bool = calibrated) -> ValueRows:
            return ValueRows.of(values_of(passes, spec, calibrated=calibrated), truth[rows])

        def other_rows(passes: npt.NDArray[Any], rows: slice, calibrated: bool = calibrated) -> ValueRows:
            return ValueRows.of(values_of(passes, spec, calibrated=calibrated), None)

        sampled = [ValueRows.joined(parts) for parts in gather(model, spec, inputs, counts, seed, keep, on_rows)]
        others: list[ValueRows | None] = [None] * len(counts)
        if ood is not None:
            others = [ValueRows.joined(parts) for parts in gather(model, spec, ood, counts, seed, other_rows)]
        name = f"{prefix}passes"
        fitted = spec.calibration if calibrated else None
        series.append(_value_series(name, tuple(counts), sampled, others, truth, fitted))
    if not known and spec.task == "regression":
        notes.append(
            "The noise of the data is not known: likelihoods and intervals are of the network's spread alone, and too "
            "narrow where the data is noisy. `thinned calibrate` fits it."
        )
    return series, tuple(notes)


def _value_series(
    name: str,
    counts: tuple[int, ...],
    rows: Sequence[ValueRows],
    others: Sequence[ValueRows | None],
    truth: Array,
    fitted: Any,
) -> Series:
    scores = []
    for own, other in zip(rows, others, strict=True):
        found = regression_scores(truth, own)
        if fitted is not None and fitted.scores:
            found |= conformal_scores(truth, own, fitted)
        if other is not None:
            found["auroc_strange_deviation"] = _auroc_of_ood(own.epistemic, other.epistemic)
        scores.append(found)
    last = rows[-1]
    curves: dict[str, Any] = {}
    if (last.variance > 0).any():
        curves["coverage"] = coverage_curve(truth, last)
        if np.ptp(last.variance) > 0:
            curves["risk_coverage_deviation"] = risk_coverage(last.variance.ravel(), ((truth - last.mean) ** 2).ravel())
    return Series(name, counts, tuple(scores), curves)
