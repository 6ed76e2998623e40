"""Measure how often calibrated intervals and prediction sets contain the target, over random splits of held-out rows.

`python -m thinned.loadtest.studies.coverage` does this for the stored examples `digits` and `diabetes`; it trains
nothing.
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
from thinned.models.evaluation.predictive import (
    Array,
    Values,
    class_targets,
    classes_of,
    is_classes,
    log_likelihood,
    values_of,
)
from thinned.models.uncertainty import temper
from thinned.models.uncertainty.promises import interval, prediction_set, scored_as

__all__ = ["COVERAGES", "SPLITS", "CoverageResult", "measure"]

COVERAGES = (0.8, 0.9, 0.95)
SPLITS = 50
PASSES = 128


@dataclass(frozen=True)
class CoverageResult:
    """Means over the splits; one half of the rows calibrates, the other half is measured.

    Args:
        measured: By stated coverage, how often the target was contained.
        sizes: By stated coverage, mean width of the intervals or number of classes in the sets.
        nll_before: Negative log-likelihood in nats before calibration. A regression without noise has no density: its
            value is that of a normal distribution about the deterministic answer, with the variance of the residuals
            of the calibration half.
        nll_after: The same after calibration.
        worse: In how many splits calibration made it larger.
    """

    measured: dict[float, float]
    sizes: dict[float, float]
    nll_before: float
    nll_after: float
    worse: int


def measure(
    passes: npt.NDArray[Any], plain: npt.NDArray[Any], targets: npt.NDArray[Any], spec: OutputSpec, splits: int = SPLITS
) -> CoverageResult:
    """Calibrate on one half of the rows and measure on the other, `splits` times.

    Args:
        passes: Passes of the held-out rows, (S, B, *shape).
        plain: Their deterministic answers, (B, *shape).
        targets: Their targets.
        spec: The output; its calibration is ignored.
        splits: Number of random splits.
    """
    rows = passes.shape[1]
    spec = spec.model_copy(update={"noise": None, "calibration": None})
    each = []
    for number in range(splits):
        order = np.random.default_rng(number).permutation(rows)
        halves = order[: rows // 2], order[rows // 2 :]
        if is_classes(spec):
            labels = class_targets(targets, spec, rows)
            each.append(_measure_classes(classes_of(passes, spec), labels, spec, *halves))
        else:
            truth = np.asarray(targets, np.float64).reshape(rows, -1)
            values = values_of(passes, spec, calibrated=False)
            each.append(_measure_values(values, plain.reshape(rows, -1), truth, spec, *halves))
    contained, sizes, before, after = (np.array([item[i] for item in each]) for i in range(4))
    return CoverageResult(
        dict(zip(COVERAGES, contained.mean(axis=0).tolist(), strict=True)),
        dict(zip(COVERAGES, sizes.mean(axis=0).tolist(), strict=True)),
        float(before.mean()),
        float(after.mean()),
        int((after > before + 1e-12).sum()),
    )


SplitResult = tuple[list[float], list[float], float, float]
"""Of one split: for each coverage how often the target was contained, and the size; NLL before and after."""
Indices = npt.NDArray[np.int64]


def _measure_classes(
    passes: Array, labels: Indices, spec: OutputSpec, calibrating: Indices, measuring: Indices
) -> SplitResult:
    fitted = calibrate_classes(passes[:, calibrating], labels[calibrating], spec, len(passes), empty_sets=True).spec
    mean, truth = passes[:, measuring].mean(axis=0), labels[measuring]
    sets = [prediction_set(fitted, mean, coverage) for coverage in COVERAGES]
    temperature = fitted.calibration.temperature if fitted.calibration else None
    return (
        [float(members[np.arange(len(truth)), truth].mean()) for members in sets],
        [float(members.sum(axis=1).mean()) for members in sets],
        float(classification_scores(mean, truth)["nll"] or 0.0),
        float(classification_scores(temper(mean, temperature or 1.0), truth)["nll"] or 0.0),
    )


def _measure_values(
    values: Values, plain: Array, truth: Array, spec: OutputSpec, calibrating: Indices, measuring: Indices
) -> SplitResult:
    fitted = calibrate_values(_take(values, calibrating), truth[calibrating], spec, len(values.means)).spec
    measured = Values(_take(values, measuring).means, np.asarray(fitted.noise))
    scored = Values(measured.means, np.asarray(scored_as(fitted).noise))
    ends = [interval(fitted, scored.mean, scored.variance, coverage) for coverage in COVERAGES]
    noise = ((truth[calibrating] - plain[calibrating]) ** 2).mean(axis=0)
    before = log_likelihood(truth[measuring], Values(plain[np.newaxis, measuring], noise))
    after = log_likelihood(truth[measuring], measured)
    return (
        [float(((truth[measuring] >= low) & (truth[measuring] <= high)).mean()) for low, high in ends],
        [float((high - low).mean()) for low, high in ends],
        float("nan") if before is None else -float(before.mean()),
        float("nan") if after is None else -float(after.mean()),
    )


def _take(values: Values, rows: Indices) -> Values:
    return Values(values.means[:, rows], values.noises)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line for each example.

    Args:
        arguments: Of the command line; None for those of this process.
    """
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.studies.coverage", description=__doc__)
    parser.add_argument("--splits", type=int, default=SPLITS, help="random splits of the held-out rows (50)")
    options = parser.parse_args(arguments)
    from thinned.models.compat.tensorflow import import_tensorflow

    import_tensorflow()
    from thinned.models.examples import diabetes, digits
    from thinned.models.loading import load_stored
    from thinned.models.storage import model_store

    print(f"{options.splits} splits, {PASSES} passes; stated coverage: measured (mean width or size)")
    for name, split in ((digits.NAME, digits.data()), (diabetes.NAME, diabetes.data())):
        stored = model_store.find(name)
        model = load_stored(stored)
        spec, rows = stored.card.outputs[0], {stored.card.inputs[0].name: split.x_test}
        passes = model.sample(rows, n_samples=PASSES, seed=1)[spec.name]
        found = measure(passes, model.predict(rows)[spec.name], split.y_test, spec, options.splits)
        contained = ", ".join(f"{c:g}: {found.measured[c]:.4f} ({found.sizes[c]:.4g})" for c in COVERAGES)
        print(
            f"{name}: {contained}; NLL {found.nll_before:.4f} -> {found.nll_after:.4f}, worse in {found.worse} splits"
        )


if __name__ == "__main__":
    main()
