"""Measure what critics of Monte Carlo dropout say of it: on a function of one number, and on both examples.

`python -m thinned.loadtest.studies.limits` prints every figure of docs/limits.md; it trains some 80 small networks.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from thinned.loadtest.machine import describe_run
from thinned.loadtest.studies import limits_examples, limits_toy

__all__ = ["main"]

REPEATS = 3
COUNTS = (50, 500, 5000)


def print_toy(repeats: int, steps: int) -> None:
    """Where there are rows, between them and outside: error, deviation, and how often the truth is held."""
    found = [limits_toy.curves(seed, steps=steps) for seed in range(1, repeats + 1)]
    print(f"A function of one number, {limits_toy.ROWS} rows, {repeats} repeats; root mean squared error of the mean,")
    print("standard deviation of the network, and how often mean ± 1.96 of it holds the function")
    print(f"{'':22s}{''.join(f'{name:>24s}' for name in limits_toy.REGIONS)}")
    for way in found[0]:
        if way == "ood":
            shares = [np.mean([(one[way][n].deviation <= 0.05).mean() for one in found]) for n in limits_toy.REGIONS]
            print(f"{'ood: p of at most 0.05':22s}{''.join(f'{share:24.2f}' for share in shares)}")
            continue
        regions = limits_toy.by_region([one[way] for one in found])
        print(f"{way:22s}{''.join(f'{r.error:12.3f}{r.deviation:7.3f}{r.held:5.2f}' for r in regions)}")
    print("On the rows, by their number: error and deviation of passes, of an ensemble")
    grown = [limits_toy.grown(COUNTS, seed, steps=steps) for seed in range(1, repeats + 1)]
    for count in COUNTS:
        both = [np.mean([[one[count][i].error, one[count][i].deviation] for one in grown], axis=0) for i in (0, 1)]
        print(f"{count:6d} rows  {both[0][0]:8.3f} {both[0][1]:8.3f}  {both[1][0]:8.3f} {both[1][1]:8.4f}")


def print_shifted(title: str, found: Sequence[limits_examples.Shifted]) -> None:
    """A table for each kind of rows."""
    print(title)
    names = list(next(iter(found[0].scores.values())))
    for kind in found:
        print(f"{kind.name} (p-value of ood at most 0.05: {kind.unlike:.2f})")
        print(f"{'':16s}{''.join(f'{name:>11s}' for name in names)}")
        for method, scores in kind.scores.items():
            print(f"{method:16s}{''.join(f'{scores[name]:11.4g}' for name in names)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures.

    Args:
        arguments: Of the command line; None for those of this process.
    """
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.studies.limits", description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS, help="repeats of the function of one number (3)")
    parser.add_argument("--steps", type=int, default=limits_toy.STEPS, help="steps of their training (3000)")
    parser.add_argument("--splits", type=int, default=limits_examples.SPLITS, help="splits of the held-out rows (20)")
    parser.add_argument("--epochs", type=int, help="epochs of the examples, where they are not to be trained in full")
    options = parser.parse_args(arguments)
    from thinned.models.compat.tensorflow import import_tensorflow

    import_tensorflow()
    shorter = {} if options.epochs is None else {"epochs": options.epochs}
    stated = limits_examples.COVERAGE
    title = f"{{}}: {limits_examples.MEMBERS} trainings, {limits_examples.PASSES} passes, coverage of {stated:g}"
    print_shifted(title.format("digits"), limits_examples.of_digits(splits=options.splits, **shorter))
    print_shifted(title.format("diabetes"), limits_examples.of_diabetes(splits=options.splits, **shorter))
    print_toy(options.repeats, options.steps)
    for name, said in describe_run().items():
        print(f"{name}: {said}")


if __name__ == "__main__":
    main()
