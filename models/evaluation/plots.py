"""Drawings of an evaluation, as PNG: reliability or coverage, risk against coverage, scores against passes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from thinned.models.evaluation.report import Evaluation, Series

__all__ = ["COLOURS", "drawings", "figure", "png"]

COLOURS = ("#1b5e9b", "#c8501e", "#2a7f4f", "#7a4a9e", "#8a6d1f")
_GRID = "#d9d9d9"
_SCORES = {
    "classification": ("nll", "brier", "ece", "accuracy", "auroc_error_entropy", "auroc_error_mutual_information"),
    "multilabel": ("nll", "brier", "ece", "accuracy", "auroc_error_entropy", "auroc_error_mutual_information"),
    "regression": ("rmse", "log_likelihood", "crps", "coverage_0.9", "width_0.9", "error_rank_correlation"),
    "gaussian": ("rmse", "log_likelihood", "crps", "coverage_0.9", "width_0.9", "error_rank_correlation"),
}


def drawings(found: Evaluation) -> Iterator[tuple[str, str, bytes]]:
    """Name, what it shows, and PNG of each drawing that this evaluation has."""
    curves: Mapping[str, tuple[str, Callable[[Any, Evaluation], None]]] = {
        "reliability": (
            "Accuracy in bins of confidence: on the diagonal if probabilities mean what they say",
            _reliability,
        ),
        "coverage": (
            "How often intervals hold the target: on the diagonal if they hold it as often as stated",
            _coverage,
        ),
        "risk_coverage": ("What is left wrong if the least sure rows are put aside", _risk),
    }
    for name, (title, paint) in curves.items():
        if any(key.startswith(name) for series in found.series for key in series.curves):
            drawn, axes = figure(1, 1, (6.0, 4.2))
            paint(axes[0], found)
            yield name, title, png(drawn)
    if any(len(series.n_samples) > 1 for series in found.series):
        yield "scores", "Scores against the number of passes; lines across are the deterministic answer", _scores(found)


def figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """A figure of plain axes, and these in reading order. No global state of matplotlib is touched."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=size, layout="constrained")
    axes = list(drawn.subplots(rows, columns, squeeze=False).ravel())
    for ax in axes:
        ax.grid(color=_GRID, linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    return drawn, axes


def png(drawn: Any, dpi: int = 110) -> bytes:
    """The figure as PNG, without the time of its making, so that the same numbers give the same file."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def _named(found: Evaluation, curve: str) -> Iterator[tuple[str, str, Any]]:
    """Colour, label and points of every series that has the curve."""
    for colour, series in zip(COLOURS, found.series, strict=False):
        if curve in series.curves:
            yield colour, _label(series), series.curves[curve]


def _label(series: Series) -> str:
    return series.name if series.n_samples == (0,) else f"{series.name}, N = {series.n_samples[-1]}"


def _reliability(ax: Any, found: Evaluation) -> None:
    ax.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--")
    for colour, label, bins in _named(found, "reliability"):
        x, y = [b["confidence"] for b in bins], [b["accuracy"] for b in bins]
        ax.plot(x, y, color=colour, label=label, linewidth=1.4)
        largest = max(b["rows"] for b in bins)
        ax.scatter(x, y, s=[8 + 60 * b["rows"] / largest for b in bins], color=colour)
    _finish(ax, "confidence (area of a dot: rows in its bin)", "accuracy")


def _coverage(ax: Any, found: Evaluation) -> None:
    ax.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--")
    for colour, label, curve in _named(found, "coverage"):
        ax.plot(curve["stated"], curve["measured"], color=colour, label=label, marker="o", markersize=3, linewidth=1.4)
    _finish(ax, "stated coverage of central intervals", "measured coverage")


def _risk(ax: Any, found: Evaluation) -> None:
    regression = found.task in ("regression", "gaussian")
    for what, style in (("entropy", "-"), ("mutual_information", ":"), ("deviation", "-")):
        for colour, label, curve in _named(found, f"risk_coverage_{what}"):
            named = f"{label}, by {what.replace('_', ' ')}"
            ax.plot(curve["coverage"], curve["risk"], style, color=colour, label=named, linewidth=1.4)
    _finish(ax, "share of rows that are answered, surest first", "mean squared error" if regression else "error rate")
    ax.set_ylim(bottom=0)


def _finish(ax: Any, x: str, y: str) -> None:
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel(y, fontsize=9)
    ax.legend(fontsize=8, frameon=False)


def _scores(found: Evaluation) -> bytes:
    wanted = [name for name in _SCORES[found.task] if any(_points(series, name)[0] for series in found.series)]
    drawn, axes = figure(2, 3, (9.6, 5.4))
    for ax, name in zip(axes, wanted, strict=False):
        for colour, series in zip(COLOURS, found.series, strict=False):
            x, y = _points(series, name)
            if series.n_samples == (0,) and y:
                ax.axhline(y[0], color=colour, linewidth=1.2, linestyle="--", label=series.name)
            elif y:
                ax.plot(x, y, color=colour, marker="o", markersize=3, linewidth=1.4, label=series.name)
        ax.set_xscale("log")
        ax.set_title(name.replace("_", " "), fontsize=9)
        ax.set_xlabel("passes", fontsize=8)
    for ax in axes[len(wanted) :]:
        ax.set_visible(False)
    if wanted:
        axes[0].legend(fontsize=7, frameon=False)
    return png(drawn)


def _points(series: Series, name: str) -> tuple[list[int], list[float]]:
    pairs = [(n, s[name]) for n, s in zip(series.n_samples, series.scores, strict=True) if s.get(name) is not None]
    values: Sequence[Any] = [value for _, value in pairs]
    return [n for n, _ in pairs], list(values)
