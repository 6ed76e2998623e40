"""The outputs that the Open Inference Protocol offers of a model, by name, and the arrays that they are.

The name of an output is its deterministic answer, and with passes its mean. With passes there is more of it, named
`NAME.variance` and so on; where the model has an output of such a name itself, that is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from thinned.models.card import ModelCard, OutputSpec
from thinned.models.errors import InputError, Problem
from thinned.models.uncertainty.answer import OutputAnswer, likeliest_class
from thinned.models.uncertainty.mean_probabilities import has_temperature
from thinned.models.uncertainty.policies import has_policy
from thinned.service.schema.input_arrays import numpy_dtype
from thinned.service.schema.request_fields import SampleRequest
from thinned.service.schema.response_body import OF_MEMBERS, PARTS, check_numbers, has_label
from thinned.service.schema.tensors import datatype_of

__all__ = ["Offered", "arrays_of_passes", "arrays_of_prediction", "default_outputs", "offered", "tensor_shape"]

Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]

LABEL = "predicted_label"
SAMPLES = "samples"
OF_COVERAGE = ("lower", "upper", "prediction_set")
OF_POLICY = ("score", "accepted")

_GET: Mapping[str, Callable[[OutputAnswer], Array | None]] = {
    "": lambda a: a.mean,
    "mean": lambda a: a.mean,
    "variance": lambda a: a.variance,
    "variance_within": lambda a: a.variance_within,
    "variance_between": lambda a: a.variance_between,
    "standard_error": lambda a: a.standard_error,
    "predictive_entropy": lambda a: a.predictive_entropy,
    "expected_entropy": lambda a: a.expected_entropy,
    "mutual_information": lambda a: a.mutual_information,
    "mean_probabilities": lambda a: a.mean_probabilities,
    "plain_mean": lambda a: a.plain_mean,
    "plain_mean_probabilities": lambda a: a.plain_mean_probabilities,
    "plain_predictive_entropy": lambda a: a.plain_predictive_entropy,
    "epistemic": lambda a: None if a.decomposition is None else a.decomposition.epistemic,
    "aleatoric": lambda a: None if a.decomposition is None else a.decomposition.aleatoric,
    "total": lambda a: None if a.decomposition is None else a.decomposition.total,
    "lower": lambda a: None if a.interval is None else a.interval[0],
    "upper": lambda a: None if a.interval is None else a.interval[1],
    "prediction_set": lambda a: a.prediction_set,
    "score": lambda a: None if a.decision is None else a.decision.score,
    "accepted": lambda a: None if a.decision is None else a.decision.accepted,
    SAMPLES: lambda a: a.samples,
}
_BOOL = ("prediction_set", "accepted")


@dataclass(frozen=True, slots=True)
class Offered:
    """An output that may be asked for.

    `part` is what it is of the model's output `spec`, "" for the answer or the mean; `shape` has the rows first, and -1
    for each length that varies.
    """

    spec: OutputSpec
    part: str
    datatype: str
    shape: Shape

    @property
    def plain(self) -> bool:
        """Whether the deterministic answer has it too."""
        return self.part in ("", LABEL)


def offered(card: ModelCard) -> dict[str, Offered]:
    """All outputs that may be asked for, by name: the model's own first."""
    own = {spec.name: Offered(spec, "", datatype_of(spec.dtype), tensor_shape(spec.shape)) for spec in card.outputs}
    found = dict(own)
    for spec in card.outputs:
        for part, (datatype, shape) in _parts(spec).items():
            found.setdefault(f"{spec.name}.{part}", Offered(spec, part, datatype, shape))
    return found


def default_outputs(card: ModelCard, request: SampleRequest | None) -> list[str]:
    """The outputs of an answer where the request names none.

    Args:
        card: Of the model.
        request: The request for passes; None for the deterministic answer.
    """
    if request is None:
        return [spec.name for spec in card.outputs]
    parts = {"", "variance", *OF_MEMBERS, "standard_error", "predictive_entropy", "mutual_information"}
    parts |= set(OF_COVERAGE) if request.coverage is not None else set()
    parts |= set(OF_POLICY) if request.policy else set()
    return [name for name, one in offered(card).items() if one.part in parts]


def arrays_of_prediction(
    names: list[str], outputs: Mapping[str, Array], card: ModelCard, *, max_numbers: int
) -> dict[str, Array]:
    """The arrays of a deterministic answer.

    Raises:
        AnswerNotFiniteError: The model answered NaN or infinity.
        InputError: The answer, of a length that only the input decides, is too large.
    """
    check_numbers(outputs, max_numbers)
    known = offered(card)
    found: dict[str, Array] = {}
    for name in names:
        spec = known[name].spec
        values = outputs[spec.name]
        found[name] = values if known[name].part == "" else _labels(spec, likeliest_class(spec, values))
    return found


def arrays_of_passes(
    names: list[str], answers: Mapping[str, OutputAnswer], card: ModelCard, *, max_numbers: int
) -> dict[str, Array]:
    """The arrays of an answer over passes.

    Raises:
        AnswerNotFiniteError: A pass answered NaN or infinity.
        InputError: The answer is too large, or does not have what is asked for.
    """
    known = offered(card)
    found: dict[str, Array] = {}
    for name in names:
        spec, part = known[name].spec, known[name].part
        answer = answers[spec.name]
        if part == LABEL:
            likeliest = likeliest_class(spec, answer.mean) if answer.likeliest is None else answer.likeliest
            found[name] = _labels(spec, likeliest)
            continue
        array = _GET[part](answer)
        if array is None:
            raise InputError([Problem(("outputs", name), f"this answer has no {part}: {_why_not(part)}")])
        check_numbers({spec.name: array}, max_numbers, rows_axis=int(part == SAMPLES))
        found[name] = array.astype(numpy_dtype(spec.dtype)) if part == "" else array
    numbers = {name: array for name, array in found.items() if array.dtype.kind not in "Ob"}
    if sum(array.size for array in numbers.values()) > max_numbers:
        raise InputError([Problem(("outputs",), f"expected outputs of at most {max_numbers} numbers; ask for fewer")])
    return found


def _why_not(part: str) -> str:
    if part in ("aleatoric", "total"):
        return "the noise of the data is not on the model's card; run thinned calibrate"
    return "it needs a calibration that is asked for"


def _labels(spec: OutputSpec, likeliest: npt.NDArray[np.intp]) -> Array:
    labels: Array = np.array(spec.labels, object)[likeliest]
    return labels


def tensor_shape(shape: tuple[int | None, ...]) -> Shape:
    """The shape of a tensor of rows: -1 for their number, and for each length that varies."""
    return (-1, *(-1 if n is None else n for n in shape))


def _parts(spec: OutputSpec) -> dict[str, tuple[str, Shape]]:
    """Datatype and shape of what passes tell of an output beside the mean."""
    whole = tensor_shape(spec.shape)
    by_row = whole[:-1] if spec.shape else whole
    target = (*whole[:-1], whole[-1] // 2) if spec.task == "gaussian" else whole
    classes = (*whole[:-1], 2) if spec.task == "classification" and whole[-1] == 1 else whole
    found: dict[str, Shape] = dict.fromkeys(("mean", "variance", "standard_error"), whole)
    if spec.members > 1:
        found |= dict.fromkeys(OF_MEMBERS, whole)
    if spec.task == "classification":
        found |= dict.fromkeys(("predictive_entropy", "expected_entropy", "mutual_information"), by_row)
        if spec.scale == "logits":
            found["mean_probabilities"] = whole
    if has_temperature(spec):
        found["plain_mean_probabilities" if spec.scale == "logits" else "plain_mean"] = whole
        found["plain_predictive_entropy"] = by_row
    found |= dict.fromkeys(PARTS, target)
    if spec.calibration is not None and spec.calibration.scores:
        several = spec.task in ("classification", "multilabel")
        found |= {"prediction_set": classes} if several else dict.fromkeys(("lower", "upper"), target)
    if has_policy(spec):
        found |= dict.fromkeys(OF_POLICY, (-1,))
    found[SAMPLES] = (-1, *whole)
    described = {name: ("BOOL" if name in _BOOL else "FP64", shape) for name, shape in found.items()}
    described[SAMPLES] = (datatype_of(spec.dtype), found[SAMPLES])
    if has_label(spec) and spec.task == "classification":
        described[LABEL] = ("BYTES", by_row)
    return described
