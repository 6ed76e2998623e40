"""Answers as documents of arrays, and these as the API's JSON. `thinned.models.uncertainty.answer` computes them.

Numbers are written so that reading them gives back the model's own, bit for bit: float64 as the shortest text that
does, float32 as the float64 of the same value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from thinned.models.card import ModelCard, OutputSpec
from thinned.models.errors import InputError, Problem
from thinned.models.sampling import Sampling
from thinned.models.uncertainty.answer import OutputAnswer, likeliest_class, require_finite, told_by_passes
from thinned.models.uncertainty.nearest_rows import OodScores
from thinned.models.uncertainty.reduction import Reduced
from thinned.service.schema.reduce_field import reduced_answer

__all__ = [
    "MOMENTS",
    "OF_MEMBERS",
    "PARTS",
    "TEMPERED",
    "UNCERTAINTIES",
    "UNKNOWN_NOISE",
    "ClassSets",
    "check_numbers",
    "encode",
    "has_label",
    "in_lists",
    "predict_answer",
    "predict_mc_answer",
]

MOMENTS = ("mean", "variance", "standard_error")
OF_MEMBERS = ("variance_within", "variance_between")
TEMPERED = ("plain_mean", "mean_probabilities", "plain_mean_probabilities", "plain_predictive_entropy")
UNCERTAINTIES = ("predictive_entropy", "expected_entropy", "mutual_information")
PARTS = ("epistemic", "aleatoric", "total")
_OF_EACH_OUTPUT = (*MOMENTS, *OF_MEMBERS, "quantiles", "samples", *UNCERTAINTIES, *TEMPERED)
_ROWS_AXIS = {"quantiles": 1, "samples": 1}
UNKNOWN_NOISE = (
    "the noise of the data is not on the model's card, so aleatoric and total are null; run thinned calibrate"
)

UNKNOWN_OF_QUANTILES = (
    "an output of quantiles tells the noise of the data by their distance, so aleatoric and total are null; ask for a "
    "coverage"
)


class ClassSets:
    """Sets of classes, (..., C), true for those that belong; in JSON lists of their names, or numbers."""

    def __init__(self, members: npt.NDArray[np.bool_], spec: OutputSpec) -> None:
        self.members = members
        self._names: Sequence[Any] = spec.labels or range(members.shape[-1])

    def tolist(self) -> list[Any]:
        """The names, or numbers, of the classes that belong, a list for each set."""
        return self._lists(self.members)

    def _lists(self, members: npt.NDArray[np.bool_]) -> list[Any]:
        if members.ndim > 1:
            return [self._lists(row) for row in members]
        return [self._names[i] for i in np.flatnonzero(members).tolist()]


def predict_answer(
    outputs: Mapping[str, npt.NDArray[Any]],
    card: ModelCard,
    version: str,
    *,
    max_numbers: int,
    ood: OodScores | None = None,
) -> dict[str, Any]:
    """The answer of `/predict`.

    Raises:
        AnswerNotFiniteError: The model answered NaN or infinity.
        InputError: The answer, of a length that only the input decides, is too large.
    """
    check_numbers(outputs, max_numbers)
    classes = {spec.name: _classes(spec, outputs[spec.name]) for spec in card.outputs if has_label(spec)}
    model = {"name": card.name, "version": version}
    return {"outputs": _named(outputs, card), **_predicted_label(classes, card), **_ood(ood), "model": model}


def predict_mc_answer(
    answers: Mapping[str, OutputAnswer],
    card: ModelCard,
    version: str,
    *,
    n_samples: int,
    seed: int,
    sampling: Sampling,
    max_numbers: int,
    converged: npt.NDArray[np.bool_] | None = None,
    stopped_by: str | None = None,
    coverage: float | None = None,
    reduced: Mapping[str, Reduced] | None = None,
    ood: OodScores | None = None,
) -> dict[str, Any]:
    """The answer of `/predict_mc`; what is asked for besides the moments is there if it was asked for.

    Outputs that were `reduced` are answered by that alone.

    Raises:
        AnswerNotFiniteError: A pass answered NaN or infinity.
        InputError: The answer, of a length that only the input decides, is too large.
    """
    document: dict[str, Any] = {}
    whole = {name: answer for name, answer in answers.items() if name not in (reduced or {})}

    for field in _OF_EACH_OUTPUT:
        found = {name: array for name, answer in whole.items() if (array := getattr(answer, field)) is not None}
        if found:
            check_numbers(found, max_numbers, rows_axis=_ROWS_AXIS.get(field, 0))
            document[field] = _named(found, card)
    classes = {
        spec.name: _classes(spec, answer.mean) if answer.likeliest is None else answer.likeliest
        for spec in card.outputs
        if has_label(spec) and (answer := whole.get(spec.name)) is not None
    }
    document |= _predicted_label(classes, card)
    if "plain_mean" in document or "plain_mean_probabilities" in document:
        document["calibrated"] = True
    if converged is not None:
        document["converged"] = converged
    if stopped_by is not None:
        document["stopped_by"] = stopped_by
    document |= _parts(answers, card)
    if coverage is not None:
        document["coverage"] = coverage
        document |= _promises(answers, card)
    document |= _decisions(answers, card)
    if reduced:
        document |= reduced_answer(reduced, card)
    document |= _ood(ood)
    first = told_by_passes(answers.values())
    return {
        **document,
        "n_samples": n_samples,
        "seed": seed,
        "sampling": sampling,
        "standard_error_from": first.standard_error_from,
        "degrees_of_freedom": first.degrees_of_freedom,
        "estimator": _named({name: answer.estimator for name, answer in answers.items()}, card),
        "model": {"name": card.name, "version": version},
    }


def has_label(spec: OutputSpec) -> bool:
    """Whether answers name the classes of an output: they have names, and are told by the numbers of an answer.

    Of several labels whose numbers are logits the mean over passes does not tell which are more likely than not.
    """
    told = spec.task == "classification" or (spec.task == "multilabel" and spec.scale == "probabilities")
    return told and spec.labels is not None


def _classes(spec: OutputSpec, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The number of the most probable class; of several labels, for each whether it is more likely than not."""
    if spec.task == "multilabel":
        likely: npt.NDArray[np.bool_] = values >= 0.5
        return likely
    return likeliest_class(spec, values)


def encode(answer: Mapping[str, Any]) -> bytes:
    """Write an answer, all of whose numbers were checked when it was made, as JSON."""
    # It would write NaN as null: `check_numbers` has let none pass.
    return orjson.dumps(answer, default=_listed)


def in_lists(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer with lists in place of arrays, as JSON has it."""
    return {
        name: in_lists(value)
        if isinstance(value, Mapping)
        else _listed(value)
        if isinstance(value, np.ndarray | ClassSets)
        else value
        for name, value in answer.items()
    }


def _listed(value: Any) -> Any:
    return value.tolist()


def _predicted_label(classes: Mapping[str, npt.NDArray[Any]], card: ModelCard) -> dict[str, Any]:
    """The names of what `_classes` gives, of the outputs whose classes have names."""
    found = {
        spec.name: ClassSets(classes[spec.name], spec)
        if spec.task == "multilabel"
        else np.array(spec.labels, object)[classes[spec.name]]
        for spec in card.outputs
        if has_label(spec) and spec.name in classes
    }
    return {"predicted_label": _named(found, card)} if found else {}


def _parts(answers: Mapping[str, OutputAnswer], card: ModelCard) -> dict[str, Any]:
    """The parts of the variance; null, with the reason, where the noise of the data is not known."""
    parts = {name: answer.decomposition for name, answer in answers.items() if answer.decomposition is not None}
    if not parts:
        return {}
    document: dict[str, Any] = {}
    for field in PARTS:
        document[field] = _named({name: getattr(part, field) for name, part in parts.items()}, card)
    quantiles = {spec.name for spec in card.outputs if spec.task == "quantile"}
    unknown = {
        name: UNKNOWN_OF_QUANTILES if name in quantiles else UNKNOWN_NOISE
        for name, part in parts.items()
        if part.aleatoric is None
    }
    if unknown:
        document["not_known"] = _named(unknown, card)
    return document


def _promises(answers: Mapping[str, OutputAnswer], card: ModelCard) -> dict[str, Any]:
    """Intervals of the regressions and sets of the classifications."""
    ends = {
        name: {"lower": answer.interval[0], "upper": answer.interval[1]}
        for name, answer in answers.items()
        if answer.interval is not None
    }
    specs = {spec.name: spec for spec in card.outputs}
    sets = {
        name: ClassSets(answer.prediction_set, specs[name])
        for name, answer in answers.items()
        if answer.prediction_set is not None
    }
    return {field: _named(found, card) for field, found in (("interval", ends), ("prediction_set", sets)) if found}


def _ood(found: OodScores | None) -> dict[str, Any]:
    """Of each row how far it lies from known rows, and how rare that is."""
    return {} if found is None else {"ood_score": found.score, "ood_p_value": found.p_value}


def _decisions(answers: Mapping[str, OutputAnswer], card: ModelCard) -> dict[str, Any]:
    """Of each row whether it is accepted, by what score and threshold, and what was promised of those that are."""
    found = {name: answer.decision for name, answer in answers.items() if answer.decision is not None}
    if not found:
        return {}
    for name, decision in found.items():
        require_finite(name, decision.score)
    words = {name: np.where(decision.accepted, "accept", "abstain") for name, decision in found.items()}
    promised = {
        name: decision.policy.model_dump(exclude={"threshold"}, exclude_none=True) for name, decision in found.items()
    }
    return {
        "decision": _named(words, card),
        "score": _named({name: decision.score for name, decision in found.items()}, card),
        "threshold": _named({name: decision.policy.threshold for name, decision in found.items()}, card),
        "promised": _named(promised, card),
    }


def _named(values: Mapping[str, Any], card: ModelCard) -> Any:
    """By output name where the model has several outputs, bare where it has one."""
    return dict(values) if len(card.outputs) > 1 else next(iter(values.values()))


def check_numbers(arrays: Mapping[str, npt.NDArray[Any]], max_numbers: int, *, rows_axis: int = 0) -> None:
    """Check the arrays of an answer, by the names of their outputs.

    Raises:
        AnswerNotFiniteError: A number is NaN or infinite.
        InputError: They hold too many numbers.
    """
    numbers = sum(array.size for array in arrays.values())
    if numbers > max_numbers:
        expected = f"expected an answer of at most {max_numbers} numbers, this one has {numbers}; send less"
        raise InputError([Problem(("inputs",), expected)])
    for name, array in arrays.items():
        require_finite(name, array, rows_axis=rows_axis)
