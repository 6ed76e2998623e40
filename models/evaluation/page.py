"""An evaluation as one HTML page that needs nothing beside it: tables, definitions, and drawings inside."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator, Sequence

from thinned.models.evaluation.by_group import ByGroup, GroupScores
from thinned.models.evaluation.meanings import meaning_of
from thinned.models.evaluation.plots import Drawing
from thinned.models.evaluation.report import Evaluation, Series

__all__ = ["column_name", "page"]

_STYLE = """
:root { color-scheme: light dark; --text: #222; --page: #fff; --muted: #5b5b5b; --line: #ddd; --mark: #eef4fa;
  --note: #8a4b00 }
@media (prefers-color-scheme: dark) { :root { --text: #e4e4e4; --page: #17191c; --muted: #a5a9ae; --line: #3a3d42;
  --mark: #1f2a35; --note: #f0b070 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); max-width: 72rem;
  margin: 0 auto; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.4rem; line-height: 1.25 } h2 { font-size: 1.1rem; margin-top: 2rem }
dl.about { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; font-size: 13px; margin: 1rem 0 }
dl.about dt { color: var(--muted) } dl.about dd { margin: 0 }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums;
  overflow-wrap: normal }
th, td { padding: .3rem .45rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line) }
thead th { font-weight: 600; vertical-align: bottom }
tbody th { text-align: left; font-weight: 600; min-width: 13rem }
td span { white-space: nowrap } td small { color: var(--muted); display: block; font-size: 10.5px; white-space: nowrap }
.meaning { font-weight: 400; color: var(--muted); display: block; font-size: 11.5px; line-height: 1.35 }
.served { background: var(--mark) } .note { border-left: 3px solid var(--note); padding-left: .7rem }
.hint { color: var(--muted); font-size: 13px }
.drawings { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1.5rem }
figure { margin: 0 } img { width: 100%; height: auto; display: block }
figcaption { color: var(--muted); font-size: 13px }
@media (max-width: 60rem) {
  table, tbody, tr { display: block } thead { display: none }
  tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.2rem, 1fr)); border-bottom: 1px solid
    var(--line); padding: .5rem 0 }
  tbody th { grid-column: 1 / -1; border: 0; padding: .2rem .3rem }
  td { border: 0; text-align: left; padding: .2rem .3rem }
  td::before { content: attr(data-column); display: block; color: var(--muted); font-size: 11px; line-height: 1.2 }
}
"""


def page(found: Evaluation, drawings: Iterable[Drawing]) -> str:
    """Write the page.

    Args:
        found: The evaluation.
        drawings: Its drawings.
    """
    title = html.escape(found.title)
    drawn = list(drawings)
    maps = [drawing for drawing in drawn if drawing.name.startswith("map_")]
    body = "\n".join(
        [
            f"<h1>{title}</h1>",
            _about(found),
            *(f'<p class="note">{html.escape(note)}</p>' for note in found.notes),
            *_tables(found),
            f"<h2>Decisions</h2><p>{html.escape(found.policy.told)}</p>" if found.policy else "",
            f"<h2>Rows unlike known ones</h2><p>{html.escape(found.unlike.told)}</p>" if found.unlike else "",
            _by_group(found.by),
            "<h2>Drawings</h2>" if drawn else "",
            _figures([drawing for drawing in drawn if drawing not in maps]),
            "<h2>A few images, from the worst to the best by IoU</h2>" if maps else "",
            _figures(maps),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def column_name(series: Series, count: int, calibrated_with: int | None = None) -> str:
    """What stands above a column."""
    if count == 0:
        return "plain answer"
    return f"N = {count}, as calibrated" if count == calibrated_with and series.is_calibrated else f"N = {count}"


def _about(found: Evaluation) -> str:
    facts = {
        "model": f"{found.model}:{found.version}, task {found.task}" if found.version else f"task {found.task}",
        **found.about,
        "passes": f"stratified, seed {found.seed}; the first 10 of 100 are the 10" if found.curves_at else "none",
        "intervals": _intervals_of(found),
    }
    if found.curves_at is not None:
        facts["curves"] = f"of {found.curves_at} passes" + (
            ", the number that was calibrated" if found.calibrated_with is not None else ", the largest number"
        )
    lines = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in facts.items())
    return f'<dl class="about">{lines}</dl>'


def _intervals_of(found: Evaluation) -> str:
    if not found.replicates:
        return "there are too few rows to say how the scores vary"
    return (
        f"below each score, where it lies in 95 % of {found.replicates:,} draws of as many {found.unit}s with "
        "replacement (bootstrap, seeded); it says how much the score depends on these rows, not on the training"
    )


def _tables(found: Evaluation) -> Iterator[str]:
    calibrated = [series for series in found.series if series.is_calibrated]
    if calibrated:
        yield "<h2>Calibrated: what is served</h2>"
        yield (
            '<p class="hint">/predict_mc answers these of this version; with "coverage" it draws '
            f"{found.calibrated_with} passes unless told otherwise.</p>"
        )
        yield _table(calibrated, found.calibrated_with)
        yield "<h2>Without calibration</h2>"
    else:
        yield "<h2>Scores</h2>"
    yield _table([series for series in found.series if not series.is_calibrated], found.calibrated_with)


def _table(series: Sequence[Series], calibrated_with: int | None) -> str:
    columns = [(s, i, column_name(s, count, calibrated_with)) for s in series for i, count in enumerate(s.n_samples)]
    names = dict.fromkeys(name for s, i, _ in columns for name in s.scores[i])
    head = "".join(f'<th scope="col"{_mark(name)}>{html.escape(name)}</th>' for _, _, name in columns)
    rows = "".join(
        f'<tr><th scope="row">{_meaning(name)}</th>'
        + "".join(_cell(s, i, name, head) for s, i, head in columns)
        + "</tr>"
        for name in names
    )
    return f'<table><thead><tr><th scope="col"></th>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _by_group(by: ByGroup | None) -> str:
    if by is None:
        return ""
    names = list(by.groups[0].scores)
    head = "".join(f'<th scope="col">{html.escape(word)}</th>' for word in ("rows", *map(_words, names)))
    rows = "".join(
        f'<tr{" class=served" if group.group == by.worst else ""}><th scope="row">{html.escape(group.group)}</th>'
        f'<td data-column="rows"><span>{group.rows:,}</span></td>'
        + "".join(_group_cell(group, name) for name in names)
        + "</tr>"
        for group in by.groups
    )
    return (
        f"<h2>By {html.escape(by.column)}</h2>"
        f'<p class="{"note" if by.worst_is_below else "hint"}">{html.escape(by.told)}</p>'
        f'<table><thead><tr><th scope="col"></th>{head}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _group_cell(group: GroupScores, name: str) -> str:
    low, high = group.intervals[name]
    told = f"<span>{group.scores[name]:.4g}</span><small>{low:.3g} to {high:.3g}</small>"
    return f'<td data-column="{html.escape(_words(name))}">{told}</td>'


def _words(name: str) -> str:
    return meaning_of(name).words


def _mark(column: str) -> str:
    return ' class="served"' if "calibrated" in column else ""


def _cell(series: Series, place: int, name: str, column: str) -> str:
    value, ends = series.scores[place].get(name), series.intervals[place].get(name)
    told = "–" if value is None else f"{value:.4g}"
    about = "" if ends is None or value is None else f"<small>{ends[0]:.3g} to {ends[1]:.3g}</small>"
    return f'<td data-column="{html.escape(column)}"{_mark(column)}><span>{told}</span>{about}</td>'


def _meaning(name: str) -> str:
    meaning = meaning_of(name)
    told = f"{meaning.definition}; {meaning.better}" if meaning.definition else ""
    return f'{html.escape(meaning.words)}<span class="meaning">{html.escape(told)}</span>'


def _figures(drawings: Sequence[Drawing]) -> str:
    return f'<div class="drawings">{"".join(map(_figure, drawings))}</div>' if drawings else ""


def _figure(drawing: Drawing) -> str:
    light, dark = (
        f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}" for png in (drawing.light, drawing.dark)
    )
    text = html.escape(drawing.caption)
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img alt="{text}" src="{light}"></picture><figcaption>{text}</figcaption></figure>'
    )
