"""Write the report of a sweep: a self-contained HTML page, the same in Markdown, and the plots as files.

`python -m thinned.loadtest.report.write DIR/results.json` rewrites it beside the results.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from thinned.loadtest.report.plots import PLOTS, render
from thinned.loadtest.report.results_command import run_on_results
from thinned.loadtest.report.tables import ReportTable, report_tables
from thinned.loadtest.sweep.plan import load_in_words
from thinned.loadtest.sweep.results_document import Results
from thinned.loadtest.sweep.slo import slo_in_words

__all__ = ["main", "write_report"]

Figure = tuple[str, str, str, str]
"""Name, title, caption and SVG of a plot."""

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
    """Write `report.html`, `report.md` and `plots/*.png`, `plots/*.svg`.

    Args:
        results: The results document.
        folder: An existing folder.
    """
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    figures: list[Figure] = []
    for plot in PLOTS:
        images = render(plot, results)
        if images is not None:
            png, svg = images
            (plots / f"{plot.name}.png").write_bytes(png)
            (plots / f"{plot.name}.svg").write_text(svg, encoding="utf-8")
            figures.append((plot.name, plot.title, plot.caption, svg))
    (folder / "report.md").write_text(_markdown(results, figures), encoding="utf-8")
    (folder / "report.html").write_text(_page(results, figures), encoding="utf-8")


def _title(results: Results) -> str:
    return f"{results['model']['name']}: cost and precision of each sample count"


def _findings(results: Results) -> list[str]:
    """The main findings, in sentences."""
    sentences = []
    advice = results["recommendation"]
    if advice:
        chosen = f"Ask for N = {advice['n_samples']}" if advice["n_samples"] else "No N can be recommended"
        sentences.append(f"{chosen}: {advice['reason']}.")
    for line in results["fits"]:
        micro = 1e3 * line["b_ms_per_pass"]
        median = f"{line['a_ms']:.3g} ms and {micro:.3g} µs a pass (one client, median)"
        sentences.append(f"The {line['target']} takes {median}.")
    ratios = [c for c in results["cells"] if c["speed_up"] and c["speed_up"]["p50"] and c["mode"] == "closed"]
    if ratios:
        most = max(ratios, key=lambda cell: (-cell["clients"], cell["n_samples"]))
        value = most["speed_up"]["p50"]["value"]
        sentences.append(
            f"At N = {most['n_samples']} and {_load(most)} the naive baseline's median latency is {value:.3g} times "
            "the service's."
        )
    if results["slo_ms"]:
        verdict = {"met": "met under every load measured", "missed": "missed under some load"}[results["verdict"]]
        sentences.append(f"Objectives ({slo_in_words(results['slo_ms'])}): {verdict}.")
    sentences.append(_client_share(results))
    return sentences


def _client_share(results: Results) -> str:
    """How many cores the load generator used, and whether it ran on the service's machine."""
    shares = [cell["client"]["cores"]["value"] for cell in results["cells"] if cell["client"]]
    used = f"{min(shares):.2f} to {max(shares):.2f} cores" if shares else "an unknown part"
    if any(cell["service"] for cell in results["cells"]):
        return f"Client and service shared the cores of one machine; the load generator took {used} of them."
    return f"The service ran elsewhere, or could not be seen; the load generator took {used} of this machine."


def _load(cell: Mapping[str, Any]) -> str:
    return load_in_words(cell["clients"], cell["rate"], per_second=" arrivals/s")


def _conditions(results: Results) -> list[tuple[str, str]]:
    """The conditions of the measurement, as pairs of name and text."""
    run, model, settings = results["run"], results["model"], results["settings"]
    share = model["prefix_share"]
    once = "" if share is None else f", {100 * share:.1f} % of a pass's work runs once"
    stated = {k: v for k, v in settings.items() if k not in ("limits", "model", "target") and v not in (None, [], {})}
    return [
        ("Command", run["command"]),
        ("Machine", run["machine"]),
        ("Load generator", _client_share(results)),
        ("Versions", run["versions"]),
        ("Started and finished", f"{run['started']} and {run['finished']}"),
        ("Model", f"{model['name']}:{model['version']}, {model['sites']} sites{once}; sha256 {model['sha256']}"),
        ("Rows", model["rows_from"]),
        ("Settings", ", ".join(f"{key} {_setting(value)}" for key, value in stated.items())),
        ("Limits of the service", ", ".join(f"{key} {value}" for key, value in settings["limits"].items())),
    ]


def _setting(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _page(results: Results, figures: Sequence[Figure]) -> str:
    parts = [f"<h1>{escape(_title(results))}</h1>"]
    if results["partial"]:
        parts.append(f'<p class="partial">Partial results: {escape(results["partial_reason"])}.</p>')
    parts.append(f'<p class="lead">{escape(" ".join(_findings(results)))}</p>')
    for name, title, caption, svg in figures:
        data = base64.b64encode(svg.encode()).decode()
        parts.append(
            f'<h2 id="{name}">{escape(title)}</h2><figure><img alt="{escape(title)}. {escape(caption)}" '
            f'src="data:image/svg+xml;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
        )
    parts += [_html_table(table) for table in report_tables(results)]
    conditions = "".join(f"<dt>{escape(k)}</dt><dd>{_condition(k, v)}</dd>" for k, v in _conditions(results))
    parts.append(f"<h2>How it was measured</h2><dl>{conditions}</dl>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(_title(results))}'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en">\n{head}</title><style>{_CSS}</style>\n<body>\n{body}\n</body>\n</html>\n'


def _condition(name: str, value: str) -> str:
    return f"<code>{escape(value)}</code>" if name == "Command" else escape(value)


def _html_table(table: ReportTable) -> str:
    texts = ("target", "load", "failed", "residuals (ms, at N)", "rates tried (per s)")

    def row(tag: str, cells: Sequence[str]) -> str:
        marks = [' class="text"' if head in texts else "" for head in table.heads]
        return "<tr>" + "".join(f"<{tag}{m}>{escape(c)}</{tag}>" for m, c in zip(marks, cells, strict=True)) + "</tr>"

    body = "\n".join(row("td", cells) for cells in table.rows)
    html = f'<div class="scroll"><table><thead>{row("th", table.heads)}</thead><tbody>\n{body}</tbody></table></div>'
    return f'<h2>{escape(table.title)}</h2>{html}<p class="note">{escape(table.note)}</p>'


def _markdown(results: Results, figures: Sequence[Figure]) -> str:
    parts = [f"# {_title(results)}"]
    if results["partial"]:
        parts.append(f"**Partial results: {results['partial_reason']}.**")
    parts.append("\n".join(f"- {sentence}" for sentence in _findings(results)))
    parts += [f"## {title}\n\n![{title}](plots/{name}.png)\n\n{caption}" for name, title, caption, _ in figures]
    for table in report_tables(results):
        lines = [table.heads, ["---"] * len(table.heads), *table.rows]
        markdown = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        parts.append(f"## {table.title}\n\n{markdown}\n\n{table.note}".rstrip())
    conditions = "\n".join(f"- {k}: {f'`{v}`' if k == 'Command' else v}" for k, v in _conditions(results))
    parts.append(f"## How it was measured\n\n{conditions}")
    return "\n\n".join(parts) + "\n"


def main(given: Sequence[str] | None = None) -> int:
    """Rewrite the report of a sweep beside its results; the exit status is 2 if the file holds none."""
    return run_on_results(
        "thinned.loadtest.report.write",
        "Rewrite the report of a sweep beside its results.",
        lambda results, path: write_report(results, path.parent),
        given,
    )


if __name__ == "__main__":
    sys.exit(main())
