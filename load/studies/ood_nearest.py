"""Measure which score tells strange rows from others: uncertainty over passes, or the distance to the nearest rows.

For `ood_digits`: the held-out rows are parted in two at random, ten times. One half is given to `thinned calibrate
--ood`, alone or with the training rows as reference; the other half, and the same rows made strange, are scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thinned.models.dropout.prefix_features import PrefixFeatures, prefix_features
from thinned.models.evaluation.predictive import classes_of
from thinned.models.evaluation.ranking import auroc
from thinned.models.evaluation.rows import ClassRows
from thinned.models.uncertainty.nearest_rows import NearestRows

if TYPE_CHECKING:
    from thinned.models.card import OutputSpec
    from thinned.models.dropout import StochasticModel

__all__ = ["SCORES", "Compared", "compare"]

Array = npt.NDArray[Any]
SPLITS = 10
PASSES = 100
SEED = 1
SCORES = ("entropy", "mutual information", "ood, half of --data", "ood, --reference training")
LEVEL = 0.05


@dataclass(frozen=True)
class Compared:
    """Areas under the ROC curve by score, in the order of `SCORES`; and the shares with p-values of at most 0.05.

    Args:
        areas: For each kind of strange rows, means over the splits.
        told: For each kind, the share of rows whose p-value is at most 0.05, for the last two scores.
        usual: The same of rows that are not strange.
    """

    areas: dict[str, tuple[float, ...]]
    told: dict[str, tuple[float, ...]]
    usual: tuple[float, ...]


@dataclass(frozen=True)
class _Rows:
    """What is known of some rows: their uncertainties, (2, B), and their features, (B, D)."""

    uncertainties: Array
    features: Array

    @classmethod
    def of(cls, model: StochasticModel, told: PrefixFeatures, spec: OutputSpec, images: Array) -> _Rows:
        inputs = {model.inputs[0].name: images}
        passes = model.sample(inputs, n_samples=PASSES, seed=SEED)[model.outputs[0].name]
        rows = ClassRows.of(classes_of(passes, spec))
        return cls(np.stack([rows.entropy, rows.information]), told.of(model.prefix(inputs)))


def compare(
    model: StochasticModel,
    spec: OutputSpec,
    training: Array,
    usual: Array,
    strange: Mapping[str, Array],
    splits: int = SPLITS,
) -> Compared:
    """Compare the scores.

    Args:
        model: A classification of one input.
        spec: Its output.
        training: The rows that it was trained on.
        usual: Rows held out.
        strange: By name, strange rows; where there are as many as usual ones, they are the same rows made strange.
        splits: How often the usual rows are parted.
    """
    told = prefix_features(model, model.inputs, model.split.frontier)
    trained = told.of(model.prefix({model.inputs[0].name: training}))
    held = _Rows.of(model, told, spec, usual)
    others = {name: _Rows.of(model, told, spec, images) for name, images in strange.items()}
    draw = np.random.default_rng(SEED)
    areas: dict[str, list[list[float]]] = {name: [] for name in strange}
    shares: dict[str, list[list[float]]] = {name: [] for name in (*strange, "")}
    for _ in range(splits):
        order = draw.permutation(len(usual))
        given, left = order[: len(order) // 2], order[len(order) // 2 :]
        half = len(given) // 2
        scorers = [
            _scorer(told, held.features[given[:half]], held.features[given[half:]]),
            _scorer(told, trained, held.features[given]),
        ]
        known = [scorer.answer(held.features[left]) for scorer in scorers]
        shares[""].append([float((found.p_value <= LEVEL).mean()) for found in known])
        for name, rows in others.items():
            chosen = left if len(rows.features) == len(usual) else slice(None)
            found = [scorer.answer(rows.features[chosen]) for scorer in scorers]
            areas[name].append(
                [_area(a[left], b[chosen]) for a, b in zip(held.uncertainties, rows.uncertainties, strict=True)]
                + [_area(a.score, b.score) for a, b in zip(known, found, strict=True)]
            )
            shares[name].append([float((one.p_value <= LEVEL).mean()) for one in found])
    means = {name: tuple(np.mean(found, axis=0).tolist()) for name, found in areas.items()}
    told_of = {name: tuple(np.mean(found, axis=0).tolist()) for name, found in shares.items()}
    return Compared(means, told_of, told_of.pop(""))


def _scorer(told: PrefixFeatures, reference: Array, scored: Array) -> NearestRows:
    nearest = NearestRows.of(reference, told.scale(reference), seed=SEED)
    return nearest.compared_with(nearest.distances(scored), np.arange(len(scored)))


def _area(usual: Array, strange: Array) -> float:
    found = auroc(np.concatenate([usual, strange]), np.arange(len(usual) + len(strange)) >= len(usual))
    return float("nan") if found is None else found
