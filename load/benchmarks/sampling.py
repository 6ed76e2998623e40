"""`make bench-sampling`: how many independent passes one stratified pass is worth, and the time that each takes.

Measured on trained networks over many seeds: the mean squared error of an estimate from N independent passes, divided
by that from N stratified ones. The error of independent passes falls as 1 / N, so the quotient is also the number of
independent passes for each stratified one at the same error.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from thinned.loadtest.machine import describe_run
from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.sampling import SAMPLINGS, Sampling

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["main"]

SAMPLES = (8, 16, 32, 64, 100, 200, 400)
ROWS = 16
REFERENCE_PASSES = 60_000
STATISTICS = ("mean", "variance", "entropy", "mutual information")


class TrainedNetwork(NamedTuple):
    """A trained Keras network, rows that it was not trained on, and whether it answers class probabilities."""

    name: str
    keras_model: Any
    rows: np.ndarray
    classes: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table.

    Args:
        argv: Arguments of the command line; None for those of this process.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.benchmarks.sampling", description=__doc__)
    parser.add_argument("--samples", nargs="+", type=int, default=list(SAMPLES), metavar="N")
    parser.add_argument("--repeats", type=int, default=300, help="seeds for each N (default: 300)")
    parser.add_argument("--quick", action="store_true", help="N = 32 and 100, 60 seeds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="plot the error against N to this file")
    options = parser.parse_args(argv)
    if options.quick:
        options.samples, options.repeats = [32, 100], 60
    import_tensorflow()
    with tempfile.TemporaryDirectory(prefix="thinned-bench-") as home:
        os.environ["BENTOML_HOME"] = home  # a temporary store for the trained examples
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    about = describe_run()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    cells: list[dict[str, Any]] = []
    with Progress(*columns, console=console, transient=True) as progress:
        networks = (diabetes, digits, convolutional, attention)
        task = progress.add_task("training", total=len(networks) * (2 + len(options.samples)))
        for make in networks:
            progress.update(task, description=f"{make.__name__}: training")
            cells += _measure(make(), options, lambda step: progress.update(task, advance=1, description=step))
            progress.advance(task)
    _show(about, cells)
    if options.json:
        options.json.write_text(json.dumps({"about": about, "cells": cells}, indent=1) + "\n")
    if options.plot:
        _plot(cells, options.plot)
    return 0


def _measure(
    network: TrainedNetwork, options: argparse.Namespace, on_step: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Errors and times of both samplings on one network, for each N."""
    from thinned.models.dropout import enable_mc_dropout

    model = enable_mc_dropout(network.keras_model)
    inputs = {model.inputs[0].name: network.rows}
    output = model.outputs[0].name

    def passes(n: int, seed: int, sampling: Sampling) -> np.ndarray:
        return model.sample(inputs, n_samples=n, seed=seed, sampling=sampling)[output].astype(np.float64)

    on_step(f"{network.name}: reference")
    reference = _estimates(passes(REFERENCE_PASSES, 2**40, "independent"), network.classes)
    cells = []
    for n in options.samples:
        on_step(f"{network.name}: N = {n}")
        errors: dict[str, dict[str, float]] = {}
        for sampling in SAMPLINGS:
            squares: dict[str, list[np.ndarray]] = {name: [] for name in reference}
            for seed in range(options.repeats):
                for name, found in _estimates(passes(n, seed, sampling), network.classes).items():
                    squares[name].append((found - reference[name]) ** 2)
            errors[sampling] = {name: float(np.mean(found)) for name, found in squares.items()}
        worth = {name: errors["independent"][name] / errors["stratified"][name] for name in reference}
        cells.append(
            {
                "network": network.name,
                "n_samples": n,
                "worth": worth,
                "rmse": {s: {name: error**0.5 for name, error in found.items()} for s, found in errors.items()},
                "ms": _times_ms(model, inputs, n),
            }
        )
    return cells


def _estimates(passes: np.ndarray, classes: bool) -> dict[str, np.ndarray]:
    """The estimates whose errors are measured, from passes (S, B, ...)."""
    mean = passes.mean(axis=0)
    found = {"mean": mean, "variance": passes.var(axis=0, ddof=1)}
    if classes:
        from thinned.models.uncertainty import entropy

        total = entropy(mean)
        found |= {"entropy": total, "mutual information": total - entropy(passes).mean(axis=0)}
    return found


def _times_ms(model: StochasticModel, inputs: dict[str, np.ndarray], n: int, turns: int = 40) -> dict[str, float]:
    """Median milliseconds of a summary of one row, both samplings timed in turns."""
    one = {name: x[:1] for name, x in inputs.items()}
    took: dict[str, list[float]] = {sampling: [] for sampling in SAMPLINGS}
    for _ in range(turns + 3):
        for sampling in SAMPLINGS:
            started = time.perf_counter()
            model.summary(one, n_samples=n, seed=1, sampling=sampling)
            took[sampling].append(time.perf_counter() - started)
    return {sampling: statistics.median(times[3:]) * 1e3 for sampling, times in took.items()}


def diabetes() -> TrainedNetwork:
    """The example `diabetes`: an MLP with two dropout layers of rate 0.2."""
    from thinned.models.examples import diabetes as example

    return TrainedNetwork("diabetes", _example(example), example.data().x_test[:ROWS], False)


def digits() -> TrainedNetwork:
    """The example `digits`: a convolutional network with dropout 0.25 and 0.5 in its head."""
    from thinned.models.examples import digits as example

    return TrainedNetwork("digits", _example(example), example.data().x_test[:ROWS], True)


def convolutional() -> TrainedNetwork:
    """A convolutional network that also drops whole channels after each convolution, at rate 0.2."""
    import keras

    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.Rescaling(1 / 16)(inputs)
    for filters in (16, 32):
        x = layers.SpatialDropout2D(0.2)(layers.Conv2D(filters, 3, activation="relu")(x))
    x = layers.Dropout(0.3)(layers.Dense(64, "relu")(layers.Flatten()(x)))
    return _fit_digits("convolutional", keras.Model(inputs, layers.Dense(10, "softmax")(x)))


def attention() -> TrainedNetwork:
    """A transformer block over the eight lines of a digit, with dropout 0.1 in attention and after each half-block."""
    import keras

    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.Dense(32)(layers.Reshape((8, 8))(layers.Rescaling(1 / 16)(inputs)))
    x = layers.Add()([x, layers.Embedding(8, 32)(keras.ops.arange(8))[None]])
    h = layers.MultiHeadAttention(4, 8, dropout=0.1)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, layers.Dropout(0.1)(h)]))
    h = layers.Dense(32)(layers.Dense(64, "relu")(x))
    x = layers.LayerNormalization()(layers.Add()([x, layers.Dropout(0.1)(h)]))
    x = layers.Dropout(0.1)(layers.Flatten()(x))
    return _fit_digits("attention", keras.Model(inputs, layers.Dense(10, "softmax")(x)))


def _example(example: Any) -> Any:
    """Train an example and load it from the store."""
    from thinned.models.storage.model_store import load_keras

    return load_keras(example.train())


def _fit_digits(name: str, keras_model: Any) -> TrainedNetwork:
    """Train a network on the digits."""
    import keras

    from thinned.models.examples.digits import data
    from thinned.models.examples.training import fit

    keras.utils.set_random_seed(0)
    split = data()
    fit(
        keras_model,
        split.x_train,
        split.y_train,
        epochs=20,
        batch_size=64,
        learning_rate=3e-3,
        loss="sparse_categorical_crossentropy",
        on_epoch=None,
    )
    return TrainedNetwork(name, keras_model, split.x_test[:ROWS], True)


def _show(about: dict[str, str], cells: Sequence[dict[str, Any]]) -> None:
    console = Console(width=130)
    for key, value in about.items():
        console.print(f"{key}: {value}", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, title="independent passes that one stratified pass is worth")
    for name in ("network", "N", *STATISTICS, "ms stratified", "ms independent"):
        table.add_column(name, justify="left" if name == "network" else "right")
    for cell in cells:
        worth = [f"{cell['worth'][name]:.2f}" if name in cell["worth"] else "" for name in STATISTICS]
        cost = [f"{cell['ms'][sampling]:.2f}" for sampling in SAMPLINGS]
        table.add_row(cell["network"], str(cell["n_samples"]), *worth, *cost)
    console.print(table)


def _plot(cells: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot the root mean squared error of the mean against N, one panel for each network."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    networks = list(dict.fromkeys(cell["network"] for cell in cells))
    figure, axes = pyplot.subplots(1, len(networks), figsize=(3.2 * len(networks), 3.2), layout="constrained")
    styles = {"stratified": ("#0072b2", "-", "o"), "independent": ("#d55e00", "--", "s")}
    for axis, network in zip(np.atleast_1d(axes), networks, strict=True):
        own = [cell for cell in cells if cell["network"] == network]
        n = [cell["n_samples"] for cell in own]
        for sampling, (colour, line, marker) in styles.items():
            errors = [cell["rmse"][sampling]["mean"] for cell in own]
            axis.loglog(n, errors, color=colour, linestyle=line, marker=marker, markersize=4, label=sampling)
        axis.set_title(network)
        axis.set_xlabel("passes N")
        axis.set_xticks([10, 30, 100, 300], ["10", "30", "100", "300"])
        axis.xaxis.set_minor_locator(ticker.NullLocator())
        axis.grid(alpha=0.3)
    first = np.atleast_1d(axes)[0]
    first.set_ylabel("error of the mean (RMSE, output units)")
    first.legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    raise SystemExit(main())
