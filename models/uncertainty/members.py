"""The answers of the members of an ensemble made one: what is averaged, and which part of the variance is whose.

An ensemble's answer is that of a mixture of its members, one as likely as another. By the law of total variance the
variance of a pass of the mixture is the mean of the members' variances plus the variance of their means.

References:
    Lakshminarayanan, Pritzel & Blundell 2017, Simple and Scalable Predictive Uncertainty Estimation using Deep
    Ensembles, https://arxiv.org/abs/1612.01474
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from thinned.models.card import OutputSpec
from thinned.models.sampling import Made
from thinned.models.uncertainty.decomposition import MOST_LOG_VARIANCE
from thinned.models.uncertainty.entropy import entropy, probabilities
from thinned.models.uncertainty.running_statistics import BlockStatistics, VarianceParts

__all__ = ["PoolRule", "gathered", "made_together", "parts_of_passes", "pooled_answer", "rule_of", "still"]

Array = npt.NDArray[np.float64]
PoolRule = Literal["mean", "logits", "label logits", "gaussian"]
"""What is averaged over members: the numbers, the probabilities that logits stand for, or of a gaussian output its
means and its variances."""
_FROM_LEAST: tuple[Made, ...] = ("passes", "more_masks", "closed_form", "exact")


def rule_of(spec: OutputSpec) -> PoolRule:
    """What is averaged of an output's deterministic answers."""
    if spec.task == "gaussian":
        return "gaussian"
    if spec.scale != "logits":
        return "mean"
    return "label logits" if spec.task == "multilabel" or spec.shape[-1] == 1 else "logits"


def pooled_answer(answers: npt.NDArray[Any], rule: PoolRule) -> npt.NDArray[Any]:
    """The deterministic answers of all members as one.

    Logits become those of the mean probabilities; of several classes they are told but for a number that all have in
    common, which is chosen so that members which agree are answered as they are.

    Args:
        answers: Of the members, (M, B, *output_shape).
        rule: What is averaged.

    Returns:
        The answer, (B, *output_shape), of the same dtype.
    """
    values = np.asarray(answers, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        pooled = np.asarray(_pooled(values, rule)).astype(answers.dtype)
    # What one member answers by infinity would be refused of it alone, and so it is here.
    return np.where(np.isfinite(values).all(axis=0), pooled, np.array(np.nan, answers.dtype))


def _pooled(values: Array, rule: PoolRule) -> Any:
    several = np.log(len(values))
    if rule == "logits":
        sums = logsumexp(values, axis=-1, keepdims=True)
        return logsumexp(values - sums, axis=0) - several + sums.mean(axis=0)
    if rule == "label logits":
        return logsumexp(-np.logaddexp(0.0, -values), axis=0) - logsumexp(-np.logaddexp(0.0, values), axis=0)
    if rule == "gaussian":
        means, logs = np.split(values, 2, axis=-1)
        logs = np.clip(logs, -MOST_LOG_VARIANCE, MOST_LOG_VARIANCE)
        return np.concatenate([means.mean(axis=0), logsumexp(logs, axis=0) - several], axis=-1)
    return values.mean(axis=0)


def gathered(parts: Sequence[BlockStatistics], made: Made) -> BlockStatistics:
    """The statistics of one output of all members, which drew the same passes.

    Args:
        parts: Of each member.
        made: What the whole is made of.
    """

    def stacked(name: str) -> Array | None:
        found = [getattr(part, name) for part in parts]
        return None if any(array is None for array in found) else np.stack(found, axis=2)

    within = None
    if made != "passes" or any(part.within is not None for part in parts):
        told = [np.zeros_like(part.mean) if part.within is None else part.within for part in parts]
        within = np.stack(told, axis=2)
    kept = [part.passes for part in parts if part.passes is not None]
    return BlockStatistics(
        parts[0].first,
        parts[0].counts,
        np.stack([part.mean for part in parts], axis=2),
        np.stack([part.deviations for part in parts], axis=2),
        stacked("probabilities"),
        stacked("entropy"),
        np.stack(kept, axis=1).reshape(-1, *kept[0].shape[1:]) if len(kept) == len(parts) else None,
        within,
        made,
        len(parts),
    )


def made_together(made: Sequence[Made | None]) -> Made:
    """What mean and variance of an ensemble's output are made of: the least of its members.

    Args:
        made: Of each member; None of one whose answer no noise reaches, and which is exact whatever is drawn.
    """
    return min((one for one in made if one is not None), key=_FROM_LEAST.index, default="exact")


def still(
    answer: npt.NDArray[Any], classes: Literal["probabilities", "logits"] | None, *, keep_passes: bool
) -> BlockStatistics:
    """The statistics of a member that draws nothing: every pass is its deterministic answer, and one says it all.

    Args:
        answer: (B, *output_shape).
        classes: How the last axis is to be read where it holds classes.
        keep_passes: Whether the pass itself is wanted.
    """
    mean = np.asarray(answer, np.float64)[np.newaxis]
    probs = None if classes is None else np.clip(probabilities(mean, classes), 0.0, 1.0)
    return BlockStatistics(
        0,
        np.ones(1, np.int64),
        mean,
        np.zeros_like(mean),
        probs,
        None if probs is None else entropy(probs),
        answer[np.newaxis] if keep_passes else None,
        np.zeros_like(mean),
        "exact",
    )


def parts_of_passes(passes: npt.NDArray[Any], members: int) -> VarianceParts:
    """The parts of the variance of passes, as `RunningStatistics` tells them of passes that are not kept.

    Args:
        passes: (S * members, ...), those of all members, pass by pass. Of one pass of each nothing is within.
        members: Whose they are.
    """
    apart = np.asarray(passes, np.float64).reshape(-1, members, *passes.shape[1:])
    within = apart.var(axis=0, ddof=1).mean(axis=0) if len(apart) > 1 else np.zeros(apart.shape[2:])
    return VarianceParts(np.asarray(within), np.asarray(apart.mean(axis=0).var(axis=0)))
