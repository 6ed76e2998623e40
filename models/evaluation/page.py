"""An evaluation as one HTML page that needs nothing beside it: tables, and drawings inside."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

from thinned.models.evaluation.report import Evaluation, Series

__all__ = ["page"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 66rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
figure { margin: 1.5rem 0 } img { max-width: 100% } figcaption { color: #555; font-size: 13px }
.note { color: #8a4b00 } .wide { overflow-x: auto }
"""


def page(found: Evaluation, drawings: Iterable[tuple[str, str, bytes]]) -> str:
    """Write the page.

    Args:
        found: The evaluation.
        drawings: Name, caption and PNG of each drawing.
    """
    title = f"{found.model}: output {found.output}, {found.rows} rows"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>Version {html.escape(found.version)}, task {found.task}. Passes are stratified, seed {found.seed}; the "
        "first 10 of 100 are the 10.</p>",
        *(f'<p class="note">{html.escape(note)}</p>' for note in found.notes),
        "<h2>Scores</h2>",
        f'<div class="wide">{_table(found.series)}</div>',
        *(_figure(name, caption, png) for name, caption, png in drawings),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _table(series: Sequence[Series]) -> str:
    columns = [(s, i) for s in series for i in range(len(s.n_samples))]
    names = dict.fromkeys(name for s, i in columns for name in s.scores[i])
    head = "".join(f"<th>{html.escape(_head(s, i))}</th>" for s, i in columns)
    rows = "".join(
        f"<tr><td>{html.escape(name.replace('_', ' '))}</td>"
        + "".join(f"<td>{_number(s.scores[i].get(name))}</td>" for s, i in columns)
        + "</tr>"
        for name in names
    )
    return f"<table><tr><th>score</th>{head}</tr>{rows}</table>"


def _head(series: Series, place: int) -> str:
    count = series.n_samples[place]
    return series.name if count == 0 else f"{series.name} N = {count}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _figure(name: str, caption: str, png: bytes) -> str:
    data = base64.b64encode(png).decode("ascii")
    text = html.escape(caption)
    return f'<figure><img alt="{html.escape(name)}: {text}" src="data:image/png;base64,{data}">' + (
        f"<figcaption>{text}</figcaption></figure>"
    )
