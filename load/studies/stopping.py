"""Measure how often the mean of a run that a tolerance stopped holds the true mean, over many seeds.

`python -m thinned.loadtest.studies.stopping` needs no stored model: it makes a small network, whose true mean it takes
from 2,000,000 passes, and stops runs of one row and one number, where no other row delays the stop.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from thinned.models.sampling import BLOCK, SAMPLINGS, Sampling
from thinned.models.uncertainty import widening

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["BLOCKS", "SEEDS", "SmallNetwork", "Stops", "measure", "small_network"]

SEEDS = 1000
BLOCKS = (3, 6, 12, 24)
"""Blocks at which the plain error would be about the tolerance."""
TRUE_PASSES = 2_000_000
LEVEL = 0.95


@dataclass(frozen=True)
class SmallNetwork:
    """A model with one number a row, one row, and what is true of its passes.

    Args:
        model: The model.
        inputs: The row.
        truth: The mean over so many passes that its own error does not count.
        block_deviation: Standard deviation of the mean of a block of 32 passes.
    """

    model: StochasticModel
    inputs: dict[str, npt.NDArray[Any]]
    truth: float
    block_deviation: dict[Sampling, float]


@dataclass(frozen=True)
class Stops:
    """Shares of the seeds whose interval holds the true mean, for one tolerance.

    Args:
        passes: Mean number of passes at the stop.
        by_error: Of mean ± t standard errors, t by the degrees of freedom that the answer gives.
        by_tolerance: Of mean ± 1.96 tolerance.
        by_normal: Of mean ± 1.96 standard errors, which forgets how few blocks there are.
        error: Root mean square of the standard errors over that of the mean's true error.
    """

    passes: float
    by_error: float
    by_tolerance: float
    by_normal: float
    error: float


def small_network(true_passes: int = TRUE_PASSES) -> SmallNetwork:
    """Two hidden layers of 32 units, each with dropout of 0.2 behind it."""
    import keras

    from thinned.models.dropout import enable_mc_dropout

    keras.utils.set_random_seed(8)
    x = inputs = keras.Input((5,))
    for _ in range(2):
        x = keras.layers.Dropout(0.2)(keras.layers.Dense(32, "relu")(x))
    model = enable_mc_dropout(keras.Model(inputs, keras.layers.Dense(1)(x)))
    rows = {model.inputs[0].name: np.random.default_rng(1).normal(size=(1, 5)).astype("float32")}
    name = model.outputs[0].name
    most = {"n_samples": true_passes, "seed": 10**9, "row_passes": 1 << 17}
    truth = float(model.summary(rows, **most)[name].mean[0, 0])
    deviations: dict[Sampling, float] = {}
    for sampling in SAMPLINGS:
        passes = model.sample(rows, n_samples=2000 * BLOCK, seed=7, sampling=sampling)[name]
        deviations[sampling] = float(passes.astype(np.float64).reshape(-1, BLOCK).mean(axis=1).std(ddof=1))
    return SmallNetwork(model, rows, truth, deviations)


def measure(network: SmallNetwork, sampling: Sampling, tolerance: float, seeds: int = SEEDS) -> Stops:
    """Stop a run of each seed by the tolerance, and look where the true mean lies.

    Args:
        network: From `small_network`.
        sampling: How passes relate to each other.
        tolerance: In the output's units.
        seeds: How many.
    """
    from thinned.models.dropout import MonteCarloRun, complete

    name = network.model.outputs[0].name
    found = []
    for seed in range(seeds):
        run = MonteCarloRun(
            network.inputs,
            [name],
            row_passes=1 << 16,
            n_samples=1 << 16,
            seed=seed,
            sampling=sampling,
            tolerance=tolerance,
        )
        statistics = complete(run, network.model).statistics()[name]
        error, factor = statistics.standard_error(sampling)[0], widening(statistics.degrees_of_freedom(sampling), LEVEL)
        found.append((run.drawn, statistics.mean[0, 0] - network.truth, error[0, 0], factor))
    passes, off, errors, factors = np.array(found).T
    normal = float(ndtri((1 + LEVEL) / 2))
    return Stops(
        float(passes.mean()),
        float((np.abs(off) <= normal * factors * errors).mean()),
        float((np.abs(off) <= normal * tolerance).mean()),
        float((np.abs(off) <= normal * errors).mean()),
        float(np.sqrt((errors**2).mean() / (off**2).mean())),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line for each sampling and tolerance.

    Args:
        arguments: Of the command line; None for those of this process.
    """
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.studies.stopping", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs for each tolerance (1000)")
    options = parser.parse_args(arguments)
    from thinned.models.compat.tensorflow import import_tensorflow

    import_tensorflow()
    network = small_network()
    print(f"{options.seeds} seeds; share of 95 % intervals that hold the true mean")
    print("sampling     passes  ± t errors  ± 1.96 tolerance  ± 1.96 errors  stated / true error")
    for sampling in SAMPLINGS:
        for blocks in BLOCKS:
            found = measure(network, sampling, network.block_deviation[sampling] / blocks**0.5, options.seeds)
            print(
                f"{sampling:11s} {found.passes:7.0f} {found.by_error:11.3f} {found.by_tolerance:17.3f} "
                f"{found.by_normal:14.3f} {found.error:20.3f}"
            )


if __name__ == "__main__":
    main()
