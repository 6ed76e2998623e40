"""Measure the uncertainty of `digits` on out-of-distribution images: rotated, noisy, or of digits it never trained on.

`python -m thinned.loadtest.studies.ood_digits --out DIR` takes `digits` from the store, trains a second network without
two of the digits, prints the figures, and draws `digits-shift.png`. `ood_nearest` compares the scores that tell such
images from others.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thinned.loadtest.studies.ood_nearest import LEVEL, SCORES, Compared, compare
from thinned.models.card import OutputSpec
from thinned.models.evaluation import evaluate
from thinned.models.evaluation.predictive import classes_of
from thinned.models.evaluation.rows import ClassRows
from thinned.models.evaluation.theme import LIGHT, figure, png
from thinned.models.examples import digits

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["ShiftScores", "main", "noisy", "ood_scores", "plot_shifts", "rotated", "score_shift"]

Array = npt.NDArray[Any]
DEGREES = (0, 15, 30, 45, 60, 75, 90)
NOISES = (0, 1, 2, 3, 4, 6, 8)
LEFT_OUT = (8, 9)
PASSES = 100
SEED = 1
SPEC = OutputSpec(name="digit", shape=(10,), dtype="float32", task="classification", scale="probabilities")


@dataclass(frozen=True)
class ShiftScores:
    """Accuracy, predictive entropy and mutual information (nats), means over images shifted by `strength`."""

    strength: float
    accuracy: float
    entropy: float
    mutual_information: float


def rotated(images: Array, degrees: float) -> Array:
    """Images (B, 8, 8, 1) rotated about their centre; the corners that come in from outside are 0."""
    from scipy.ndimage import rotate

    found: Array = rotate(images, degrees, axes=(2, 1), reshape=False, order=1).astype(np.float32)
    return found


def noisy(images: Array, deviation: float) -> Array:
    """Images with normal noise of this standard deviation on every pixel, clipped to [0, 16]."""
    noise = np.random.default_rng(SEED).normal(0, deviation, images.shape)
    return np.clip(images + noise, 0, 16).astype(np.float32)


def score_shift(model: StochasticModel, images: Array, labels: Array, strength: float) -> ShiftScores:
    """Score the model on shifted images.

    Args:
        model: A classification of the digits.
        images: The images, after the shift, (B, 8, 8, 1).
        labels: Their digits, (B,).
        strength: Of the shift, as the result states it.
    """
    passes = model.sample({model.inputs[0].name: images}, n_samples=PASSES, seed=SEED)[model.outputs[0].name]
    rows = ClassRows.of(classes_of(passes, SPEC))
    accuracy = float((rows.probs.argmax(axis=1) == labels).mean())
    return ShiftScores(strength, accuracy, float(rows.entropy.mean()), float(rows.information.mean()))


def ood_scores(left_out: Sequence[int] = LEFT_OUT, epochs: int = digits.EPOCHS) -> dict[str, float | None]:
    """Train without some digits; measure how well each uncertainty detects them among the test images.

    Args:
        left_out: The digits left out of training.
        epochs: Epochs of training.

    Returns:
        Areas under the ROC curve of the entropy of the deterministic answer, of the entropy of the mean over passes,
        of the mutual information, and of the distance to the nearest rows; and the accuracy on the digits of the
        training.
    """
    from thinned.models.dropout import enable_mc_dropout

    split = digits.data()
    trained = [digit for digit in range(10) if digit not in left_out]
    class_of = {digit: i for i, digit in enumerate(trained)}
    in_train, in_test = np.isin(split.y_train, trained), np.isin(split.y_test, trained)
    keras_model = digits.trained(
        split.x_train[in_train],
        np.array([class_of[digit] for digit in split.y_train[in_train].tolist()]),
        classes=len(trained),
        epochs=epochs,
    )
    model = enable_mc_dropout(keras_model)
    name = model.inputs[0].name
    spec = SPEC.model_copy(update={"shape": (len(trained),), "name": model.outputs[0].name})
    found = evaluate(
        model,
        spec,
        {name: split.x_test[in_test]},
        np.array([class_of[digit] for digit in split.y_test[in_test].tolist()]),
        counts=[PASSES],
        seed=SEED,
        ood={name: split.x_test[~in_test]},
    )
    deterministic, passes = found.series[0].scores[0], found.series[1].scores[0]
    strange = {"left out": split.x_test[~in_test]}
    nearest = compare(model, spec, split.x_train[in_train], split.x_test[in_test], strange).areas["left out"]
    return {
        "entropy of the plain answer": deterministic["auroc_strange_entropy"],
        "entropy over passes": passes["auroc_strange_entropy"],
        "mutual information": passes["auroc_strange_mutual_information"],
        **dict(zip(SCORES[2:], nearest[2:], strict=True)),
        "accuracy on seen kinds": passes["accuracy"],
    }


def print_compared(found: Compared) -> None:
    """Print a line for each kind of strange rows."""
    print(f"Area under the ROC curve for telling them; of ood also the share with a p-value of at most {LEVEL:g}")
    print(f"{'':14s}{''.join(f'  {name:>24s}' for name in SCORES)}")
    for name, areas in found.areas.items():
        shares = ["", "", *(f" ({share:.2f})" for share in found.told[name])]
        cells = [f"{area:.3f}{share}" for area, share in zip(areas, shares, strict=True)]
        print(f"{name:14s}{''.join(f'  {cell:>24s}' for cell in cells)}")
    print(f"{'as they are':14s}{''.join(f'  {cell:>24s}' for cell in ['', '', *(f'({s:.2f})' for s in found.usual)])}")


def plot_shifts(rotations: Sequence[ShiftScores], noises: Sequence[ShiftScores]) -> bytes:
    """Plot entropy, mutual information and error rate against the strength of both shifts, as PNG."""
    drawn, axes = figure(1, 2, (8.4, 3.4))
    for ax, scores, label in zip(
        axes, (rotations, noises), ("turned by degrees", "noise, deviation of a pixel (0 to 16)"), strict=True
    ):
        x = [item.strength for item in scores]
        for colour, name, values in (
            (LIGHT.colours[0], "predictive entropy (nats)", [item.entropy for item in scores]),
            (LIGHT.colours[1], "of it mutual information (nats)", [item.mutual_information for item in scores]),
            ("#888888", "error rate", [1 - item.accuracy for item in scores]),
        ):
            ax.plot(x, values, color=colour, label=name, marker="o", markersize=3, linewidth=1.4)
        ax.set_xlabel(label, fontsize=9)
        ax.set_ylim(bottom=0)
    axes[0].legend(fontsize=8, frameon=False)
    return png(drawn, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures and write the plot.

    Args:
        arguments: Of the command line; None for those of this process.
    """
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.studies.ood_digits", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(), help="folder for digits-shift.png (default: this one)")
    options = parser.parse_args(arguments)
    from thinned.models.compat.tensorflow import import_tensorflow

    import_tensorflow()
    from thinned.models.loading import load

    model, split = load(digits.NAME), digits.data()
    rotations = [score_shift(model, rotated(split.x_test, d), split.y_test, d) for d in DEGREES]
    noises = [score_shift(model, noisy(split.x_test, s), split.y_test, s) for s in NOISES]
    for title, scores in (("turned by degrees", rotations), ("noise of deviation", noises)):
        print(f"{title:>20}  accuracy  entropy  mutual information")
        for item in scores:
            print(f"{item.strength:20g}  {item.accuracy:8.3f}  {item.entropy:7.3f}  {item.mutual_information:18.3f}")
    strange = {f"turned by {d}": rotated(split.x_test, d) for d in DEGREES[1:]}
    strange |= {f"noise of {s}": noisy(split.x_test, s) for s in NOISES[1:]}
    print_compared(compare(model, SPEC, split.x_train, split.x_test, strange))
    print(f"Trained without {' and '.join(map(str, LEFT_OUT))}; area under the ROC curve for telling them:")
    for name, value in ood_scores().items():
        print(f"  {name}: {value:.4f}")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "digits-shift.png").write_bytes(plot_shifts(rotations, noises))


if __name__ == "__main__":
    main()
