"""Drawings of an evaluation, as PNG: reliability, coverage, risk, scores against passes, images and their maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from thinned.models.evaluation.maps import draw_by_image, draw_map
from thinned.models.evaluation.meanings import meaning_of
from thinned.models.evaluation.report import Evaluation, Series
from thinned.models.evaluation.theme import DARK, LIGHT, Theme, figure, finish, png

__all__ = ["Drawing", "drawings"]

_SCORES = {
    "classification": ("nll", "brier", "ece", "accuracy", "iou", "auroc_error_entropy", "set_coverage_0.9"),
    "multilabel": ("nll", "brier", "ece", "accuracy", "auroc_error_entropy", "auroc_error_mutual_information"),
    "quantile": ("pinball", "mae", "quantile_coverage", "quantile_width"),
    "regression": ("rmse", "log_likelihood", "crps", "coverage_0.9", "width_0.9", "error_rank_correlation"),
}
_SERVED = {
    "classification": ("set_size_0.9",),
    "multilabel": ("set_coverage_0.9", "set_size_0.9"),
    "quantile": ("conformal_coverage_0.9", "conformal_width_0.9"),
    "regression": ("conformal_coverage_0.9", "conformal_width_0.9"),
}
_WITH_SETS = ("classification", "multilabel")
_SIZE = (4.4, 3.3)
_TICK_GAP = 0.075
"""Least distance of two labels on an axis of passes, as a share of its length."""


@dataclass(frozen=True)
class Drawing:
    """A drawing for a light page and for a dark one, PNG both."""

    name: str
    caption: str
    light: bytes
    dark: bytes


def drawings(found: Evaluation) -> Iterator[Drawing]:
    """Each drawing that this evaluation has."""
    for name, caption, paint in (*_curves(found), *_against_passes(found)):
        yield _drawing(name, caption, paint, found)
    if found.images:
        caption = "Each image once: whether maps with more entropy are worse"
        yield _drawing("images", caption, draw_by_image, found)
    for shown in found.maps:
        image = shown.scored
        caption = (
            f"Image {image.row}: IoU {image.iou:.3f}, accuracy {image.accuracy:.3f}, mean entropy {image.entropy:.3f} "
            "nats"
        )
        pngs = [png(draw_map(shown, theme)) for theme in (LIGHT, DARK)]
        yield Drawing(f"map_{image.row}", caption, *pngs)


Paint = Callable[[Any, Evaluation, Theme], None]


def _drawing(name: str, caption: str, paint: Paint, found: Evaluation) -> Drawing:
    pngs = []
    for theme in (LIGHT, DARK):
        drawn, axes = figure(1, 1, _SIZE, theme)
        paint(axes[0], found, theme)
        pngs.append(png(drawn))
    return Drawing(name, caption, *pngs)


def _curves(found: Evaluation) -> Iterator[tuple[str, str, Paint]]:
    there = {key for series in found.series for key in series.curves}
    if "reliability" in there:
        caption = "Accuracy in bins of confidence: on the diagonal if probabilities mean what they say"
        yield "reliability", caption, _reliability
    if "coverage" in there:
        what = _coverage_of(found)
        caption = f"How often {what} hold the truth: on the diagonal, or a little above, if they hold what is stated"
        yield "coverage", caption, _coverage
    sizes = {key for series in found.series for key in series.curves.get("coverage", ())} & {"width", "size"}
    for size in sorted(sizes):
        what = "classes are in the sets" if size == "size" else "wide the intervals are"
        yield f"coverage_{size}", f"How {'many ' if size == 'size' else ''}{what} that are served", _size
    if any(key.startswith("risk_coverage") for key in there):
        yield "risk_coverage", "What is left wrong if the least sure rows are put aside", _risk


def _coverage_of(found: Evaluation) -> str:
    served = any(
        "width" in s.curves.get("coverage", ()) or "size" in s.curves.get("coverage", ()) for s in found.series
    )
    if not served:
        return "normal intervals (which are not served)"
    return "served sets" if found.task in _WITH_SETS else "served intervals"


def _named(found: Evaluation, curve: str, theme: Theme) -> Iterator[tuple[str, str, Any]]:
    """Colour, label and points of every series that has the curve."""
    for colour, series in zip(theme.colours, found.series, strict=False):
        if curve in series.curves:
            yield colour, _label(series, found), series.curves[curve]


def _label(series: Series, found: Evaluation) -> str:
    return _name(series) if series.is_deterministic else f"{_name(series)}, N = {found.curves_at}"


def _name(series: Series) -> str:
    if series.is_deterministic:
        return "calibrated plain answer" if series.is_calibrated else "plain answer"
    return "calibrated" if series.is_calibrated else "mean over passes"


def _reliability(ax: Any, found: Evaluation, theme: Theme) -> None:
    ax.plot([0, 1], [0, 1], color=theme.muted, linewidth=1, linestyle="--")
    for colour, label, bins in _named(found, "reliability", theme):
        x, y = [b["confidence"] for b in bins], [b["accuracy"] for b in bins]
        ax.plot(x, y, color=colour, label=label, linewidth=1.4)
        largest = max(b["rows"] for b in bins)
        ax.scatter(x, y, s=[8 + 60 * b["rows"] / largest for b in bins], color=colour)
    finish(ax, "confidence (area of a dot: answers in its bin)", "accuracy", theme)


def _coverage(ax: Any, found: Evaluation, theme: Theme) -> None:
    ax.plot([0, 1], [0, 1], color=theme.muted, linewidth=1, linestyle="--")
    for colour, label, curve in _named(found, "coverage", theme):
        ax.plot(curve["stated"], curve["measured"], color=colour, label=label, marker="o", markersize=3, linewidth=1.4)
    finish(ax, "stated coverage", f"measured coverage of {_coverage_of(found).partition(' (')[0]}", theme)


def _size(ax: Any, found: Evaluation, theme: Theme) -> None:
    sets = found.task in _WITH_SETS
    for colour, label, curve in _named(found, "coverage", theme):
        y = curve.get("size" if sets else "width")
        if y is not None:
            ax.plot(curve["stated"], y, color=colour, label=label, marker="o", markersize=3, linewidth=1.4)
    finish(ax, "stated coverage", "mean classes in a set" if sets else "mean width of an interval", theme)
    ax.set_ylim(bottom=0)


def _risk(ax: Any, found: Evaluation, theme: Theme) -> None:
    regression = found.task in ("regression", "gaussian")
    for what, style in (("entropy", "-"), ("mutual_information", ":"), ("deviation", "-")):
        for colour, label, curve in _named(found, f"risk_coverage_{what}", theme):
            named = label if regression else f"{label}, by {what.replace('_', ' ')}"
            ax.plot(curve["coverage"], curve["risk"], style, color=colour, label=named, linewidth=1.4)
    finish(
        ax, "share of answers that are given, surest first", "mean squared error" if regression else "error rate", theme
    )
    ax.set_ylim(bottom=0)


def _against_passes(found: Evaluation) -> Iterator[tuple[str, str, Paint]]:
    if not any(len(series.n_samples) > 1 for series in found.series):
        return
    task = "regression" if found.task == "gaussian" else found.task
    for name in (*_SCORES[task], *_SERVED.get(task, ())):
        if any(_points(series, name)[0] for series in found.series if not series.is_deterministic):
            meaning = meaning_of(name)
            caption = f"{meaning.words[0].upper()}{meaning.words[1:]} by number of passes: {meaning.better}"
            yield f"passes_{name}", caption, _score(name)


def _score(name: str) -> Paint:
    def paint(ax: Any, found: Evaluation, theme: Theme) -> None:
        counts: set[int] = set()
        for colour, series in zip(theme.colours, found.series, strict=False):
            x, y, low, high = _points(series, name)
            if series.is_deterministic and y:
                ax.axhline(y[0], color=colour, linewidth=1.2, linestyle="--", label=_name(series))
            elif y:
                ax.plot(x, y, color=colour, marker="o", markersize=3, linewidth=1.4, label=_name(series))
                ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
                counts |= set(x)
        stated = name.rpartition("_")[2] if "coverage_0" in name else None
        if stated is not None:
            ax.axhline(float(stated), color=theme.muted, linewidth=1, linestyle=":", label="stated")
        _ticks(ax, sorted(counts), found.calibrated_with, theme)
        note = "" if found.calibrated_with is None else f" (calibrated with {found.calibrated_with})"
        finish(ax, f"passes{note}", meaning_of(name).words, theme)

    return paint


def _ticks(ax: Any, counts: Sequence[int], marked: int | None, theme: Theme) -> None:
    """Tick the numbers of passes on a logarithmic axis, those that have room; the marked one goes last."""
    from math import log

    from matplotlib.ticker import FixedLocator, NullLocator

    ax.set_xscale("log")
    length = log(counts[-1] / counts[0]) or 1.0
    kept: list[int] = []
    for count in sorted(counts, key=lambda n: (n == marked, n)):
        if all(abs(log(count / other)) / length >= _TICK_GAP for other in kept):
            kept.append(count)
    ax.xaxis.set_major_locator(FixedLocator(kept))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    if marked in counts:
        ax.axvline(marked, color=theme.muted, linewidth=0.8, linestyle=":")


def _points(series: Series, name: str) -> tuple[list[int], list[float], list[float], list[float]]:
    """Numbers of passes, the score, and the ends of its intervals."""
    x, y, low, high = list[int](), list[float](), list[float](), list[float]()
    for count, scores, intervals in zip(series.n_samples, series.scores, series.intervals, strict=True):
        value, ends = scores.get(name), intervals.get(name)
        if value is not None:
            x.append(count)
            y.append(value)
            low.append(value if ends is None else ends[0])
            high.append(value if ends is None else ends[1])
    return x, y, low, high
