"""`make bench-estimators`: what closed forms over last masks, and more last masks, are worth.

For each network and number of passes N the mean squared errors of mean and variance, of independent passes divided by
those of an estimator: how many independent passes give the same error as one. And the time of a request by the best
estimator over that of the plain passes, in turns in one run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from thinned.loadtest.benchmarks.sampling import TrainedNetwork, attention, convolutional, diabetes, digits
from thinned.loadtest.machine import describe_run
from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.sampling import Estimator, Sampling

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["SAMPLES", "Worth", "main", "measure", "networks"]

SAMPLES = (10, 32, 100)
SEEDS = 300
REFERENCE_PASSES = 60_000
TURNS = 60
WAYS: tuple[tuple[Sampling, Estimator], ...] = (
    ("independent", "passes"),
    ("stratified", "passes"),
    ("stratified", "best"),
)


class Worth(NamedTuple):
    """Independent passes that one pass of each is worth, for the mean and for the variance.

    `bias` is the mean of the best variance over the true one, over rows, numbers and seeds.
    """

    mean: float
    best_mean: float
    variance: float
    best_variance: float
    bias: float


def measure(model: StochasticModel, rows: np.ndarray, n: int, truth: Any, seeds: int) -> Worth:
    """Errors of `WAYS` over seeds.

    Args:
        model: A model of one input and one output.
        rows: (B, ...).
        n: Passes.
        truth: Mean and variance, (B, ...) each.
        seeds: How many.
    """
    inputs = {model.inputs[0].name: rows}
    errors, seen = [], np.zeros_like(truth[1])
    for sampling, estimator in WAYS:
        squares = np.zeros(2)
        for seed in range(seeds):
            found = model.summary(inputs, n_samples=n, seed=seed, sampling=sampling, estimator=estimator)
            (told,) = found.values()
            squares += [float(np.mean((x - y) ** 2)) for x, y in zip((told.mean, told.variance), truth, strict=True)]
            seen += told.variance / seeds if estimator == "best" else 0.0
        errors.append(squares)
    (mean, variance), (best_mean, best_variance) = errors[0] / errors[1], errors[0] / errors[2]
    return Worth(mean, best_mean, variance, best_variance, float(seen.mean() / truth[1].mean()))


def time_ratio(model: StochasticModel, rows: np.ndarray, n: int) -> float:
    """Median time of the best estimator over that of plain passes, in turns."""
    inputs = {model.inputs[0].name: rows}
    took: dict[Estimator, list[float]] = {"best": [], "passes": []}
    for turn in range(TURNS + 5):
        for estimator, times in took.items():
            began = time.perf_counter()
            model.summary(inputs, n_samples=n, seed=turn, estimator=estimator)
            times.append(time.perf_counter() - began)
    return statistics.median(took["best"][5:]) / statistics.median(took["passes"][5:])


def mobilenet() -> TrainedNetwork:
    """MobileNetV2 of width 0.35, not trained, under a head that is: dropout of 0.3 before the only softmax."""
    import keras

    from thinned.loadtest.benchmarks.sampling import _fit_digits

    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.Concatenate()([layers.UpSampling2D(4)(layers.Rescaling(1 / 16)(inputs))] * 3)
    base = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None)
    base.trainable = False
    x = layers.GlobalAveragePooling2D()(base(x, training=False))
    x = layers.Dropout(0.3)(layers.BatchNormalization()(x))
    return _fit_digits("mobilenet head", keras.Model(inputs, layers.Dense(10, "softmax")(x)))


def regression(depth: int, rate: float) -> Callable[[], TrainedNetwork]:
    """The data of `diabetes`, a network of so many layers of 64 units."""

    def make() -> TrainedNetwork:
        import keras

        from thinned.models.examples.diabetes import data
        from thinned.models.examples.training import fit

        keras.utils.set_random_seed(0)
        split = data()
        mean, width = split.y_train.mean(), split.y_train.std()
        x = inputs = keras.Input((10,))
        x = keras.layers.Normalization(mean=split.x_train.mean(axis=0), variance=split.x_train.var(axis=0))(x)
        for _ in range(depth):
            x = keras.layers.Dropout(rate)(keras.layers.Dense(64, "relu")(x))
        model = keras.Model(inputs, keras.layers.Dense(1)(x))
        target = (split.y_train - mean) / width
        fit(model, split.x_train, target, epochs=40, batch_size=32, learning_rate=1e-3, loss="mse", on_epoch=None)
        return TrainedNetwork(f"{depth} x 64, r = {rate:g}", model, split.x_test[:16], False)

    return make


def networks() -> dict[str, Callable[[], TrainedNetwork]]:
    """What is measured, by name."""
    made = {f"{depth}x64-{rate:g}": regression(depth, rate) for depth, rate in ((3, 0.1), (3, 0.3), (3, 0.5), (2, 0.3))}
    return {
        "diabetes": diabetes,
        **made,
        "digits": digits,
        "convolutional": convolutional,
        "attention": attention,
        "mobilenet": mobilenet,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table in Markdown.

    Args:
        argv: Arguments of the command line; None for those of this process.
    """
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.benchmarks.last_masks", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"for each N (default: {SEEDS})")
    parser.add_argument("--samples", nargs="+", type=int, default=list(SAMPLES), metavar="N")
    parser.add_argument("--only", nargs="+", metavar="NETWORK", help="of " + ", ".join(networks()))
    options = parser.parse_args(argv)
    import_tensorflow()
    from thinned.models.dropout import enable_mc_dropout

    for key, value in describe_run().items():
        print(f"{key}: {value}")
    print(
        "| network | made of | N | mean, passes | mean, best | variance, passes | variance, best | bias | time 1 | 16 |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="thinned-study-") as home:
        os.environ["BENTOML_HOME"] = home  # a temporary store for the trained examples
        for name, make in networks().items():
            if options.only and name not in options.only:
                continue
            network = make()
            model = enable_mc_dropout(network.keras_model)
            inputs = {model.inputs[0].name: network.rows}
            asked: dict[str, Any] = {"n_samples": REFERENCE_PASSES, "seed": 2**40, "sampling": "independent"}
            (told,) = model.summary(inputs, **asked).values()
            for n in options.samples:
                found = measure(model, network.rows, n, (told.mean, told.variance), options.seeds)
                times = [f"{time_ratio(model, network.rows[:b], n):.2f}" for b in (1, 16)]
                cells = [f"{value:.1f}" for value in found[:4]] + [f"{found.bias:.3f}", *times]
                print(f"| {network.name} | {told.made} | {n} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
