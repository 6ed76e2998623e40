"""Refuse the least sure digits: how accurate are the answers to those that are kept?

Half of the held-out digits are turned by up to 60 degrees, which the network was not trained for. The rows are sorted
by the entropy of the mean over passes, and the most entropic ones left to a person.

    thinned train digits
    python examples/abstain.py
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import rotate

import thinned
from thinned.models.examples import digits

KEPT = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6)
PASSES = 100
SEED = 1


def half_turned(images: np.ndarray, seed: int) -> np.ndarray:
    """The images (B, 8, 8, 1), every second one turned by -60 to 60 degrees."""
    angles = np.random.default_rng(seed).uniform(-60, 60, len(images))
    turned = [
        rotate(image, angle if i % 2 else 0, reshape=False, order=1)
        for i, (image, angle) in enumerate(zip(images, angles, strict=True))
    ]
    return np.clip(np.stack(turned), 0, 16)


def accuracy_of_kept(unsure: np.ndarray, right: np.ndarray, share: float) -> float:
    """Share of right answers among the rows that are surest, a given share of all."""
    kept = np.argsort(unsure, kind="stable")[: round(share * len(right))]
    return float(right[kept].mean())


def main() -> None:
    """Print a line for each share of rows that is kept."""
    model = thinned.load("digits")
    split = digits.data()
    images, truth = half_turned(split.x_test, SEED), split.y_test
    answer = model.predict(images, n_samples=PASSES, seed=SEED)
    right = answer["predicted_label"].astype(int) == truth
    print(f"{len(truth)} digits, every second one turned by up to 60 degrees; {PASSES} passes, seed {SEED}")
    print(f"{'answered':>9}  {'right of these':>14}  {'refused at random':>17}")
    for share in KEPT:
        right_of_kept = accuracy_of_kept(answer["predictive_entropy"], right, share)
        print(f"{share:9.0%}  {right_of_kept:14.1%}  {right.mean():17.1%}")
    threshold = np.quantile(answer["predictive_entropy"], 0.8)
    print(f"To answer 80 % of rows like these, refuse those whose predictive_entropy is above {threshold:.2f} nats.")


if __name__ == "__main__":
    main()
