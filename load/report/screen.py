"""What a sweep says at its end, on one screen of a terminal: a line for each load, the objectives, the advice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from thinned.loadtest.report.tables import bounded, format_number, percentile_value, spread_between_runs
from thinned.loadtest.sweep.plan import load_in_words
from thinned.loadtest.sweep.quantile_bounds import answers_needed
from thinned.loadtest.sweep.results_document import Results
from thinned.loadtest.sweep.slo import slo_in_words

__all__ = ["MOST_LINES", "print_summary"]

MOST_LINES = 24
_MOST_CELLS = 12
_MOST_FAILURES = 2
_WIDE = 100


def print_summary(results: Results, console: Console) -> None:
    """Print the results on one screen: no more than `MOST_LINES` lines where the terminal has 100 columns."""
    model, cells = results["model"], results["cells"]
    runs = max((cell["repeats"] for cell in cells), default=0)
    console.print(
        Text(f"{model['name']}:{model['version']} on {results['run']['machine']}; {runs} runs of each line"),
        no_wrap=True,
        overflow="ellipsis",
    )
    service = [cell for cell in cells if cell["target"] == "service"]
    console.print(_table(service[:_MOST_CELLS], wide=console.width >= _WIDE))
    for line in (*_left_out(cells, service), *_failures(cells), *_objectives(results, service), *_advice(results)):
        console.print(line)


def _table(cells: Sequence[Mapping[str, Any]], *, wide: bool) -> Table:
    rivals = any(cell["speed_up"] for cell in cells)
    good = any(cell.get("goodput") for cell in cells)
    heads = ["N", "load", *(["answers"] if wide else []), "failed", "per s", *(["good"] if good else [])]
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, head in enumerate([*heads, "p50 ms", "p99 ms", "runs ±", *(["× naive"] if rivals else [])]):
        drawn.add_column(head, justify="left" if i == 1 else "right", no_wrap=True)
    show = bounded if wide else percentile_value
    for cell in cells:
        texts = [
            str(cell["n_samples"]),
            load_in_words(cell["clients"], cell["rate"]),
            *([f"{cell['answers']:,}"] if wide else []),
            f"{sum(cell['errors'].values()):,}",
            format_number((cell["throughput"] or {}).get("value")),
            *([_share(cell)] if good else []),
            show(cell, "p50"),
            show(cell, "p99"),
            spread_between_runs(cell["latency_ms"]["p50"]),
            *([format_number(((cell["speed_up"] or {}).get("p50") or {}).get("value"))] if rivals else []),
        ]
        drawn.add_row(*map(Text, texts))
    return drawn


def _share(cell: Mapping[str, Any]) -> str:
    share = (cell.get("goodput") or {}).get("share")
    return "–" if share is None else share_in_words(share)


def share_in_words(share: float) -> str:
    """A share in percent, of which only all is 100."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.9):.1f} %"


def _left_out(cells: Sequence[Mapping[str, Any]], service: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    if len(service) > _MOST_CELLS:
        yield Text(f"{len(service) - _MOST_CELLS} further loads are in report.md.")
    told = "(low–high): 95 % interval of a percentile. runs ±: deviation of p50 between runs."
    yield Text(told if cells else "Nothing was measured.", style="dim")


def _failures(cells: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    found = [(cell, kind, text) for cell in cells for kind, text in cell["error_examples"].items()]
    for cell, kind, text in found[:_MOST_FAILURES]:
        load = load_in_words(cell["clients"], cell["rate"])
        yield Text(f"{cell['target']} N={cell['n_samples']}, {load}: {kind}: {text[:80]}", style="red")
    if len(found) > _MOST_FAILURES:
        yield Text(f"{len(found) - _MOST_FAILURES} further kinds of failures are in results.json.", style="red")


def _objectives(results: Results, service: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    """Under how many loads the limits were met, and where that rests on too few answers."""
    slo = results["slo_ms"]
    if not slo:
        return
    met = sum(all(limit["met"] for limit in cell["slo"].values()) and not cell["errors"] for cell in service)
    good = f"; good: right within {max(slo.values()):g} ms" if any(cell.get("goodput") for cell in service) else ""
    yield Text(f"{slo_in_words(slo)}: met under {met} of {len(service)} loads{good}.")
    for name in slo:
        few = 0 if name == "max" else sum(cell["answers"] < answers_needed(name) for cell in service)
        if few:
            loads = f"{few} load{'s' if few > 1 else ''}"
            yield Text(f"Under {loads} too few answers came to tell {name}, which needs {answers_needed(name):,}.")


def _advice(results: Results) -> Iterator[Text]:
    advice = results["recommendation"]
    if advice:
        yield Text(f"Recommended: N = {advice['n_samples'] or 'none'}: {advice['reason']}.")
