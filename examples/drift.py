"""Has the camera changed? Whether today's digits have more entropy than those of the day that it was set up.

No labels are needed: of two sets of images the mean predictive entropies are compared, with an interval of their
difference (bootstrap over images) and the p-value of a permutation test. Clean images against clean ones show that
there is no alarm without a cause.

    thinned train digits
    python examples/drift.py
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import rotate
from scipy.stats import permutation_test

import thinned
from thinned.models.examples import digits

PASSES = 64
SEED = 1
REPEATS = 2000
ALARM = 0.01


def turned(images: np.ndarray) -> np.ndarray:
    """The images (B, 8, 8, 1) as a camera takes them that hangs askew by 25 degrees."""
    return np.clip(rotate(images, 25, axes=(2, 1), reshape=False, order=1), 0, 16)


def noisy(images: np.ndarray) -> np.ndarray:
    """The images in bad light: normal noise of 4 of 16 grey levels on each pixel."""
    return np.clip(images + np.random.default_rng(SEED).normal(0, 4, images.shape), 0, 16)


def difference(today: np.ndarray, before: np.ndarray, axis: int = -1) -> np.ndarray:
    """By how much the mean entropy has risen."""
    return today.mean(axis=axis) - before.mean(axis=axis)


def interval(today: np.ndarray, before: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Of the difference, by bootstrap over images."""
    draw = np.random.default_rng(SEED)
    again = [draw.choice(x, (REPEATS, len(x))).mean(axis=1) for x in (today, before)]
    low, high = np.quantile(again[0] - again[1], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def main() -> None:
    """Print a line for each kind of images: the rise of entropy, its interval, and whether it is an alarm."""
    model = thinned.load("digits")
    images = digits.data().x_test
    before, after = images[::2], images[1::2]

    def entropies(rows: np.ndarray) -> np.ndarray:
        return np.asarray(model.predict(rows, n_samples=PASSES, seed=SEED)["predictive_entropy"])

    reference = entropies(before)
    kinds: dict[str, Callable[[np.ndarray], np.ndarray]] = {"clean": lambda x: x, "noisy": noisy, "turned": turned}
    print(f"{len(before)} images of the day of the set-up: mean entropy {reference.mean():.3f} nats; {PASSES} passes")
    print(f"{'today':>7}  {'rise (nats)':>11}  {'95 % interval':>16}  {'p-value':>7}")
    for name, change in kinds.items():
        today = entropies(change(after))
        low, high = interval(today, reference)
        test = permutation_test(
            (today, reference), difference, alternative="greater", n_resamples=REPEATS, vectorized=True, rng=SEED
        )
        verdict = "entropy rose: look at the images" if test.pvalue < ALARM else "no rise shown"
        bounds = f"{low:.3f} to {high:.3f}"
        print(f"{name:>7}  {test.statistic:11.3f}  {bounds:>16}  {test.pvalue:7.4f}  {verdict}")


if __name__ == "__main__":
    main()
