"""The few numbers of a sweep that fit in a README: one line for each sample count.

`python -m thinned.loadtest.report.readme_table DIR/results.json` prints them as a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinned.loadtest.report.tables import number
from thinned.loadtest.sweep.results_document import read

__all__ = ["digest", "main"]

Results = Mapping[str, Any]


def digest(results: Results) -> str:
    """A Markdown table: latency of one client, answers a second of many, largest rate, and error of the mean."""
    own = [cell for cell in results["cells"] if cell["mode"] == "closed"]
    fewest, most = (pick(cell["clients"] for cell in own) for pick in (min, max))
    limits = " and ".join(f"{name} ≤ {limit:g} ms" for name, limit in results["slo_ms"].items())
    heads = ["N", "p50, p99 (ms)", "naive loop", "times faster", f"answers/s, {most} clients", "naive loop"]
    heads += [f"most arrivals/s with {limits}", "naive loop"] if results["largest_rates"] else []
    heads.append("error of the mean")
    lines = [heads, ["---:"] * len(heads)]
    for n in dict.fromkeys(cell["n_samples"] for cell in own):
        lines.append(_line(results, n, fewest, most))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _line(results: Results, n: int, fewest: int, most: int) -> list[str]:
    few, many = ({t: _cell(results, t, n, c) for t in ("service", "baseline")} for c in (fewest, most))
    cells = [str(n) if n else "none", _latency(few["service"]), _latency(few["baseline"])]
    faster = few["service"]["speed_up"] if few["service"] else None
    cells.append(number(faster["p50"]["value"]) if faster and faster["p50"] else "–")
    cells += [number(cell["throughput"]["value"]) if cell else "–" for cell in many.values()]
    if results["largest_rates"]:
        rates = {found["target"]: found["rate"] for found in results["largest_rates"] if found["n_samples"] == n}
        cells += [number(rates.get(target)) for target in ("service", "baseline")]
    points = {point["n_samples"]: point for point in results["precision"]["points"]} if results["precision"] else {}
    return [*cells, f"{100 * points[n]['mean_error']['value']:.1f} %" if n in points else ""]


def _cell(results: Results, target: str, n: int, clients: int) -> Any:
    wanted = (target, n, clients)
    return next((c for c in results["cells"] if (c["target"], c["n_samples"], c["clients"]) == wanted), None)


def _latency(cell: Any) -> str:
    if cell is None:
        return "–"
    return ", ".join(number(cell["latency_ms"][name]["value"]) for name in ("p50", "p99"))


def main(given: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m thinned.loadtest.report.readme_table", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("results", type=Path, metavar="DIR/results.json")
    try:
        print(digest(read(parser.parse_args(given).results)), end="")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
