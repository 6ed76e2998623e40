"""What a calibrated policy says of each row: accept it, or abstain, by the risk that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from thinned.models.card import ModelCard, OutputSpec, Policy
from thinned.models.errors import CalibrationError
from thinned.models.uncertainty.decomposition import decompose_gaussian
from thinned.models.uncertainty.entropy import entropy, probabilities
from thinned.models.uncertainty.mean_probabilities import MeanProbabilities
from thinned.models.uncertainty.promises import (
    AskedPasses,
    answers_promised,
    check_coverage,
    check_passes,
    refuse_other_passes,
)
from thinned.models.uncertainty.running_statistics import RunningStatistics

__all__ = ["Decision", "check_promises", "decide", "describe_policy", "has_policy", "policy_passes", "row_means"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Decision:
    """Of each row its score, and whether it is accepted, (B,) each; and what that stands on."""

    score: Array
    accepted: npt.NDArray[np.bool_]
    policy: Policy


def has_policy(spec: OutputSpec) -> bool:
    """Whether a policy was fitted for an output."""
    return spec.calibration is not None and spec.calibration.policy is not None


def policy_passes(card: ModelCard) -> int | None:
    """Passes that the policies of all outputs were fitted with; None where there is none, or they differ."""
    counts = {o.calibration.n_samples for o in card.outputs if o.calibration is not None and has_policy(o)}
    return counts.pop() if len(counts) == 1 else None


def check_promises(card: ModelCard, coverage: float | None, policy: bool, **asked: Unpack[AskedPasses]) -> None:
    """Refuse a coverage, or decisions, that the model cannot promise, or not of answers that are made so.

    Args:
        card: The model's.
        coverage: That is asked for; None for none.
        policy: Whether decisions are asked for.
        asked: The passes asked for.

    Raises:
        CalibrationError: It cannot; says what to run or to leave out.
    """
    if coverage is not None:
        check_coverage(card, coverage)
        if not card.draws_nothing:
            check_passes(card, **asked)
    if policy:
        passes = _require_policy(card)
        if not card.draws_nothing:
            refuse_other_passes("policy", passes, **asked)


def _require_policy(card: ModelCard) -> int:
    """The passes of the model's policies."""
    if not any(map(has_policy, card.outputs)):
        raise CalibrationError(
            "the model has no policy, so that nothing tells which rows to accept; run thinned calibrate NAME --data "
            "val.npz --risk 0.05 and serve the version that it makes, or leave `policy` out"
        )
    passes = policy_passes(card)
    if passes is None:
        raise CalibrationError(
            "the policies of the outputs were fitted with different numbers of passes, and one answer has as many for "
            "all; run thinned calibrate with the same --n-samples for each --output"
        )
    return passes


def decide(
    spec: OutputSpec,
    statistics: RunningStatistics,
    found: MeanProbabilities | None,
    passes: npt.NDArray[Any] | None,
) -> Decision | None:
    """What the policy of an output says of each row.

    Args:
        spec: The output.
        statistics: Of its passes.
        found: Its mean probabilities; None of a regression.
        passes: The passes (S, B, *shape), where `answer.needs_passes`.

    Returns:
        None where the output has no policy.
    """
    policy = spec.calibration.policy if spec.calibration is not None else None
    if policy is None:
        return None
    score = row_means(_score(spec, policy, statistics, found, passes))
    return Decision(score, score <= policy.threshold, policy)


def _score(
    spec: OutputSpec,
    policy: Policy,
    statistics: RunningStatistics,
    found: MeanProbabilities | None,
    passes: npt.NDArray[Any] | None,
) -> npt.NDArray[Any]:
    """Of the passes as they are: what calibration fits on all rows has no part in it."""
    if spec.task == "gaussian" and passes is not None:
        means = statistics.variance[..., : statistics.variance.shape[-1] // 2]
        total = decompose_gaussian(passes, epistemic=means).total
        return statistics.variance if total is None else total
    if found is None:
        return statistics.variance
    if spec.task == "multilabel":
        return entropy(probabilities(found.plain[..., np.newaxis], "probabilities"))
    predictive = found.plain_entropy
    if predictive is None:
        predictive = entropy(probabilities(found.plain, "probabilities"))
    if policy.score == "entropy" or statistics.mean_entropy is None:
        return predictive
    return predictive - np.minimum(statistics.mean_entropy, predictive)


def row_means(values: npt.NDArray[Any]) -> Array:
    """The mean of each row, (B,), of values (B, ...)."""
    means: Array = np.asarray(values, np.float64).reshape(len(values), -1).mean(axis=1)
    return means


def describe_policy(spec: OutputSpec) -> str | None:
    """In two sentences what the policy of an output promises; None where it has none."""
    fitted = spec.calibration
    policy = fitted.policy if fitted is not None else None
    if fitted is None or policy is None:
        return None
    what = "wrong" if policy.max_error is None else f"off by more than {policy.max_error:g}"
    unit = "" if policy.counted == "rows" else ", each group counted once"
    return (
        f"Policy of {spec.name}: rows whose {policy.score.replace('_', ' ')} is at most {policy.threshold:.4g} are "
        f"accepted, of which a share of {policy.risk:g} at most is {what}{unit}, with a confidence of "
        f"{policy.confidence:g} over calibrations. Tested on {policy.n} {policy.counted}, of whose rows "
        f"{policy.accepted:.1%} were accepted and {policy.measured:.2%} of these {what}; it holds for "
        f"{answers_promised(spec, fitted)}."
    )
