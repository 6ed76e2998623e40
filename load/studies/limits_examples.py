"""The examples trained five times: one network plainly, its passes, and all five, on usual rows and on shifted ones.

For `limits`. Held-out rows are parted in two at random, twenty times: one half calibrates, the other is scored, as it
is and shifted. Scores of one network are means over the five.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thinned.loadtest.studies.ood_digits import SPEC, noisy, rotated
from thinned.models.calibration import calibrate_classes, calibrate_values
from thinned.models.card import OutputSpec
from thinned.models.dropout import enable_mc_dropout
from thinned.models.dropout.prefix_features import prefix_features
from thinned.models.evaluation.classification import classification_scores
from thinned.models.evaluation.predictive import Values, log_likelihood
from thinned.models.examples import diabetes, digits
from thinned.models.uncertainty.nearest_rows import NearestRows
from thinned.models.uncertainty.promises import interval, prediction_set, scored_as

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["METHODS", "Shifted", "of_diabetes", "of_digits"]

Array = npt.NDArray[Any]
MEMBERS = 5
PASSES = 100
SPLITS = 20
COVERAGE = 0.9
METHODS = ("one network", "its passes", f"{MEMBERS} networks", "their passes")
BODY_MASS = 2
VALUES = OutputSpec(name="progression", shape=(1,), dtype="float32", task="regression")


@dataclass(frozen=True)
class Shifted:
    """Scores by method, each a mean over the splits, of rows of one kind. `unlike`: p-values of at most 0.05."""

    name: str
    scores: dict[str, dict[str, float]]
    unlike: float


def _ways(members: list[StochasticModel], images: Array) -> dict[str, list[Array]]:
    """Passes (S, B, *shape) by method: several, of which scores are averaged, where it is one network's."""
    rows, output = {members[0].inputs[0].name: images}, members[0].outputs[0].name
    plain = np.stack([member.predict(rows)[output] for member in members])
    passes = [member.sample(rows, n_samples=PASSES, seed=i)[output] for i, member in enumerate(members)]
    few = [drawn[: PASSES // MEMBERS] for drawn in passes]
    # A calibration is of two passes or more: those of a network without noise are the same.
    alone = [np.stack([answer, answer]) for answer in plain]
    return dict(zip(METHODS, (alone, passes, [plain], [np.concatenate(few)]), strict=True))


def _unlike(member: StochasticModel, trained: Array, usual: Array, kinds: Mapping[str, Array]) -> dict[str, float]:
    """The share of each kind that has a p-value of at most 0.05, with the training rows as reference."""
    told, name = prefix_features(member, member.inputs, member.split.frontier), member.inputs[0].name

    def features(rows: Array) -> Array:
        return told.of(member.prefix({name: rows}))

    reference = features(trained)
    nearest = NearestRows.of(reference, told.scale(reference), seed=1)
    half = len(usual) // 2
    nearest = nearest.compared_with(nearest.distances(features(usual[:half])), np.arange(half))
    return {
        kind: float((nearest.answer(features(rows[half:] if len(rows) == len(usual) else rows)).p_value <= 0.05).mean())
        for kind, rows in kinds.items()
    }


def _mean(scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}


def of_digits(epochs: int = digits.EPOCHS, splits: int = SPLITS) -> list[Shifted]:
    """Train `digits` five times; score turned and noisy images too."""
    rows = digits.data()
    members = [
        enable_mc_dropout(digits.trained(rows.x_train, rows.y_train, epochs=epochs, seed=seed))
        for seed in range(MEMBERS)
    ]
    kinds = {"as they are": rows.x_test, "turned by 15": rotated(rows.x_test, 15), "noise of 4": noisy(rows.x_test, 4)}
    kinds["turned by 45"] = rotated(rows.x_test, 45)
    found = {kind: _ways(members, images) for kind, images in kinds.items()}
    unlike = _unlike(members[0], rows.x_train, rows.x_test, kinds)
    orders = [np.random.default_rng(split).permutation(len(rows.y_test)) for split in range(splits)]
    return [
        Shifted(
            kind,
            {
                method: _mean(
                    [
                        _class_scores(usual, shifted, rows.y_test, order)
                        for usual, shifted in zip(found["as they are"][method], found[kind][method], strict=True)
                        for order in orders
                    ]
                )
                for method in METHODS
            },
            unlike[kind],
        )
        for kind in kinds
    ]


def _class_scores(usual: Array, shifted: Array, labels: Array, order: Array) -> dict[str, float]:
    """Calibrate on the first half of the usual rows, and score the second half of the shifted ones."""
    given, left = order[: len(order) // 2], order[len(order) // 2 :]
    fitted = calibrate_classes(usual[:, given], labels[given], SPEC, max(2, len(usual))).spec
    mean, truth = shifted[:, left].mean(axis=0, dtype=np.float64), labels[left]
    sets = prediction_set(fitted, mean, COVERAGE)
    scores = classification_scores(mean, truth)
    return {
        **{name: float(scores[name] or 0.0) for name in ("accuracy", "nll", "ece")},
        "coverage": float(sets[np.arange(len(truth)), truth].mean()),
        "size": float(sets.sum(axis=1).mean()),
    }


def of_diabetes(epochs: int = diabetes.EPOCHS, splits: int = SPLITS) -> list[Shifted]:
    """Train `diabetes` five times without the fifth of patients of largest body mass; score these too."""
    rows = diabetes.data()
    x, y = np.concatenate([rows.x_train, rows.x_test]), np.concatenate([rows.y_train, rows.y_test])
    heavy = x[:, BODY_MASS] >= np.quantile(x[:, BODY_MASS], 0.8)
    usual = np.random.default_rng(0).permutation(np.flatnonzero(~heavy))
    held, trained = usual[: len(usual) // 3], usual[len(usual) // 3 :]
    members = [
        enable_mc_dropout(diabetes.trained(x[trained], y[trained], epochs=epochs, seed=seed)) for seed in range(MEMBERS)
    ]
    kinds = {"like those of the training": held, "of larger body mass": np.flatnonzero(heavy)}
    found = {kind: _ways(members, x[chosen]) for kind, chosen in kinds.items()}
    unlike = _unlike(members[0], x[trained], x[held], {kind: x[chosen] for kind, chosen in kinds.items()})
    orders = [np.random.default_rng(split).permutation(len(held)) for split in range(splits)]
    own = found["like those of the training"]
    return [
        Shifted(
            kind,
            {
                method: _mean(
                    [
                        _value_scores(usual, y[held], others, y[chosen], order, same=chosen is held)
                        for usual, others in zip(own[method], found[kind][method], strict=True)
                        for order in orders
                    ]
                )
                for method in METHODS
            },
            unlike[kind],
        )
        for kind, chosen in kinds.items()
    ]


def _value_scores(
    usual: Array, truth: Array, others: Array, other_truth: Array, order: Array, *, same: bool
) -> dict[str, float]:
    """Calibrate on the first half of the usual rows, and score the second half, or other rows."""
    given, left = order[: len(order) // 2], order[len(order) // 2 :]
    means = usual.astype(np.float64)
    fitted = calibrate_values(Values(means[:, given], None), truth[given], VALUES, max(2, len(usual))).spec
    means, right = (means[:, left], truth[left]) if same else (others.astype(np.float64), other_truth)
    values = Values(means, np.asarray(fitted.noise))
    scored = Values(means, np.asarray(scored_as(fitted).noise))
    low, high = interval(fitted, scored.mean, scored.variance, COVERAGE)
    likelihood = log_likelihood(right, values)
    return {
        "rmse": float(np.sqrt(((values.mean - right) ** 2).mean())),
        "nll": float("nan") if likelihood is None else -float(likelihood.mean()),
        "deviation": float(np.sqrt(values.epistemic).mean()),
        "coverage": float(((right >= low) & (right <= high)).mean()),
        "width": float((high - low).mean()),
    }
