"""The plots of a report, drawn from its results as PNG and SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thinned.loadtest.report import drawings

__all__ = ["PLOTS", "Plot", "draw"]

Results = Mapping[str, Any]

_STYLE = {
    "font.size": 10,
    "axes.grid": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "thinned",
}
_SIZE = (7.0, 4.2)


class Plot:
    """A figure: its file's name, its title, what it shows in words, and what draws it on axes."""

    def __init__(self, name: str, title: str, caption: str, drawing: Callable[[Axes, Results], bool]) -> None:
        self.name = name
        self.title = title
        self.caption = caption
        self._drawing = drawing

    def figure(self, results: Results) -> Figure | None:
        """The figure; None where the results hold nothing to draw."""
        with rc_context(_STYLE):
            figure = Figure(figsize=_SIZE, layout="constrained")
            axes = figure.add_subplot()
            return figure if self._drawing(axes, results) else None


def draw(plot: Plot, results: Results) -> tuple[bytes, str] | None:
    """A plot as PNG and SVG; None where the results hold nothing to draw."""
    figure = plot.figure(results)
    if figure is None:
        return None
    png, svg = io.BytesIO(), io.StringIO()
    with rc_context(_STYLE):
        figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    # The document type and the empty metadata name addresses, which a page that stands alone has no use for.
    text = re.sub(r"<!DOCTYPE[^>]*>\s*|<metadata>.*?</metadata>\s*", "", svg.getvalue(), flags=re.DOTALL)
    return png.getvalue(), text


PLOTS = (
    Plot(
        "frontier",
        "What precision costs",
        "Each point is a sample count: further left is faster, further down is more precise.",
        drawings.draw_frontier,
    ),
    Plot(
        "latency",
        "Latency and sample count",
        "One client, closed load; bars are 95 % intervals over repeats, lines the fit to the medians.",
        drawings.draw_latency,
    ),
    Plot(
        "error",
        "What passes buy",
        "Root mean square error against a long reference, on the rows named below; bars are 95 % intervals over seeds.",
        drawings.draw_error,
    ),
    Plot(
        "throughput",
        "Throughput",
        "Clients that ask again as soon as they have an answer; bars are 95 % intervals over repeats.",
        drawings.draw_throughput,
    ),
    Plot(
        "tail",
        "The whole distribution",
        "Every percentile of latency; under open load it counts from the moment when a request was due.",
        drawings.draw_tail,
    ),
    Plot(
        "parts",
        "Where the time goes",
        "What the service says of its time (the Server-Timing header), and what is left of the client's.",
        drawings.draw_parts,
    ),
)
