"""Conformal sets of classes: which classes a set holds, by a score of each that is compared with one bound.

A set holds the classes whose score is at most the bound. No random numbers are drawn: the same row has the same set
each time.

- plain: a class's score is 1 less its probability. No other sets of a coverage hold fewer classes on average, but hard
  rows are held less often than easy ones.
- aps: the score is the probability of all classes before it, the likeliest first. A set is then the smallest whose
  probabilities add up to more than the bound: larger where the model is less sure. It is the set of Romano, Sesia &
  Candes without the random number, with which they would leave out the last class now and then.
- raps: the same, and a penalty for each class after the first few, which keeps unlikely classes out.

Unless a plain set may be empty, the likeliest class has the score 0, and is in every set.

References:
    Sadinle, Lei & Wasserman 2019, Least Ambiguous Set-Valued Classifiers with Bounded Error Levels,
    https://arxiv.org/abs/1609.00451
    Romano, Sesia & Candes 2020, Classification with Valid and Adaptive Coverage, https://arxiv.org/abs/2006.02544
    Angelopoulos, Bates, Malik & Jordan 2021, Uncertainty Sets for Image Classifiers using Conformal Prediction,
    https://arxiv.org/abs/2009.14193
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinned.models.card import SetKind, SetRule
from thinned.models.uncertainty.conformal import factor_for

__all__ = ["class_scores", "describe_rule", "of_labels", "prediction_set", "rule_for"]

Array = NDArray[np.float64]
PENALTIES = (0.001, 0.01, 0.1, 0.2, 0.5)
TUNED_FOR = 0.9
"""The coverage whose sets a penalty makes small."""


def class_scores(probs: NDArray[Any], rule: SetRule) -> Array:
    """The score of every class.

    Args:
        probs: Probabilities, (..., C).
        rule: How sets are made.

    Returns:
        Of the same shape, at least 0.
    """
    values = np.asarray(probs, np.float64)
    if rule.kind == "plain" and rule.may_be_empty:
        return 1.0 - values
    order = np.argsort(-values, axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    if rule.kind == "plain":
        return np.where(rank == 0, 0.0, 1.0 - values)
    ordered = np.take_along_axis(values, order, axis=-1)
    before = np.zeros_like(ordered)
    np.cumsum(ordered[..., :-1], axis=-1, out=before[..., 1:])
    scores: Array = np.take_along_axis(before, rank, axis=-1)
    if rule.penalty is not None:
        scores = scores + rule.penalty * np.maximum(rank + 1 - (rule.unpenalised or 1), 0)
    return scores


def of_labels(scores: Array, labels: NDArray[Any]) -> Array:
    """The scores (M,) of the true classes (M,) among those of all (M, C)."""
    return scores[np.arange(len(scores)), np.asarray(labels, np.int64)]


def prediction_set(probs: NDArray[Any], factor: float, rule: SetRule) -> NDArray[np.bool_]:
    """Which classes belong to the set of each row.

    Args:
        probs: Probabilities, (..., C).
        factor: From `conformal.factor_for`.
        rule: How sets are made.

    Returns:
        Booleans of the same shape.
    """
    members: NDArray[np.bool_] = class_scores(probs, rule) <= factor
    return members


def rule_for(kind: SetKind, may_be_empty: bool, probs: Array, labels: NDArray[np.int64]) -> SetRule:
    """A rule, with the penalty that makes sets of coverage 0.9 small.

    Args:
        kind: Of the sets.
        may_be_empty: Whether plain sets may be.
        probs: Of rows that are not scored, (M, C).
        labels: Their classes, (M,).
    """
    plain = SetRule(kind=kind, may_be_empty=may_be_empty)
    if kind != "raps":
        return plain
    ranks = np.sort((probs > of_labels(probs, labels)[:, np.newaxis]).sum(axis=1)) + 1
    first = int(ranks[min(len(ranks), math.ceil(TUNED_FOR * len(ranks))) - 1])
    tried = [plain.model_copy(update={"penalty": penalty, "unpenalised": first}) for penalty in PENALTIES]
    return min(tried, key=lambda rule: _mean_size(probs, labels, rule))


def describe_rule(rule: SetRule) -> str:
    """What sets these are, in words."""
    if rule.kind == "plain":
        return f"plain sets, {'which may be empty' if rule.may_be_empty else 'never empty'}"
    if rule.kind == "aps":
        return "adaptive sets (APS, no random number), never empty"
    first = "class" if rule.unpenalised == 1 else f"{rule.unpenalised} classes"
    return f"adaptive sets (RAPS, a penalty of {rule.penalty:g} a class after the first {first}), never empty"


def _mean_size(probs: Array, labels: NDArray[np.int64], rule: SetRule) -> float:
    scores = class_scores(probs, rule)
    own = np.sort(of_labels(scores, labels))
    bound = factor_for(own, TUNED_FOR) if len(own) >= 9 else own[-1]
    return float((scores <= bound).sum(axis=1).mean())
