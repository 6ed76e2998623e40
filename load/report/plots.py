"""The plots of a report: names, titles and captions, and rendering as PNG and SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thinned.loadtest.report import drawings
from thinned.loadtest.sweep.results_document import Results

__all__ = ["PLOTS", "Plot", "render"]

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
    """A plot of the report.

    Args:
        name: Name of its files, without a suffix.
        title: Its heading.
        caption: How to read it.
        drawing: Draws it on axes; returns False, and draws nothing, if the results hold no data for it.
    """

    def __init__(self, name: str, title: str, caption: str, drawing: Callable[[Axes, Results], bool]) -> None:
        self.name = name
        self.title = title
        self.caption = caption
        self._drawing = drawing

    def figure(self, results: Results) -> Figure | None:
        """Draw the figure; None if the results hold no data for it."""
        with rc_context(_STYLE):
            figure = Figure(figsize=_SIZE, layout="constrained")
            axes = figure.add_subplot()
            return figure if self._drawing(axes, results) else None


def render(plot: Plot, results: Results) -> tuple[bytes, str] | None:
    """Render a plot as PNG and SVG; None if the results hold no data for it."""
    figure = plot.figure(results)
    if figure is None:
        return None
    png, svg = io.BytesIO(), io.StringIO()
    with rc_context(_STYLE):
        figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    # The document type and the metadata hold URLs; a self-contained page is to have none.
    text = re.sub(r"<!DOCTYPE[^>]*>\s*|<metadata>.*?</metadata>\s*", "", svg.getvalue(), flags=re.DOTALL)
    return png.getvalue(), text


PLOTS = (
    Plot(
        "frontier",
        "Latency and precision",
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
        "Precision and sample count",
        "Root mean square error against a long reference, on the rows named below; bars are 95 % intervals over seeds.",
        drawings.draw_error,
    ),
    Plot(
        "throughput",
        "Throughput",
        "Clients that send the next request when they have an answer; bars are 95 % intervals over repeats.",
        drawings.draw_throughput,
    ),
    Plot(
        "tail",
        "Distribution of latency",
        "Every percentile of latency; under open load latency counts from when a request was due.",
        drawings.draw_tail,
    ),
    Plot(
        "parts",
        "Parts of the latency",
        "Times that the service states in its Server-Timing header, and the rest of the latency seen by the client.",
        drawings.draw_latency_parts,
    ),
)
