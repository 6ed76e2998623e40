"""What a model says of some rows, drawn: the mean of each number with its spread, and on request every pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import ModelCard, OutputSpec
from thinned.models.evaluation.theme import LIGHT, figure, finish, png
from thinned.models.uncertainty import OutputAnswer
from thinned.service.cli.options import require_extra

__all__ = ["Drawing", "draw"]

Array = npt.NDArray[Any]
_MOST_PANELS = 12
_ACROSS = 4
_MOST_NUMBERS = 400
_MOST_DOTS = 200
_MOST_NAMES = 24
_LONGEST_NAME = 12
_LEVEL_NAME = 3


@dataclass(frozen=True)
class Drawing:
    """A drawing that a notebook shows.

    Attributes:
        figure: The `matplotlib.figure.Figure`, to be changed at will.
    """

    figure: Any

    def save(self, path: str | Path) -> None:
        """Write it to a file, in the format that its ending names."""
        self.figure.savefig(path)

    def _repr_png_(self) -> bytes:
        return png(self.figure, dpi=110)


@dataclass(frozen=True)
class _Panel:
    """Numbers beside each other: their names, means and deviations, the ends of an interval, and their passes."""

    output: str
    title: str
    names: list[str]
    mean: Array
    spread: Array | None
    ends: tuple[Array, Array] | None
    passes: Array | None
    x: str
    y: str


def draw(
    told: Mapping[str, OutputAnswer | Array], card: ModelCard, *, index: Any, passes: Mapping[str, Array] | None
) -> Drawing:
    """Draw what a model says of some rows.

    Args:
        told: By output, what is said of it over passes, or its deterministic answer, (B, *output_shape).
        card: The model's.
        index: The labels of the rows; None for their numbers.
        passes: By output, (S, B, *output_shape): each is a faint dot. None for none.

    Raises:
        UsageError: matplotlib is not installed.
    """
    require_extra("notebook", "matplotlib")
    panels = [
        panel
        for spec in card.outputs
        for panel in _panels(told[spec.name], spec, index, None if passes is None else passes[spec.name])
    ]
    if len(card.outputs) > 1:
        panels = [replace(panel, title=f"{panel.output}, {panel.title}".rstrip(", ")) for panel in panels]
    across = min(_ACROSS, len(panels))
    down = -(-len(panels) // across)
    wide = 7.0 if across == 1 else 3.1 * across
    drawn, axes = figure(down, across, (wide, 2.6 * down + 0.4))
    for number, (ax, panel) in enumerate(zip(axes, panels, strict=False)):
        _paint(ax, panel, told=number == 0, most_names=_MOST_NAMES if len(panels) == 1 else _MOST_NAMES // 2)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    return Drawing(drawn)


def _panels(told: OutputAnswer | Array, spec: OutputSpec, index: Any, passes: Array | None) -> Iterator[_Panel]:
    """One panel for all rows where each is one number; else one for each of the first rows."""
    mean, spread, ends = _numbers(told)
    dots = None if passes is None else passes[:_MOST_DOTS]
    labels = [str(label) for label in (range(len(mean)) if index is None else index)]
    if mean[0].size == 1:
        title = f"the first {_MOST_NUMBERS} of {len(mean)} rows" if len(mean) > _MOST_NUMBERS else ""
        yield _panel(spec.name, title, labels, (mean, spread, ends, dots), "row", spec.name)
        return
    for i, label in enumerate(labels[:_MOST_PANELS]):
        names = list(spec.labels) if spec.labels and mean[i].size == len(spec.labels) else []
        row = (
            mean[i],
            None if spread is None else spread[i],
            None if ends is None else (ends[0][i], ends[1][i]),
            None if dots is None else dots[:, i],
        )
        x = "class" if spec.task in ("classification", "multilabel") and mean.ndim == 2 else "number of the row"
        y = "probability" if spec.scale == "probabilities" else spec.name
        yield _panel(spec.name, f"row {label}", names or list(map(str, range(mean[i].size))), row, x, y)


def _panel(
    output: str,
    title: str,
    names: list[str],
    told: tuple[Array, Array | None, tuple[Array, Array] | None, Array | None],
    x: str,
    y: str,
) -> _Panel:
    """The first numbers of each, flat."""
    mean, spread, ends, dots = told
    return _Panel(
        output,
        title,
        names[:_MOST_NUMBERS],
        mean.ravel()[:_MOST_NUMBERS],
        None if spread is None else spread.ravel()[:_MOST_NUMBERS],
        None if ends is None else (ends[0].ravel()[:_MOST_NUMBERS], ends[1].ravel()[:_MOST_NUMBERS]),
        None if dots is None else dots.reshape(len(dots), -1)[:, :_MOST_NUMBERS],
        x,
        y,
    )


def _numbers(told: OutputAnswer | Array) -> tuple[Array, Array | None, tuple[Array, Array] | None]:
    """Mean, (B, ...), deviation between passes, and the ends of an interval of the same shape."""
    if not isinstance(told, OutputAnswer):
        return told, None, None
    ends = told.interval
    return told.mean, np.sqrt(told.variance), ends if ends and ends[0].shape == told.mean.shape else None


def _paint(ax: Any, panel: _Panel, *, told: bool, most_names: int) -> None:
    """Draw one panel; its legend stands where it is to be `told`."""
    at = np.arange(len(panel.mean))
    first, second = LIGHT.colours[:2]
    if panel.passes is not None:
        beside = np.linspace(-0.18, 0.18, len(panel.passes))[:, None] if len(panel.passes) > 1 else 0.0
        places = np.broadcast_to(at + beside, panel.passes.shape)
        label = "a pass" if told else None
        ax.plot(places.ravel(), panel.passes.ravel(), ".", color=LIGHT.muted, markersize=3, alpha=0.3, label=label)
    if panel.ends is not None:
        ax.vlines(at, *panel.ends, color=second, linewidth=1.2, label="interval" if told else None)
    if panel.spread is not None:
        label = "mean ± deviation between passes" if told else None
        ax.errorbar(at, panel.mean, panel.spread, fmt="o", color=first, markersize=4, linewidth=2, label=label)
    else:
        ax.plot(at, panel.mean, "o", color=first, markersize=4)
    if panel.y == "probability":
        ax.set_ylim(-0.05, 1.05)
    each = max(1, -(-len(panel.names) // most_names))
    shown = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in panel.names[::each]]
    ax.set_xticks(at[::each], shown, rotation=90 if any(len(name) > _LEVEL_NAME for name in shown) else 0)
    ax.set_title(panel.title, fontsize=9, color=LIGHT.text, loc="left")
    finish(ax, panel.x, panel.y, LIGHT)
