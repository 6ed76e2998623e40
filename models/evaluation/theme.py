"""How drawings look on a light page and on a dark one."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

__all__ = ["DARK", "LIGHT", "Theme", "figure", "finish", "png"]


@dataclass(frozen=True)
class Theme:
    """Colours: of lines, of text, of what is behind, of the page."""

    colours: tuple[str, ...]
    text: str
    muted: str
    grid: str
    page: str


LIGHT = Theme(("#1b5e9b", "#c8501e", "#2a7f4f", "#7a4a9e", "#8a6d1f"), "#222222", "#777777", "#d9d9d9", "#ffffff")
DARK = Theme(("#6db3f2", "#ff9566", "#66cc94", "#c79be8", "#d9bd66"), "#e4e4e4", "#999999", "#3a3d42", "#17191c")


def figure(rows: int, columns: int, size: tuple[float, float], theme: Theme = LIGHT) -> tuple[Any, list[Any]]:
    """A figure of plain axes, and these in reading order. No global state of matplotlib is touched."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=size, layout="constrained", facecolor=theme.page)
    axes = list(drawn.subplots(rows, columns, squeeze=False).ravel())
    for ax in axes:
        ax.set_facecolor(theme.page)
        ax.grid(color=theme.grid, linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(theme.muted)
        ax.tick_params(labelsize=8, colors=theme.text)
    return drawn, axes


def finish(ax: Any, x: str, y: str, theme: Theme) -> None:
    """Name both axes, and the lines where there are several."""
    ax.set_xlabel(x, fontsize=9, color=theme.text)
    ax.set_ylabel(y, fontsize=9, color=theme.text)
    if len(ax.get_legend_handles_labels()[1]) > 1:
        ax.legend(fontsize=7.5, facecolor=theme.page, edgecolor="none", framealpha=0.7, labelcolor=theme.text)


def png(drawn: Any, dpi: int = 160) -> bytes:
    """The figure as PNG, without the time of its making, so that the same numbers give the same file."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
