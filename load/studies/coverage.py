"""How often calibrated intervals and sets of the examples hold the truth, over random splits of the held-out rows.

`python -m thinned.loadtest.studies.coverage` trains nothing: it takes `digits` and `diabetes` from the store.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.calibration import calibrate_classes, calibrate_values
from thinned.models.card import OutputSpec
from thinned.models.evaluation.classification import classification_scores
from thinned.models.evaluation.predictive import Array, Values, class_targets, classes_of, draw, is_classes, values_of
from thinned.models.evaluation.regression import log_likelihood
from thinned.models.uncertainty import temper
from thinned.models.uncertainty.conformal_answers import interval, prediction_set

__all__ = ["COVERAGES", "SPLITS", "Splits", "measure"]

COVERAGES = (0.8, 0.9, 0.95)
SPLITS = 50
PASSES = 128


@dataclass(frozen=True)
class Splits:
    """Means over the splits, each half for fitting and half for measuring.

    `measured` is by stated coverage, `sizes` the mean width of intervals or size of sets. `nll_before` and `nll_after`
    are in nats on the rows for measuring; before, a regression has the noise that its fit's residuals on those rows
    would give a network without passes: one normal of constant width about the deterministic answer.
    """

    measured: dict[float, float]
    sizes: dict[float, float]
    nll_before: float
    nll_after: float
    worse: int


def measure(
    passes: npt.NDArray[Any], plain: npt.NDArray[Any], targets: npt.NDArray[Any], spec: OutputSpec, splits: int = SPLITS
) -> Splits:
    """Calibrate on one half of the rows and measure on the other, `splits` times.

    Args:
        passes: Passes of the held-out rows, (S, B, *shape).
        plain: Their deterministic answers, (B, *shape).
        targets: The truth.
        spec: The output, not calibrated.
        splits: How often.
    """
    rows = passes.shape[1]
    spec = spec.model_copy(update={"noise": None, "calibration": None})
    each = []
    for number in range(splits):
        order = np.random.default_rng(number).permutation(rows)
        halves = order[: rows // 2], order[rows // 2 :]
        if is_classes(spec):
            each.append(_classes(classes_of(passes, spec), class_targets(targets, spec, rows), spec, *halves))
        else:
            truth = np.asarray(targets, np.float64).reshape(rows, -1)
            each.append(
                _values(values_of(passes, spec, calibrated=False), plain.reshape(rows, -1), truth, spec, *halves)
            )
    held, sizes, before, after = (np.array([item[i] for item in each]) for i in range(4))
    return Splits(
        dict(zip(COVERAGES, held.mean(axis=0).tolist(), strict=True)),
        dict(zip(COVERAGES, sizes.mean(axis=0).tolist(), strict=True)),
        float(before.mean()),
        float(after.mean()),
        int((after > before + 1e-12).sum()),
    )


Measured = tuple[list[float], list[float], float, float]
Rows = npt.NDArray[np.int64]


def _classes(passes: Array, labels: Rows, spec: OutputSpec, fitting: Rows, measuring: Rows) -> Measured:
    fitted = calibrate_classes(passes[:, fitting], labels[fitting], spec, len(passes)).spec
    mean, truth = passes[:, measuring].mean(axis=0), labels[measuring]
    sets = [prediction_set(fitted, mean, coverage) for coverage in COVERAGES]
    heat = fitted.calibration.temperature if fitted.calibration else None
    return (
        [float(members[np.arange(len(truth)), truth].mean()) for members in sets],
        [float(members.sum(axis=1).mean()) for members in sets],
        float(classification_scores(mean, truth)["nll"] or 0.0),
        float(classification_scores(temper(mean, heat or 1.0), truth)["nll"] or 0.0),
    )


def _values(values: Values, plain: Array, truth: Array, spec: OutputSpec, fitting: Rows, measuring: Rows) -> Measured:
    fitted = calibrate_values(_part(values, fitting), truth[fitting], spec, len(values.means)).spec
    rest = Values(_part(values, measuring).means, np.asarray(fitted.noise))
    ends = [interval(fitted, rest.mean, rest.variance, coverage) for coverage in COVERAGES]
    noise = ((truth[fitting] - plain[fitting]) ** 2).mean(axis=0)
    before = log_likelihood(truth[measuring], Values(plain[np.newaxis, measuring], noise))
    after = log_likelihood(truth[measuring], rest)
    return (
        [float(((truth[measuring] >= low) & (truth[measuring] <= high)).mean()) for low, high in ends],
        [float((high - low).mean()) for low, high in ends],
        float("nan") if before is None else -float(before.mean()),
        float("nan") if after is None else -float(after.mean()),
    )


def _part(values: Values, rows: Rows) -> Values:
    return Values(values.means[:, rows], values.noises)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.studies.coverage", description=__doc__)
    parser.add_argument("--splits", type=int, default=SPLITS, help="random splits of the held-out rows")
    options = parser.parse_args(arguments)
    from thinned.models.dropout import enable_mc_dropout
    from thinned.models.examples import diabetes, digits
    from thinned.models.storage import model_store

    print(f"{options.splits} splits, {PASSES} passes; stated coverage: measured (mean width or size)")
    for name, split in ((digits.NAME, digits.data()), (diabetes.NAME, diabetes.data())):
        stored = model_store.find(name)
        stochastic = enable_mc_dropout(model_store.load_keras(stored))
        spec, rows = stored.card.outputs[0], {stored.card.inputs[0].name: split.x_test}
        passes = draw(stochastic, rows, spec.name, n_samples=PASSES, seed=1)
        found = measure(passes, stochastic.predict(rows)[spec.name], split.y_test, spec, options.splits)
        held = ", ".join(f"{c:g}: {found.measured[c]:.4f} ({found.sizes[c]:.4g})" for c in COVERAGES)
        print(f"{name}: {held}; NLL {found.nll_before:.4f} -> {found.nll_after:.4f}, worse in {found.worse} splits")


if __name__ == "__main__":
    main()
