"""A segmentation image by image: intersection over union, and a few maps to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from thinned.models.card import OutputSpec
from thinned.models.evaluation.predictive import Array
from thinned.models.evaluation.ranking import rank_correlation_drawn
from thinned.models.evaluation.resampling import Resampling
from thinned.models.evaluation.rows import ClassRows

__all__ = ["ImageMap", "ScoredImage", "image_drawn", "image_scores", "maps_of", "scored_images"]

MAPS = 4
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class ScoredImage:
    """Scores of one image: `entropy` and `mutual_information` are means over its pixels, in nats."""

    row: int
    iou: float
    accuracy: float
    entropy: float
    mutual_information: float


@dataclass(frozen=True)
class ImageMap:
    """One image to look at: classes (H, W) as they are and as answered, and the predictive entropy (H, W) in nats.

    `picture` is the input, (H', W', 1 or 3) from 0 to 1; None where no input is a picture.
    """

    scored: ScoredImage
    target: npt.NDArray[np.int64]
    answer: npt.NDArray[np.int64]
    entropy: Array
    picture: Array | None
    labels: tuple[str, ...]


def intersection_over_union(answers: npt.NDArray[Any], targets: npt.NDArray[Any], classes: int) -> Array:
    """IoU of each image, the mean over the classes that its target or its answer has; classes (B, P) give (B,)."""
    offset = classes * np.arange(len(targets))[:, np.newaxis]

    def counts(which: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        return np.bincount(which.ravel(), minlength=classes * len(targets)).reshape(-1, classes)

    both = counts((targets + offset)[answers == targets])
    either = counts(targets + offset) + counts(answers + offset) - both
    present = either > 0
    shares = np.divide(both, either, out=np.zeros(both.shape), where=present)
    found: Array = shares.sum(axis=1) / present.sum(axis=1)
    return found


def scored_images(rows: ClassRows, labels: npt.NDArray[np.int64], count: int) -> list[ScoredImage]:
    """Each image of rows (B * P, ...), P pixels each."""
    answers, targets = rows.probs.argmax(axis=1).reshape(count, -1), labels.reshape(count, -1)
    iou = intersection_over_union(answers, targets, rows.probs.shape[1])
    accuracy = (answers == targets).mean(axis=1)
    entropy, information = (x.reshape(count, -1).mean(axis=1) for x in (rows.entropy, rows.information))
    columns = zip(iou.tolist(), accuracy.tolist(), entropy.tolist(), information.tolist(), strict=True)
    return [ScoredImage(row, *values) for row, values in enumerate(columns)]


def image_scores(images: Sequence[ScoredImage]) -> dict[str, float | None]:
    """Scores over images, each image with the same weight."""
    iou, entropy = (np.array([getattr(image, name) for image in images]) for name in ("iou", "entropy"))
    ranked = len(images) > 1 and np.ptp(iou) > 0 and np.ptp(entropy) > 0
    return {
        "iou": float(iou.mean()),
        "error_rank_correlation_by_image": float(stats.spearmanr(1 - iou, entropy).statistic) if ranked else None,
    }


def image_drawn(images: Sequence[ScoredImage], resampling: Resampling) -> dict[str, Array]:
    """`image_scores` of every draw of images, (1 + R,) each."""
    iou, entropy = (np.array([getattr(image, name) for image in images]) for name in ("iou", "entropy"))
    by_image = resampling.by_unit()
    return {
        "iou": by_image.mean(iou),
        "error_rank_correlation_by_image": rank_correlation_drawn(1 - iou, entropy, by_image),
    }


def maps_of(
    images: Sequence[ScoredImage],
    rows: ClassRows,
    labels: npt.NDArray[np.int64],
    spec: OutputSpec,
    shape: tuple[int, ...],
    inputs: Mapping[str, npt.NDArray[Any]],
) -> tuple[ImageMap, ...]:
    """Four images from the worst to the best by IoU.

    Args:
        images: All of them.
        rows: Their pixels, (B * H * W, ...).
        labels: (B * H * W,).
        spec: The output.
        shape: (H, W).
        inputs: The inputs, by name.
    """
    order = np.argsort([image.iou for image in images], kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, MAPS).round().astype(np.int64))]
    answers, targets, entropy = (x.reshape(-1, *shape) for x in (rows.probs.argmax(axis=1), labels, rows.entropy))
    names = spec.labels or tuple(f"class {i}" for i in range(rows.probs.shape[1]))
    return tuple(
        ImageMap(images[i], targets[i], answers[i], entropy[i], _picture(inputs, i), names) for i in chosen.tolist()
    )


def _picture(inputs: Mapping[str, npt.NDArray[Any]], row: int) -> Array | None:
    """The first input that can be looked at, its numbers spread over 0 to 1."""
    for x in inputs.values():
        if x.dtype.kind in "fiu" and (x.ndim == 3 or (x.ndim == 4 and x.shape[-1] in _CHANNELS)):
            picture = np.asarray(x[row], np.float64).reshape(*x.shape[1:3], -1)[..., :3]
            low, high = picture.min(), picture.max()
            spread: Array = (picture - low) / (high - low or 1.0)
            return spread
    return None
