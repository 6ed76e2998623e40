"""Intervals in a report, whose coverage was measured: how far will a patient's disease have gone in a year?

The spread of passes is how unsure the network is, not how far patients differ, so that mean ± 1.64 deviations holds far
fewer than 90 % of them. Conformal intervals take their width from patients whose outcome is known: half of those that
the network was not trained on. On the other half the coverage is measured, over many splits. `thinned calibrate` does
this for a stored model, and `predict(rows, coverage=0.9)` then gives the intervals.

    thinned train diabetes
    python examples/intervals.py
"""

from __future__ import annotations

import numpy as np

import thinned
from thinned.models.examples import diabetes

COVERAGE = 0.9
PASSES = 200
SEED = 1
SPLITS = 500
SHOWN = 5


def half_width(errors: np.ndarray, coverage: float) -> float:
    """What at least this share of further errors is no larger than, if they are like these (split conformal)."""
    rank = int(np.ceil((len(errors) + 1) * coverage))
    return float(np.sort(errors)[rank - 1]) if rank <= len(errors) else np.inf


def main() -> None:
    """Print the intervals of some patients, and how often each kind of interval held the truth."""
    model = thinned.load("diabetes")
    split = diabetes.data()
    truth = split.y_test[:, 0]
    answer = model.predict(split.x_test, n_samples=PASSES, seed=SEED)
    mean, spread = answer["mean"][:, 0], np.sqrt(answer["variance"][:, 0])
    draw = np.random.default_rng(SEED)
    held, widths = [], []
    for _ in range(SPLITS):
        order = draw.permutation(len(truth))
        known, new = order[: len(truth) // 2], order[len(truth) // 2 :]
        width = half_width(np.abs(truth - mean)[known], COVERAGE)
        held.append(float((np.abs(truth - mean)[new] <= width).mean()))
        widths.append(width)
    of_passes = float((np.abs(truth - mean) <= 1.645 * spread).mean())
    print(f"{len(truth)} patients that the network has not seen; {PASSES} passes, seed {SEED}")
    width = half_width(np.abs(truth - mean)[SHOWN:], COVERAGE)
    for i in range(SHOWN):
        low, high = mean[i] - width, mean[i] + width
        print(f"patient {i}: {mean[i]:4.0f}, 90 % interval {low:4.0f} to {high:4.0f}; it was {truth[i]:.0f}")
    print(
        f"mean ± 1.64 deviations of passes: held {of_passes:.0%} of patients, ± {1.645 * spread.mean():.0f} on average"
    )
    print(
        f"conformal: held {np.mean(held):.1%} of patients on average over {SPLITS} splits (asked for: at least "
        f"{COVERAGE:.0%}), ± {np.mean(widths):.0f}"
    )


if __name__ == "__main__":
    main()
