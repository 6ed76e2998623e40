"""What uncertainty is worth on digits that are turned, noisy, or of a kind that was never seen.

`python -m thinned.loadtest.studies.unsure --out DIR` takes `digits` from the store, trains a second network
without two digits, prints the figures and draws `digits-shift.png`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import OutputSpec
from thinned.models.evaluation import evaluate
from thinned.models.evaluation.plots import COLOURS, figure, png
from thinned.models.evaluation.predictive import classes_of, draw
from thinned.models.evaluation.rows import ClassRows
from thinned.models.examples import digits
from thinned.models.examples.training import fit

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["DEGREES", "NOISES", "Shifted", "noisy", "shifted", "turned", "unseen"]

Array = npt.NDArray[Any]
DEGREES = (0, 15, 30, 45, 60, 75, 90)
NOISES = (0, 1, 2, 3, 4, 6, 8)
UNSEEN = (8, 9)
PASSES = 100
SEED = 1
SPEC = OutputSpec(name="digit", shape=(10,), dtype="float32", task="classification", scale="probabilities")


@dataclass(frozen=True)
class Shifted:
    """Means over the test digits at one strength of a shift; entropies in nats."""

    strength: float
    accuracy: float
    entropy: float
    mutual_information: float


def turned(images: Array, degrees: float) -> Array:
    """Images turned about their middle, what comes in from outside being blank."""
    from scipy.ndimage import rotate

    found: Array = rotate(images, degrees, axes=(2, 1), reshape=False, order=1).astype(np.float32)
    return found


def noisy(images: Array, deviation: float) -> Array:
    """Images with normal noise on every pixel, which are from 0 to 16."""
    noise = np.random.default_rng(SEED).normal(0, deviation, images.shape)
    return np.clip(images + noise, 0, 16).astype(np.float32)


def shifted(stochastic: StochasticModel, images: Array, labels: Array, strength: float) -> Shifted:
    """Ask about images that were shifted so far."""
    passes = draw(
        stochastic, {stochastic.inputs[0].name: images}, stochastic.outputs[0].name, n_samples=PASSES, seed=SEED
    )
    rows = ClassRows.of(classes_of(passes, SPEC))
    right = float((rows.probs.argmax(axis=1) == labels).mean())
    return Shifted(strength, right, float(rows.entropy.mean()), float(rows.information.mean()))


def unseen(classes: Sequence[int] = UNSEEN, epochs: int = digits.EPOCHS) -> dict[str, float | None]:
    """Train without some digits; how well each uncertainty tells these from test digits of the other kinds.

    Returns:
        Areas under the ROC curve of the entropy of the plain answer, of the entropy over passes, and of the mutual
        information; and the accuracy on the kinds that were seen.
    """
    import keras

    from thinned.models.dropout import enable_mc_dropout

    keras.utils.set_random_seed(digits.SEED)
    split = digits.data()
    kinds = [kind for kind in range(10) if kind not in classes]
    number = {kind: i for i, kind in enumerate(kinds)}
    seen, known = np.isin(split.y_train, kinds), np.isin(split.y_test, kinds)
    model = digits.build(len(kinds))
    fit(
        model,
        split.x_train[seen],
        np.array([number[kind] for kind in split.y_train[seen].tolist()]),
        epochs=epochs,
        batch_size=64,
        learning_rate=2e-3,
        weight_decay=1e-3,
        loss="sparse_categorical_crossentropy",
        on_epoch=None,
    )
    stochastic = enable_mc_dropout(model)
    name = stochastic.inputs[0].name
    labels = np.array([number[kind] for kind in split.y_test[known].tolist()])
    found = evaluate(
        stochastic,
        SPEC.model_copy(update={"shape": (len(kinds),), "name": stochastic.outputs[0].name}),
        {name: split.x_test[known]},
        labels,
        counts=[PASSES],
        seed=SEED,
        strange={name: split.x_test[~known]},
    )
    plain, passes = found.series[0].scores[0], found.series[1].scores[0]
    return {
        "entropy of the plain answer": plain["auroc_strange_entropy"],
        "entropy over passes": passes["auroc_strange_entropy"],
        "mutual information": passes["auroc_strange_mutual_information"],
        "accuracy on seen kinds": passes["accuracy"],
    }


def drawing(turns: Sequence[Shifted], noises: Sequence[Shifted]) -> bytes:
    """Entropy, mutual information and errors against both shifts, as PNG."""
    drawn, axes = figure(1, 2, (8.4, 3.4))
    for ax, found, name in zip(
        axes, (turns, noises), ("turned by degrees", "noise, deviation of a pixel (0 to 16)"), strict=True
    ):
        x = [item.strength for item in found]
        for colour, label, values in (
            (COLOURS[0], "predictive entropy (nats)", [item.entropy for item in found]),
            (COLOURS[1], "of it mutual information (nats)", [item.mutual_information for item in found]),
            ("#888888", "error rate", [1 - item.accuracy for item in found]),
        ):
            ax.plot(x, values, color=colour, label=label, marker="o", markersize=3, linewidth=1.4)
        ax.set_xlabel(name, fontsize=9)
        ax.set_ylim(bottom=0)
    axes[0].legend(fontsize=8, frameon=False)
    return png(drawn)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures and write the drawing."""
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.studies.unsure", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(), help="where digits-shift.png goes")
    options = parser.parse_args(arguments)
    from thinned.models.compat.tensorflow import import_tensorflow

    import_tensorflow()
    from thinned.models.dropout import enable_mc_dropout
    from thinned.models.storage import model_store

    stochastic, split = enable_mc_dropout(model_store.load_keras(model_store.find(digits.NAME))), digits.data()
    turns = [shifted(stochastic, turned(split.x_test, d), split.y_test, d) for d in DEGREES]
    noises = [shifted(stochastic, noisy(split.x_test, s), split.y_test, s) for s in NOISES]
    for title, found in (("turned by degrees", turns), ("noise of deviation", noises)):
        print(f"{title:>20}  accuracy  entropy  mutual information")
        for item in found:
            print(f"{item.strength:20g}  {item.accuracy:8.3f}  {item.entropy:7.3f}  {item.mutual_information:18.3f}")
    print(f"Trained without {' and '.join(map(str, UNSEEN))}; area under the ROC curve for telling them:")
    for name, value in unseen().items():
        print(f"  {name}: {value:.4f}")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "digits-shift.png").write_bytes(drawing(turns, noises))


if __name__ == "__main__":
    main()
