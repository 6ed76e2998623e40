"""Fit one output on rows that it was not trained on, and keep what was found as a version of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from thinned.models.calibration.classes import calibrate_classes
from thinned.models.calibration.fitted import SEED, Fit, now
from thinned.models.calibration.ood import FittedOod
from thinned.models.calibration.policy import PolicyRequest, check_request, fit_policy
from thinned.models.calibration.quantiles import calibrate_quantiles
from thinned.models.calibration.values import calibrate_values
from thinned.models.card import OutputSpec, Policy, SetKind
from thinned.models.errors import CalibrationError, InputError, Problem
from thinned.models.evaluation.losses import class_losses, value_losses
from thinned.models.evaluation.own_passes import own_passes
from thinned.models.evaluation.predictive import (
    class_targets,
    classes_of,
    is_classes,
    quantiles_of,
    value_targets,
    values_of,
)
from thinned.models.evaluation.rows import ClassRows
from thinned.models.storage.kept_ood import ood_bytes
from thinned.models.storage.model_store import StoredModel, load_rows, store
from thinned.models.uncertainty import conformal
from thinned.models.uncertainty.answer import require_finite
from thinned.models.uncertainty.folds import Units, units_for

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["fit", "store_calibrated"]

LEAST_UNITS = 10


def fit(
    model: StochasticModel,
    spec: OutputSpec,
    inputs: Mapping[str, npt.NDArray[Any]],
    targets: npt.NDArray[Any],
    *,
    n_samples: int = 128,
    seed: int = SEED,
    groups: npt.NDArray[Any] | None = None,
    sets: SetKind | None = None,
    empty_sets: bool = False,
    policy: PolicyRequest | None = None,
) -> Fit:
    """Calibrate one output.

    What is served (noise, temperature, factor) is fitted on all rows. The conformal scores are made with one that a
    third of the rows fitted, of the other two thirds: split conformal prediction, in which no row has a part on both
    sides. Cross-fitting (CV+) would use each row for both, but promises only 1 - 2 (1 - C).

    Args:
        model: The model.
        spec: The output; what it was calibrated with before is fitted anew.
        inputs: Rows that the model was not trained on, by input name.
        targets: Their answers.
        n_samples: Passes whose mean and variance are calibrated; a coverage is promised for as many.
        seed: Of the passes; each row has passes of its own, as each request has.
        groups: For each row what it belongs to, (B,), where rows are not exchangeable but groups of them are.
        sets: How the sets of a classification are made; plain by default.
        empty_sets: Whether plain sets may be empty.
        policy: The risk that accepted rows are to keep, where a policy is asked for.

    Raises:
        CalibrationError: There are too few rows or groups, or too many numbers a row; the output has no such sets, or
            these rows cannot promise the risk.
        NoSitesError: The model has no site.
        InputError: The targets do not fit.
        AnswerNotFiniteError: A pass is NaN or infinite.

    References:
        Barber, Candes, Ramdas & Tibshirani 2021, Predictive Inference with the Jackknife+,
        https://arxiv.org/abs/1905.02928
    """
    rows = len(next(iter(inputs.values())))
    _check_options(spec, sets, empty_sets, policy)
    of_rows = Units.of_rows(rows) if groups is None else Units.of_groups(groups)
    require_units(of_rows)
    passes = own_passes(model, spec.name, inputs, n_samples=n_samples, seed=seed)
    require_finite(spec.name, passes, rows_axis=1)

    def units(per_row: int) -> Units:
        return Units.of_rows(rows, per_row) if groups is None else Units.of_groups(groups, per_row)

    if is_classes(spec):
        probs, labels = classes_of(passes, spec), class_targets(targets, spec, rows)
        if len(labels) != probs.shape[1]:
            what = f"expected {probs.shape[1] // rows} targets for each of {rows} rows, received {len(labels)} in all"
            raise InputError([Problem(("targets",), what)])
        per_row = units(len(labels) // rows)
        found = calibrate_classes(probs, labels, spec, n_samples, per_row, sets=sets or "plain", empty_sets=empty_sets)
        if policy is None:
            return found
        lost = class_losses(ClassRows.of(probs), labels, rows, several=spec.task == "multilabel")
        return _with_policy(found, fit_policy(policy, lost, of_rows))
    bare = spec.model_copy(update={"noise": None, "calibration": None})
    if spec.task == "quantile":
        quantiles = quantiles_of(passes)
        return calibrate_quantiles(quantiles, value_targets(targets, *quantiles.shape[:2]), bare, n_samples, units(1))
    values = values_of(passes, bare, calibrated=False)
    truth = value_targets(targets, *values.mean.shape)
    found = calibrate_values(values, truth, bare, n_samples, units(1))
    if policy is None or policy.max_error is None:
        return found
    lost = value_losses(values.mean, values.variance, truth, policy.max_error)
    return _with_policy(found, fit_policy(policy, lost, of_rows))


def _check_options(spec: OutputSpec, sets: SetKind | None, empty_sets: bool, policy: PolicyRequest | None) -> None:
    """Refuse options that are not for this output."""
    if not is_classes(spec) and (sets is not None or empty_sets):
        raise CalibrationError(
            f"the output {spec.name!r} tells numbers, and has intervals, not sets: leave --sets and --empty-sets out"
        )
    if policy is None:
        return
    if spec.task == "quantile":
        raise CalibrationError(
            f"the output {spec.name!r} holds quantiles, for which there are no policies: leave --risk out"
        )
    check_request(policy)
    if is_classes(spec) and policy.max_error is not None:
        raise CalibrationError(f"the output {spec.name!r} tells classes, right or wrong: leave --max-error out")
    if not is_classes(spec) and policy.max_error is None:
        raise CalibrationError(
            f"the output {spec.name!r} tells numbers: say with --max-error which error, in units of the target, counts "
            "as a loss; --risk is the share of accepted rows that may be off by more"
        )


def _with_policy(found: Fit, policy: Policy) -> Fit:
    fitted = found.spec.calibration
    made = None if fitted is None else fitted.model_copy(update={"policy": policy})
    return replace(found, spec=found.spec.model_copy(update={"calibration": made}))


def require_units(units: Units) -> None:
    """Refuse to calibrate with next to nothing.

    Raises:
        CalibrationError: There are fewer than 10 rows, or groups.
    """
    if units.count < LEAST_UNITS:
        raise CalibrationError(
            f"expected {LEAST_UNITS} or more {units.counted} to calibrate with, received {units.count}; give more (a "
            f"coverage of 0.9 needs {units_for(conformal.least_rows(0.9))}, one of 0.95 "
            f"{units_for(conformal.least_rows(0.95))})"
        )


def store_calibrated(
    stored: StoredModel, spec: OutputSpec, *, note: str | None = None, ood: FittedOod | None = None
) -> StoredModel:
    """Store the model as a new version whose card holds the calibrated output; the old version stays.

    Args:
        stored: The model.
        spec: The calibrated output.
        note: A few words on the new version; those of the old one by default.
        ood: What tells rows unlike the calibration rows; that of the old version by default.

    Raises:
        ModelFileError: The stored files are not those that its card describes.
    """
    outputs = tuple(spec if output.name == spec.name else output for output in stored.card.outputs)
    update = {"outputs": outputs, "created": now(), "note": note or stored.card.note}
    card = stored.card.model_copy(update=update if ood is None else {**update, "ood": ood.card})
    module = stored.path / "layers.py" if card.module_sha256 is not None else None
    return store(
        stored.path / "model.keras",
        card,
        module=module,
        rows=load_rows(stored),
        ood=ood_bytes(stored) if ood is None else ood.content,
    )
