"""Which rows to label next? Passes that rows have in common tell which labels would say the same twice.

The pool holds four shots of each of 90 digits, which hang askew. BALD scores each row by itself (its mutual
information), and picks several shots of one digit: the second label adds little. BatchBALD picks the rows whose labels
together have the largest mutual information with the network. For that a pass must be one thinned network that all rows
see, as `sample` gives it; both columns of nats are of passes of another seed than rows are chosen by.

    thinned train digits
    python examples/active_learning.py

References:
    Kirsch, van Amersfoort & Gal 2019, BatchBALD, https://arxiv.org/abs/1906.08158
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import rotate

import thinned
from thinned.models.examples import digits

DIGITS, SHOTS, NOISE = 90, 4, 0.5
BATCH = 4
CANDIDATES = 60
PASSES = 200
SEED = 1


def entropy(probs: np.ndarray, axis: int) -> np.ndarray:
    """In nats, with 0 ln 0 = 0."""
    return -(probs * np.log(np.maximum(probs, 1e-12))).sum(axis=axis)


def information(passes: np.ndarray) -> np.ndarray:
    """Mutual information of each row's label and the network, (B,), of passes (S, B, C)."""
    return entropy(passes.mean(axis=0), -1) - entropy(passes, -1).mean(axis=0)


def together(passes: np.ndarray, rows: list[int]) -> np.ndarray:
    """In each pass the probability of every way to label these rows, (S, C ** rows): given a network they are apart."""
    joint = np.ones((len(passes), 1))
    for row in rows:
        joint = (joint[:, :, None] * passes[:, None, row]).reshape(len(passes), -1)
    return joint


def joint_information(passes: np.ndarray, rows: list[int]) -> float:
    """Mutual information of the labels of these rows, taken together, and the network."""
    conditional = entropy(passes[:, rows], -1).sum(axis=1).mean()
    return float(entropy(together(passes, rows).mean(axis=0), 0) - conditional)


def batch_bald(passes: np.ndarray, candidates: np.ndarray, size: int) -> list[int]:
    """Rows taken one by one, each the one that adds most to the joint information of those before it."""
    chosen: list[int] = []
    for _ in range(size):
        before = together(passes, chosen)
        # Of every candidate the mean over passes of each way to label it and the rows before it.
        after = np.einsum("sk,sbc->bkc", before, passes[:, candidates]) / len(passes)
        gain = entropy(after.reshape(len(candidates), -1), 1) - entropy(passes[:, candidates], -1).mean(axis=0)
        gain[np.isin(candidates, chosen)] = -np.inf
        chosen.append(int(candidates[gain.argmax()]))
    return chosen


def main() -> None:
    """Print what each way chooses, and how much its labels together would tell."""
    model = thinned.load("digits")
    draw = np.random.default_rng(SEED)
    originals = rotate(digits.data().x_test[:DIGITS], 35, axes=(2, 1), reshape=False, order=1)
    shots = np.repeat(originals, SHOTS, axis=0)
    pool = np.clip(shots + draw.normal(0, NOISE, shots.shape), 0, 16)
    passes = model.sample(pool, n_samples=PASSES, seed=SEED).astype(float)
    others = model.sample(pool, n_samples=1000, seed=SEED + 1).astype(float)
    score = information(passes)
    best = np.argsort(-score)
    chosen = {
        "at random": draw.choice(len(pool), BATCH, replace=False).tolist(),
        "BALD": best[:BATCH].tolist(),
        "BatchBALD": batch_bald(passes, best[:CANDIDATES], BATCH),
    }
    print(f"{len(pool)} images, {SHOTS} shots of each of {DIGITS} digits; which {BATCH} to label next?")
    print(f"{'chosen':>10}  {'rows':>20}  {'digits':>6}  {'each alone (nats)':>17}  {'together (nats)':>15}")
    for name, rows in chosen.items():
        different = len({row // SHOTS for row in rows})
        alone, joint = information(others)[rows].sum(), joint_information(others, rows)
        print(f"{name:>10}  {', '.join(map(str, rows)):>20}  {different:6}  {alone:17.2f}  {joint:15.2f}")
    print("Alone counts twice what two labels both tell; together does not.")


if __name__ == "__main__":
    main()
