"""`make bench-sampling`: how many independent passes one stratified pass is worth, and what drawing either costs.

On trained networks, over many seeds: the mean squared error of an estimate from N stratified passes against that from
N independent ones. Independent passes err as 1 / N, so the ratio of the errors is the ratio of passes needed.
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
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from thinned.loadtest.machine import describe
from thinned.models.compat.tensorflow import import_tensorflow

__all__ = ["main"]

SAMPLES = (8, 16, 32, 64, 100, 200, 400)
SAMPLINGS = ("stratified", "independent")
ROWS = 16
REFERENCE = 60_000
STATISTICS = ("mean", "variance", "entropy", "mutual information")


class Trained(NamedTuple):
    """A trained network and rows that it was not trained on."""

    name: str
    model: Any
    rows: np.ndarray
    classes: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bench; 0 when it came to its end."""
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.benchmarks.sampling", description=__doc__)
    parser.add_argument("--samples", nargs="+", type=int, default=list(SAMPLES), metavar="N")
    parser.add_argument("--repeats", type=int, default=300, help="seeds for each N (default: 300)")
    parser.add_argument("--quick", action="store_true", help="N = 32 and 100, 60 seeds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw error against N there")
    options = parser.parse_args(argv)
    if options.quick:
        options.samples, options.repeats = [32, 100], 60
    import_tensorflow()
    with tempfile.TemporaryDirectory(prefix="thinned-bench-") as home:
        os.environ["BENTOML_HOME"] = home  # the examples are trained into a store of this run's own
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    about = describe()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    cells: list[dict[str, Any]] = []
    with Progress(*columns, console=console, transient=True) as progress:
        networks = (diabetes, digits, convolutional, attention)
        task = progress.add_task("training", total=len(networks) * (2 + len(options.samples)))
        for make in networks:
            progress.update(task, description=f"{make.__name__}: training")
            cells += _measure(make(), options, lambda what: progress.update(task, advance=1, description=what))
            progress.advance(task)
    _show(about, cells)
    if options.json:
        options.json.write_text(json.dumps({"about": about, "cells": cells}, indent=1) + "\n")
    if options.plot:
        _plot(cells, options.plot)
    return 0


def _measure(trained: Trained, options: argparse.Namespace, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    from thinned.models.dropout import enable_mc_dropout

    stochastic = enable_mc_dropout(trained.model)
    inputs = {stochastic.inputs[0].name: trained.rows}
    output = stochastic.outputs[0].name

    def passes(n: int, seed: int, sampling: Any) -> np.ndarray:
        drawn = stochastic.sample_blocks(inputs, n_samples=n, seed=seed, sampling=sampling)
        return np.concatenate([piece.outputs[output] for piece in drawn]).astype(np.float64)

    tell(f"{trained.name}: reference")
    truth = _estimates(passes(REFERENCE, 2**40, "independent"), trained.classes)
    cells = []
    for n in options.samples:
        tell(f"{trained.name}: N = {n}")
        errors: dict[str, dict[str, float]] = {}
        for sampling in SAMPLINGS:
            squares: dict[str, list[np.ndarray]] = {name: [] for name in truth}
            for seed in range(options.repeats):
                for name, found in _estimates(passes(n, seed, sampling), trained.classes).items():
                    squares[name].append((found - truth[name]) ** 2)
            errors[sampling] = {name: float(np.mean(found)) for name, found in squares.items()}
        worth = {name: errors["independent"][name] / errors["stratified"][name] for name in truth}
        cells.append(
            {
                "network": trained.name,
                "n_samples": n,
                "worth": worth,
                "rmse": {s: {name: error**0.5 for name, error in found.items()} for s, found in errors.items()},
                "ms": _cost(stochastic, inputs, n),
            }
        )
    return cells


def _estimates(passes: np.ndarray, classes: bool) -> dict[str, np.ndarray]:
    """What passes (S, B, ...) are used for."""
    mean = passes.mean(axis=0)
    found = {"mean": mean, "variance": passes.var(axis=0, ddof=1)}
    if classes:
        from thinned.models.uncertainty import entropy

        total = entropy(mean)
        found |= {"entropy": total, "mutual information": total - entropy(passes).mean(axis=0)}
    return found


def _cost(stochastic: Any, inputs: dict[str, np.ndarray], n: int, turns: int = 40) -> dict[str, float]:
    """Median milliseconds of a summary of one row, both samplings in turns."""
    one = {name: x[:1] for name, x in inputs.items()}
    took: dict[str, list[float]] = {sampling: [] for sampling in SAMPLINGS}
    for _ in range(turns + 3):
        for sampling in SAMPLINGS:
            started = time.perf_counter()
            list(stochastic.summarise(one, n_samples=n, seed=1, sampling=sampling))
            took[sampling].append(time.perf_counter() - started)
    return {sampling: statistics.median(times[3:]) * 1e3 for sampling, times in took.items()}


def diabetes() -> Trained:
    """The example: an MLP with dropout 0.2 twice."""
    from thinned.models.examples import diabetes as example

    return Trained("diabetes", _example(example), example.data().x_test[:ROWS], False)


def digits() -> Trained:
    """The example: a convolutional network with dropout 0.25 and 0.5 in its head."""
    from thinned.models.examples import digits as example

    return Trained("digits", _example(example), example.data().x_test[:ROWS], True)


def convolutional() -> Trained:
    """Dropout inside the convolutional part too: whole channels, rate 0.2."""
    import keras

    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.Rescaling(1 / 16)(inputs)
    for filters in (16, 32):
        x = layers.SpatialDropout2D(0.2)(layers.Conv2D(filters, 3, activation="relu")(x))
    x = layers.Dropout(0.3)(layers.Dense(64, "relu")(layers.Flatten()(x)))
    return _fit_digits("convolutional", keras.Model(inputs, layers.Dense(10, "softmax")(x)))


def attention() -> Trained:
    """A transformer block over the eight lines of a digit; dropout 0.1 in attention and after each half-block."""
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
    """An example's trained model."""
    from thinned.models.storage.model_store import load_keras

    return load_keras(example.train())


def _fit_digits(name: str, model: Any) -> Trained:
    import keras

    from thinned.models.examples.digits import data
    from thinned.models.examples.training import fit

    keras.utils.set_random_seed(0)
    split = data()
    fit(
        model,
        split.x_train,
        split.y_train,
        epochs=20,
        batch_size=64,
        learning_rate=3e-3,
        loss="sparse_categorical_crossentropy",
        on_epoch=None,
    )
    return Trained(name, model, split.x_test[:ROWS], True)


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
    """Root mean squared error of the mean against N, for each network; readable in grey."""
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
