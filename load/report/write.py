"""A report of a sweep: one page that stands alone, the same in Markdown, and the plots as files.

`python -m thinned.loadtest.report.write DIR/results.json` writes it anew.
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from thinned.loadtest.report.plots import PLOTS, draw
from thinned.loadtest.report.tables import Sheet, sheets
from thinned.loadtest.sweep.results_document import read

__all__ = ["main", "write_report"]

Results = Mapping[str, Any]

_CSS = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a;
  background: #fff }
h1 { font-size: 1.8rem; margin: 0 0 .3rem } h2 { font-size: 1.25rem; margin: 2.4rem 0 .5rem }
.lead { font-size: 1.1rem } .partial { border: 2px solid #a33; padding: .6rem 1rem; font-weight: 600 }
figure { margin: 0 0 1.5rem } figure img { width: 100%; max-width: 46rem; height: auto; display: block }
figcaption, .note { color: #444; font-size: .9rem; max-width: 46rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd }
th { border-bottom: 2px solid #888; vertical-align: bottom; white-space: normal }
td.text, th.text { text-align: left } dt { font-weight: 600 } dd { margin: 0 0 .4rem }
code { background: #f2f2f2; padding: .1rem .3rem; overflow-wrap: anywhere }
@media print { body { max-width: none; margin: 0 } figure { break-inside: avoid } }
"""


def write_report(results: Results, folder: Path) -> None:
    """Writes `report.html`, `report.md` and `plots/*.png`, `plots/*.svg`.

    Args:
        results: As `thinned.loadtest.sweep.results_document` makes them.
        folder: Where to; it is there.
    """
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    figures: list[tuple[str, str, str, str]] = []
    for plot in PLOTS:
        drawn = draw(plot, results)
        if drawn is not None:
            png, svg = drawn
            (plots / f"{plot.name}.png").write_bytes(png)
            (plots / f"{plot.name}.svg").write_text(svg, encoding="utf-8")
            figures.append((plot.name, plot.title, plot.caption, svg))
    (folder / "report.md").write_text(_markdown(results, figures), encoding="utf-8")
    (folder / "report.html").write_text(_page(results, figures), encoding="utf-8")


def _title(results: Results) -> str:
    return f"{results['model']['name']}: what each sample count costs, and what it buys"


def _lead(results: Results) -> list[str]:
    """What the report comes to, in sentences."""
    said = []
    advice = results["recommendation"]
    if advice:
        chosen = f"Ask for N = {advice['n_samples']}" if advice["n_samples"] else "No N can be recommended"
        said.append(f"{chosen}: {advice['reason']}.")
    for line in results["fits"]:
        micro = 1e3 * line["b_ms_per_pass"]
        said.append(f"The {line['target']} takes {line['a_ms']:.3g} ms and {micro:.3g} µs a pass (one client, median).")
    ratios = [c for c in results["cells"] if c["speed_up"] and c["speed_up"]["p50"] and c["mode"] == "closed"]
    if ratios:
        most = max(ratios, key=lambda cell: (-cell["clients"], cell["n_samples"]))
        value = most["speed_up"]["p50"]["value"]
        said.append(
            f"At N = {most['n_samples']} and {_load(most)} the naive baseline's median latency is {value:.3g} times "
            "the service's."
        )
    if results["slo_ms"]:
        limits = ", ".join(f"{name} ≤ {limit:g} ms" for name, limit in results["slo_ms"].items())
        where = {"met": "met under every load measured", "missed": "missed under some load"}[results["verdict"]]
        said.append(f"Objectives ({limits}): {where}.")
    said.append(_client_share(results))
    return said


def _client_share(results: Results) -> str:
    """How much of the machine the client took, and whether it was the service's machine too."""
    shares = [cell["client"]["cores"]["value"] for cell in results["cells"] if cell["client"]]
    took = f"{min(shares):.2f} to {max(shares):.2f} cores" if shares else "an unknown part"
    if any(cell["service"] for cell in results["cells"]):
        return f"Client and service shared the cores of one machine; the load generator took {took} of them."
    return f"The service ran elsewhere, or could not be seen; the load generator took {took} of this machine."


def _load(cell: Mapping[str, Any]) -> str:
    if cell["rate"]:
        return f"{cell['rate']:g} arrivals/s"
    return f"{cell['clients']} client{'' if cell['clients'] == 1 else 's'}"


def _circumstances(results: Results) -> list[tuple[str, str]]:
    run, model, settings = results["run"], results["model"], results["settings"]
    share = model["prefix_share"]
    once = "" if share is None else f", {100 * share:.1f} % of a pass's work runs once"
    told = {k: v for k, v in settings.items() if k not in ("limits", "model", "target") and v not in (None, [], {})}
    return [
        ("Command", run["command"]),
        ("Machine", run["machine"]),
        ("Load generator", _client_share(results)),
        ("Versions", run["versions"]),
        ("Begun and ended", f"{run['started']} and {run['finished']}"),
        ("Model", f"{model['name']}:{model['version']}, {model['sites']} sites{once}; sha256 {model['sha256']}"),
        ("Rows", model["rows_from"]),
        ("Settings", ", ".join(f"{key} {_said(value)}" for key, value in told.items())),
        ("Limits of the service", ", ".join(f"{key} {value}" for key, value in settings["limits"].items())),
    ]


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _page(results: Results, figures: Sequence[tuple[str, str, str, str]]) -> str:
    parts = [f"<h1>{escape(_title(results))}</h1>"]
    if results["partial"]:
        parts.append(f'<p class="partial">Partial results: {escape(results["partial_reason"])}.</p>')
    parts.append(f'<p class="lead">{escape(" ".join(_lead(results)))}</p>')
    for name, title, caption, svg in figures:
        data = base64.b64encode(svg.encode()).decode()
        parts.append(
            f'<h2 id="{name}">{escape(title)}</h2><figure><img alt="{escape(title)}. {escape(caption)}" '
            f'src="data:image/svg+xml;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
        )
    parts += [_html_table(sheet) for sheet in sheets(results)]
    facts = "".join(f"<dt>{escape(k)}</dt><dd>{_fact(k, v)}</dd>" for k, v in _circumstances(results))
    parts.append(f"<h2>How it was measured</h2><dl>{facts}</dl>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(_title(results))}'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en">\n{head}</title><style>{_CSS}</style>\n<body>\n{body}\n</body>\n</html>\n'


def _fact(name: str, value: str) -> str:
    return f"<code>{escape(value)}</code>" if name == "Command" else escape(value)


def _html_table(sheet: Sheet) -> str:
    texts = ("target", "load", "failed", "residuals (ms, at N)", "rates tried (per s)")

    def row(tag: str, cells: Sequence[str]) -> str:
        marks = [' class="text"' if head in texts else "" for head in sheet.heads]
        return "<tr>" + "".join(f"<{tag}{m}>{escape(c)}</{tag}>" for m, c in zip(marks, cells, strict=True)) + "</tr>"

    body = "\n".join(row("td", cells) for cells in sheet.rows)
    table = f'<div class="scroll"><table><thead>{row("th", sheet.heads)}</thead><tbody>\n{body}</tbody></table></div>'
    return f'<h2>{escape(sheet.title)}</h2>{table}<p class="note">{escape(sheet.note)}</p>'


def _markdown(results: Results, figures: Sequence[tuple[str, str, str, str]]) -> str:
    parts = [f"# {_title(results)}"]
    if results["partial"]:
        parts.append(f"**Partial results: {results['partial_reason']}.**")
    parts.append("\n".join(f"- {sentence}" for sentence in _lead(results)))
    parts += [f"## {title}\n\n![{title}](plots/{name}.png)\n\n{caption}" for name, title, caption, _ in figures]
    for sheet in sheets(results):
        lines = [sheet.heads, ["---"] * len(sheet.heads), *sheet.rows]
        table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        parts.append(f"## {sheet.title}\n\n{table}\n\n{sheet.note}".rstrip())
    facts = "\n".join(f"- {k}: {f'`{v}`' if k == 'Command' else v}" for k, v in _circumstances(results))
    parts.append(f"## How it was measured\n\n{facts}")
    return "\n\n".join(parts) + "\n"


def main(given: Sequence[str] | None = None) -> int:
    """Writes the report of some results anew, beside them."""
    parser = argparse.ArgumentParser(
        prog="python -m thinned.loadtest.report.write", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("results", type=Path, metavar="DIR/results.json")
    path: Path = parser.parse_args(given).results
    try:
        write_report(read(path), path.parent)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
