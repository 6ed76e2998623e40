"""Drawings of images: a few with their maps, and all of them by score and entropy."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np

from thinned.models.evaluation.images import ImageMap
from thinned.models.evaluation.report import Evaluation
from thinned.models.evaluation.theme import Theme, figure, finish

__all__ = ["draw_by_image", "draw_map"]

_NAMED_CLASSES = 10


def draw_map(shown: ImageMap, theme: Theme) -> Any:
    """The picture, what is right, what is answered and where the model is unsure, two by two."""
    from matplotlib import colormaps
    from matplotlib.patches import Patch

    drawn, axes = figure(2, 2, (4.4, 4.6), theme)
    for ax in axes:
        ax.grid(visible=False)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    classes = len(shown.labels)
    colours = colormaps["tab10" if classes <= _NAMED_CLASSES else "turbo"]
    shades = colours(np.arange(classes) if classes <= _NAMED_CLASSES else np.linspace(0, 1, classes))[:, :3]
    if shown.picture is None:
        axes[0].set_visible(False)
    else:
        axes[0].imshow(shown.picture if shown.picture.shape[-1] == 3 else shown.picture[..., 0], cmap="gray")
        _name(axes[0], "input", theme)
    for ax, name, which in ((axes[1], "target", shown.target), (axes[2], "answer", shown.answer)):
        ax.imshow(shades[which], interpolation="nearest")
        _name(ax, name, theme)
    unsure = axes[3].imshow(shown.entropy, vmin=0, vmax=log(classes), cmap="magma", interpolation="nearest")
    _name(axes[3], "entropy (nats)", theme)
    bar = drawn.colorbar(unsure, ax=axes[3], shrink=0.8)
    bar.ax.tick_params(labelsize=7, colors=theme.text)
    bar.outline.set_visible(False)
    if classes <= _NAMED_CLASSES:
        patches = [Patch(color=shade, label=label) for shade, label in zip(shades, shown.labels, strict=True)]
        named = {"ncols": min(classes, 3), "fontsize": 7.5, "frameon": False, "labelcolor": theme.text}
        drawn.legend(handles=patches, loc="outside lower center", **named)
    return drawn


def draw_by_image(ax: Any, found: Evaluation, theme: Theme) -> None:
    """IoU of each image by its mean entropy."""
    x, y = [image.entropy for image in found.images], [image.iou for image in found.images]
    ax.scatter(x, y, s=12, color=theme.colours[0], alpha=0.6, linewidths=0)
    finish(ax, "mean entropy of an image (nats)", "IoU", theme)


def _name(ax: Any, name: str, theme: Theme) -> None:
    ax.set_title(name, fontsize=8.5, color=theme.text)
