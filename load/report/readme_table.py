"""Print the README's performance table, one line for each sample count, from the results of a sweep.

`python -m thinned.loadtest.report.readme_table DIR/results.json` prints it as Markdown.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from thinned.loadtest.report.results_command import run_on_results
from thinned.loadtest.report.tables import format_number, too_few
from thinned.loadtest.sweep.results_document import Results
from thinned.loadtest.sweep.slo import slo_in_words

__all__ = ["main", "readme_table"]


def readme_table(results: Results) -> str:
    """A Markdown table: latency of one client, throughput of many, largest rate, and error of the mean."""
    closed = [cell for cell in results["cells"] if cell["mode"] == "closed"]
    fewest, most = (pick(cell["clients"] for cell in closed) for pick in (min, max))
    heads = ["N", "p50, p99 (ms)", "naive loop", "times faster", f"answers/s, {most} clients", "naive loop"]
    if results["largest_rates"]:
        heads += [f"most arrivals/s with {slo_in_words(results['slo_ms'], joined_by=' and ')}", "naive loop"]
    heads.append("error of the mean")
    lines = [heads, ["---:"] * len(heads)]
    for n in dict.fromkeys(cell["n_samples"] for cell in closed):
        lines.append(_line(results, n, fewest, most))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _line(results: Results, n: int, fewest: int, most: int) -> list[str]:
    few, many = ({t: _cell(results, t, n, c) for t in ("service", "baseline")} for c in (fewest, most))
    texts = [str(n) if n else "none", _latency(few["service"]), _latency(few["baseline"])]
    faster = few["service"]["speed_up"] if few["service"] else None
    texts.append(format_number(faster["p50"]["value"]) if faster and faster["p50"] else "–")
    texts += [format_number(cell["throughput"]["value"]) if cell else "–" for cell in many.values()]
    if results["largest_rates"]:
        rates = {found["target"]: found["rate"] for found in results["largest_rates"] if found["n_samples"] == n}
        texts += [format_number(rates.get(target)) for target in ("service", "baseline")]
    points = {point["n_samples"]: point for point in results["precision"]["points"]} if results["precision"] else {}
    return [*texts, f"{100 * points[n]['mean_error']['value']:.1f} %" if n in points else ""]


def _cell(results: Results, target: str, n: int, clients: int) -> Any:
    wanted = (target, n, clients)
    return next((c for c in results["cells"] if (c["target"], c["n_samples"], c["clients"]) == wanted), None)


def _latency(cell: Any) -> str:
    if cell is None:
        return "–"
    told = (None if too_few(cell, name) else cell["latency_ms"][name]["value"] for name in ("p50", "p99"))
    return ", ".join(map(format_number, told))


def main(given: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 2 if the file holds no results."""
    return run_on_results(
        "thinned.loadtest.report.readme_table",
        "Print the README's performance table from the results of a sweep.",
        lambda results, path: print(readme_table(results), end=""),
        given,
    )


if __name__ == "__main__":
    sys.exit(main())
