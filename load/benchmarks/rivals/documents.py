"""`python -m thinned.loadtest.benchmarks.rivals.documents` writes a run's figures into docs/rivals.md and README.md.

The run is load/results/rivals.json, as `make bench-rivals ARGS='--json load/results/rivals.json'` writes it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from thinned import HOME
from thinned.loadtest.benchmarks.rivals.contenders import RIVALS
from thinned.loadtest.benchmarks.rivals.tables import aims_in_words
from thinned.loadtest.sweep.quantile_bounds import answers_needed

__all__ = ["RESULTS", "main", "with_figures"]

RESULTS = HOME / "load" / "results" / "rivals.json"
_PAGES = ("docs/rivals.md", "README.md")
_SECTION = re.compile(r"(?<=## Figures\n\n).*?(?=\n## )", re.DOTALL)
_README_TABLE = re.compile(r"^\| p50 \(ms\), answers/s \|.*?(?=\n\n)", re.DOTALL | re.MULTILINE)


def with_figures(page: str, text: str, results: Mapping[str, Any]) -> str:
    """A page with the figures of a run in place of those that it has.

    Args:
        page: `docs/rivals.md` or `README.md`.
        text: What it holds.
        results: As the benchmark writes them.
    """
    pattern, figures = (_README_TABLE, _short(results)) if page == "README.md" else (_SECTION, _long(results))
    changed, count = pattern.subn(lambda _: figures, text)
    if count != 1:
        raise ValueError(f"{page}: expected one place for the figures, found {count}")
    return changed


def _short(results: Mapping[str, Any]) -> str:
    """Thinned beside the best rival, a line each."""
    bars = results["bars"]
    unit = {"p50_ms": "p50", "per_second": "answers/s, 16 clients"}
    heads = [f"{unit[bar['what']]}, N = {bar['n_samples']}" for bar in bars]
    ours = [_number(bar["ours"]) for bar in bars]
    best = [f"{_number(bar['best'][0])} ({bar['best'][1].partition(',')[0]})" for bar in bars]
    rows = [["p50 (ms), answers/s", *heads], ["---:"] * (len(bars) + 1), ["Thinned", *ours], ["best rival", *best]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _long(results: Mapping[str, Any]) -> str:
    """All contenders, the aims, and where, when and by which versions it was measured."""
    contenders = results["contenders"]
    alone = sorted({int(n) for one in contenders.values() for n in one["one_client"]})
    loaded = sorted({int(n) for one in contenders.values() for n in one["many_clients"]})
    heads = [f"N = {n}: p50, p99 (ms)" for n in alone] + [f"N = {n}: answers/s" for n in loaded]
    rows = [["server", *heads, "memory: RSS, PSS (MiB)", "processes"], ["---", *["---:"] * (len(heads) + 2)]]
    for one in contenders.values():
        latencies = [_latency(one["one_client"].get(str(n))) for n in alone]
        rates = [_rate(one["many_clients"].get(str(n))) for n in loaded]
        rows.append([one["title"], *latencies, *rates, *_memory(one)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    aims = "\n".join(f"- {aims_in_words(bar)}" for bar in results["bars"])
    packages = ", ".join(package.replace("==", " ") for rival in RIVALS.values() for package in rival.packages[:1])
    facts = (
        f"Measured on {results['machine']}, {results['versions']}; {packages}; {results['date']}, at a load average of "
        f"{results['load average before']} before the run."
    )
    return f"{facts} Answers a second are those that 16 clients got.\n\n{table}\n\n{aims}\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _latency(cell: Mapping[str, float] | None) -> str:
    if not cell or not cell["answers"]:
        return "–"
    p99 = _number(cell["p99_ms"]) if cell["answers"] >= answers_needed("p99") else "–"
    return f"{_number(cell['p50_ms'])}, {p99}"


def _rate(cell: Mapping[str, float] | None) -> str:
    return _number(cell["per_second"]) if cell and cell["answers"] else "–"


def _memory(one: Mapping[str, Any]) -> list[str]:
    if not one["memory_mib"]:
        return ["–", "–"]
    largest = max(one["memory_mib"], key=lambda memory: float(memory["resident"]))
    shared = "–" if largest["proportional"] is None else _number(largest["proportional"])
    return [f"{_number(largest['resident'])}, {shared}", str(largest["processes"])]


def main() -> int:
    """Write the pages; returns 0, or 2 where there are no figures of all rivals or no place for them."""
    try:
        results = json.loads(RESULTS.read_text())
        changed = {page: with_figures(page, (HOME / page).read_text(), results) for page in _PAGES}
    except (OSError, ValueError, KeyError) as error:
        print(f"Nothing was written: {error!r}", file=sys.stderr)
        return 2
    for page, text in changed.items():
        (HOME / page).write_text(text)
        print(f"Written: {page}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
