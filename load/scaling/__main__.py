"""`python -m thinned.loadtest.scaling`: replicas for a rate, by what `thinned load` measured of one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from thinned.loadtest.sweep.options import above_0
from thinned.loadtest.sweep.results_document import read_results
from thinned.loadtest.sweep.slo import parse_slo, slo_in_words

__all__ = ["main"]

OK, MISSED, COULD_NOT_RUN = 0, 1, 2
TO = {"least": "the least busy", "random": "any"}
"""Where the balancer sends a request, in words."""


def main(given: Sequence[str] | None = None) -> int:
    """Say how many replicas a load needs, or hold the simulation against the document.

    Args:
        given: Arguments of the command line; None for those of this process.

    Returns:
        0 done; 1 no number of replicas meets the limits, or those of `--replicas` do not; 2 it could not be said.
    """
    options = _options(given)
    try:
        return _against(options) if options.against else _plan(options)
    except ModuleNotFoundError as error:
        if error.name != "simpy":
            raise
        print("the simulation needs SimPy: pip install 'thinned[scaling]'", file=sys.stderr)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        # A document of the right format whose parts are not those of its schema was written by another hand.
        wrong = error if isinstance(error, ValueError) else f"a part of the document is missing or no number: {error!r}"
        print(
            f"{options.results}: {wrong}" if not str(wrong).startswith(str(options.results)) else wrong, file=sys.stderr
        )
    return COULD_NOT_RUN


def _options(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m thinned.loadtest.scaling",
        description="Replicas for a rate, a number of passes and limits on latency: a queueing simulation by the costs "
        "that `thinned load` measured. It needs closed loads of 1 client and of 4 or more.",
        epilog="Exit status: 0 done; 1 the limits are not met; 2 it could not be said.",
    )
    parser.add_argument("results", type=Path, metavar="DIR/results.json", help="what `thinned load` wrote")
    parser.add_argument("--rate", type=above_0, metavar="R", help="requests a second, in a Poisson stream")
    parser.add_argument("--n-samples", type=_whole(0), metavar="N", help="passes of a request; 0 for the plain answer")
    parser.add_argument("--slo-ms", type=_slo, dest="slo", metavar="p99=50[,...]", help="limits in ms on percentiles")
    parser.add_argument("--replicas", type=_whole(1), metavar="COUNT", help="say what so many come to")
    parser.add_argument(
        "--workers", type=_whole(1), default=1, metavar="W", help="worker processes of the measured service (default 1)"
    )
    parser.add_argument(
        "--requests",
        type=_whole(100, 10_000_000),
        default=20_000,
        metavar="COUNT",
        help="that are simulated each time (default 20,000)",
    )
    parser.add_argument("--seed", type=_whole(0), default=1, help="of the simulation (default 1)")
    parser.add_argument(
        "--against", action="store_true", help="simulate every load of the document, and print both side by side"
    )
    options = parser.parse_args(given)
    if not options.against:
        missing = [f"--{name.replace('_', '-')}" for name in ("rate", "n_samples") if getattr(options, name) is None]
        if options.slo is None and options.replicas is None:
            missing.append("--slo-ms or --replicas")
        if missing:
            parser.error(f"expected {', '.join(missing)}, or --against")
    return options


def _plan(options: argparse.Namespace) -> int:
    from thinned.loadtest.scaling.costs import fit_costs
    from thinned.loadtest.scaling.replicas_needed import MOST_SIMULATED, UnreachableError, meets, plan, predict
    from thinned.loadtest.scaling.simulation import ROUTINGS

    results = read_results(options.results)
    costs = fit_costs(results, options.n_samples, workers=options.workers)
    print(_heading(results, costs))
    settings = {"requests": options.requests, "seed": options.seed}
    try:
        plans = [
            plan(costs, options.rate, options.slo, routing, **settings)
            if options.replicas is None
            else predict(costs, options.rate, options.replicas, routing, **settings)
            for routing in ROUTINGS
        ]
    except UnreachableError as error:
        print(error, file=sys.stderr)
        return MISSED
    limits = f" with {slo_in_words(options.slo, joined_by=' and ')}" if options.slo else ""
    print(f"\n{options.rate:g} requests a second{limits}:\n")
    heads = ["sent to", "replicas", "p50 ms", "p95 ms", "p99 ms", "busy", "in a call", "refused"]
    print(_table(heads, [_row(found) for found in plans]))
    if any(found.replicas > found.simulated for found in plans):
        print(f"\nOf these at most {MOST_SIMULATED} were simulated together, and one where any is sent to.")
    print("\nAdd one that may be drained or lost. No balancer, network or uneven replica is in it.")
    return OK if not options.slo or all(meets(found.outcome, options.slo) for found in plans) else MISSED


def _heading(results: dict[str, Any], costs: Any) -> str:
    known = ", ".join(map(str, costs.measured))
    rest = "" if costs.n_samples in costs.measured else f" (not measured; it follows from N = {known})"
    return (
        f"{results['model']['name']}, {costs.rows} row{'s' * (costs.rows != 1)}, N = {costs.n_samples}{rest}, measured "
        f"on {results['run']['machine']}.\n"
        f"A call takes {1e3 * costs.call_s:.3g} ms, {1e3 * costs.request_s:.3g} ms for each request and "
        f"{1e6 * costs.row_pass_s:.3g} µs for each row-pass;\n"
        f"a request takes the event loop {1e3 * costs.loop_s:.3g} ms, and {1e3 * costs.away_s:.3g} ms pass elsewhere."
    )


def _row(found: Any) -> list[str]:
    outcome = found.outcome
    percentiles = [f"{outcome.latency_ms(name):.3g}" for name in ("p50", "p95", "p99")]
    busy, refused = f"{100 * outcome.busy:.0f} %", f"{100 * outcome.refused:.3g} %"
    return [TO[found.routing], f"{found.replicas:,}", *percentiles, busy, f"{outcome.joined:.2g}", refused]


def _against(options: argparse.Namespace) -> int:
    from thinned.loadtest.scaling.against import compare

    rows = []
    for one in compare(
        read_results(options.results), workers=options.workers, requests=options.requests, seed=options.seed
    ):
        row = [str(one.n_samples), one.load + " (fitted)" * one.fitted]
        for name in ("p50", "p95", "p99", "throughput"):
            measured = one.measured[name]
            row += ["–" if measured is None else f"{measured:.3g}", f"{one.simulated[name]:.3g}"]
        rows.append(row)
    heads = ["N", "load"]
    for name in ("p50 ms", "p95 ms", "p99 ms", "answers/s"):
        heads += [name, "simulated"]
    print(_table(heads, rows))
    return OK


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, in columns of one width."""
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    lines = [heads, ["-" * width for width in widths], *rows]
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)


def _whole(least: int, most: int = 10**9) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or len(text) > 10 or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most:,}, received {text!r}")
        return int(text)

    return read


def _slo(text: str) -> dict[str, float]:
    try:
        return parse_slo(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _main_of_a_pipe() -> int:
    """Run `main`; whoever reads what it prints may have read enough."""
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return COULD_NOT_RUN
    return status


if __name__ == "__main__":
    sys.exit(_main_of_a_pipe())
