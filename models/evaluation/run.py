"""Evaluate one output of a model: passes are drawn once, and each number of passes is the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from thinned.models.card import Calibration, OutputSpec
from thinned.models.evaluation.by_group import by_group
from thinned.models.evaluation.class_series import class_answers, class_series
from thinned.models.evaluation.classification import held_by_sets
from thinned.models.evaluation.gathering import Inputs, OnRows
from thinned.models.evaluation.images import maps_of, scored_images
from thinned.models.evaluation.losses import PolicyScores, class_losses, policy_scores, value_losses
from thinned.models.evaluation.predictive import Array, class_targets, is_classes, value_targets, values_of
from thinned.models.evaluation.quantile_series import quantile_series
from thinned.models.evaluation.regression import held_by_normal_intervals, held_by_served_intervals
from thinned.models.evaluation.report import Evaluation
from thinned.models.evaluation.resampling import LEAST_UNITS, REPLICATES, Resampling
from thinned.models.evaluation.rows import ValueRows
from thinned.models.evaluation.value_series import value_series

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["SEED", "evaluate"]

SEED = 20160604
Held = dict[str, npt.NDArray[Any] | None]
"""By the name of a score, for each answer whether an interval or set holds its target, or its size."""


class _Task(NamedTuple):
    """What is to be scored: as for `evaluate`, with all numbers of passes, and that of the curves."""

    model: StochasticModel
    spec: OutputSpec
    inputs: Inputs
    targets: npt.NDArray[Any]
    counts: list[int]
    curves_at: int
    seed: int
    ood: Inputs | None
    on_rows: OnRows | None


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
    by: tuple[str, npt.NDArray[Any]] | None = None,
    name: str = "",
    version: str = "",
) -> Evaluation:
    """Score the deterministic answer and the mean over passes.

    Args:
        model: The model; without a site or members only its deterministic answer is scored.
        spec: The output, with what the card knows of its noise and calibration.
        inputs: By input name, (B, *shape).
        targets: The answers, as `predictive.value_targets` or `class_targets` takes them.
        counts: Numbers of passes, each at least 1; that of a calibration is added.
        seed: Of the passes, and of the draws that intervals are computed from.
        ood: Rows from elsewhere, which uncertainty ought to tell from the others.
        on_rows: Called with the rows done, and the rows in all.
        by: A column's name and the group of each row, (B,), to score coverage by.
        name: Name of the model, for the report.
        version: Its version, for the report.

    Raises:
        InputError: The targets do not fit, or no group has rows enough.
        CalibrationError: Coverage is to be scored by group, and there is none.
    """
    rows = len(next(iter(inputs.values())))
    fitted = spec.calibration
    asked = {*counts, *([] if fitted is None else [fitted.n_samples])}
    # What draws no noise has one pass of each member, however many are asked for.
    once = [1] if fitted is None else [fitted.n_samples]
    drawn = sorted(asked) if model.sites else once if model.has_passes else []
    curves_at = 0 if not drawn else drawn[-1] if fitted is None else fitted.n_samples
    score = _classes if is_classes(spec) else _quantiles if spec.task == "quantile" else _values
    found, held = score(_Task(model, spec, inputs, targets, drawn, curves_at, seed, ood, on_rows))
    return Evaluation(
        model=name,
        version=version,
        output=spec.name,
        task=spec.task,
        rows=rows,
        seed=seed,
        notes=tuple(_notes(model, spec, rows, found.get("unit", "row"))),
        curves_at=curves_at or None,
        calibrated_with=None if fitted is None or not drawn else fitted.n_samples,
        replicates=REPLICATES if rows >= LEAST_UNITS else 0,
        by=None if by is None else by_group(*by, held),
        **found,
    )


def _classes(task: _Task) -> tuple[dict[str, Any], Held]:
    model, spec, inputs, targets, counts, curves_at, seed, ood, on_rows = task
    rows = len(next(iter(inputs.values())))
    labels = class_targets(targets, spec, rows)
    answers = class_answers(model, spec, inputs, counts, seed, ood, on_rows)
    each = len(answers.plain.probs) // rows
    resamplings = _resamplings(rows, each, ood, seed)
    series, shown = class_series(answers, spec, labels, rows, counts, curves_at, *resamplings)
    images = tuple(scored_images(shown, labels, rows)) if answers.are_images else ()
    flat = answers.are_images and len(answers.shape) == 2
    maps = maps_of(images, shown, labels, spec, answers.shape[:2], inputs) if flat else ()
    held: Held = {}
    if counts and spec.calibration is not None and spec.calibration.promise is not None:
        held = held_by_sets(shown.probs, labels, spec.calibration, rows if spec.task == "multilabel" else None)
    policy = None
    if counts and spec.calibration is not None and spec.calibration.policy is not None:
        plain = answers.sampled[[*counts, curves_at].index(curves_at)]
        policy = policy_scores(
            spec.calibration.policy, class_losses(plain, labels, rows, several=spec.task == "multilabel")
        )
    more = {"unit": answers.unit, "images": images, "maps": maps, "policy": policy}
    return {"series": tuple(series), "answers": each, **more}, held


def _values(task: _Task) -> tuple[dict[str, Any], Held]:
    model, spec, inputs, targets, counts, curves_at, seed, ood, on_rows = task
    rows = len(next(iter(inputs.values())))
    answer = model.predict(inputs)[spec.name][np.newaxis]
    truth = value_targets(targets, *values_of(answer, spec, calibrated=False).mean.shape)
    resamplings = _resamplings(rows, truth.shape[1], ood, seed)
    series, shown = value_series(model, spec, inputs, truth, answer, counts, curves_at, seed, ood, resamplings, on_rows)
    fitted, held = spec.calibration, held_by_normal_intervals(truth, shown)
    if counts and fitted is not None and fitted.promise is not None:
        held = held_by_served_intervals(truth, shown, fitted)
    return {"series": tuple(series), "answers": truth.shape[1], "policy": _of_values(fitted, shown, truth)}, held


def _of_values(fitted: Calibration | None, shown: ValueRows, truth: Array) -> PolicyScores | None:
    """What the policy of a regression does, by the passes as they are."""
    policy = None if fitted is None else fitted.policy
    if fitted is None or policy is None or policy.max_error is None:
        return None
    own = 0.0 if shown.aleatoric is None or fitted.variance_factor is None else shown.aleatoric / fitted.variance_factor
    return policy_scores(policy, value_losses(shown.mean, shown.epistemic + own, truth, policy.max_error))


def _quantiles(task: _Task) -> tuple[dict[str, Any], Held]:
    model, spec, inputs, targets, counts, curves_at, seed, _, on_rows = task
    rows = len(next(iter(inputs.values())))
    units = int(np.prod([n or 1 for n in spec.shape[:-1]]))
    truth = value_targets(targets, rows, units)
    own = Resampling(rows, answers=units, seed=seed)
    series, held = quantile_series(model, spec, inputs, truth, counts, curves_at, seed, own, on_rows)
    return {"series": tuple(series), "answers": units}, dict(held)


def _resamplings(rows: int, answers: int, ood: Inputs | None, seed: int) -> tuple[Resampling, Resampling | None]:
    own = Resampling(rows, answers=answers, seed=seed)
    if ood is None:
        return own, None
    return own, Resampling(len(next(iter(ood.values()))), answers=answers, seed=seed + 1)


def _notes(model: StochasticModel, spec: OutputSpec, rows: int, unit: str) -> list[str]:
    notes, fitted = [], spec.calibration
    if fitted is not None:
        temperature = f"temperature {fitted.temperature:.4g}, " if fitted.temperature is not None else ""
        each = {"image": "images", "sequence": "rows", "row": "rows"}[unit]
        if fitted.promise is None:  # Earlier versions counted every answer.
            each = {"image": "pixels", "sequence": "positions", "row": "rows"}[unit]
        notes.append(f"Calibrated: {temperature}from {fitted.rows:,} {each} and {fitted.n_samples} passes.")
    if spec.task == "regression" and spec.noise is None and fitted is None:
        notes.append(
            "The noise of the data is not known: likelihoods and intervals are of the network's spread alone, and too "
            "narrow where the data is noisy. `thinned calibrate` fits it."
        )
    if rows < LEAST_UNITS:
        notes.append(f"There are fewer than {LEAST_UNITS} {unit}s, too few to tell how the scores vary.")
    if not model.has_passes:
        notes.append("The model has no site: there are no passes to score.")
    elif not model.sites:
        notes.append(f"The {spec.members} members draw no noise: their answers, one of each, stand for the passes.")
    return notes
