"""What a sweep may be told."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinned.loadtest.sweep.slo import parse_slo

__all__ = ["DEFAULT_TOLERANCE", "Options", "parse"]

DEFAULT_TOLERANCE = 0.1

_DESCRIPTION = """What does each sample count cost, and what does it buy?

Loads a service with every sample count in turn, closed (a number of clients, each waiting for its answer) and open
(arrivals at a rate, whatever the service does), measures the Monte Carlo error of its answers, and writes a report.
"""
_END = """Exit status: 0 done, and the objectives met; 1 a limit of --slo-ms was missed, or an answer was wrong or
failed; 2 it could not run; 130 interrupted, with partial results written.

Examples:
  thinned load digits
  thinned load digits --baseline --samples 0,10,30,100,300 --slo-ms p99=50
  thinned load --target http://127.0.0.1:3000 --rate 50 --duration 10
"""


@dataclass(frozen=True)
class Options:
    """The options, checked. `samples` has no count twice and 0 stands for the deterministic answer."""

    model: str | None
    target: str | None
    samples: tuple[int, ...]
    clients: tuple[int, ...]
    rates: tuple[float, ...]
    rows: int
    duration_s: float
    warm_up_s: float
    repeats: int
    seed: int
    slo: dict[str, float]
    bisect: bool
    tolerance: float | None
    baseline: bool
    data: Path | None
    error_rows: int
    error_seeds: int
    max_in_flight: int
    out: Path

    def as_json(self) -> dict[str, Any]:
        """As the results hold them; folders of this machine are left out."""
        given = {name: value for name, value in vars(self).items() if name not in ("out", "data")}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
        return {**listed, "data": None if self.data is None else self.data.name}


def parse(given: Sequence[str] | None) -> Options:
    """Read the command line; what is wrong with it ends the process with status 2 and a line that says so."""
    parser = _parser()
    arguments = parser.parse_args(given)
    if arguments.target and (arguments.baseline and not arguments.model):
        parser.error("--baseline with --target: name the model too, the baseline has to load it from the store")
    if not arguments.clients and not arguments.rate:
        parser.error("expected --clients, --rate or both")
    out = arguments.out or Path(f"thinned-load-{datetime.datetime.now():%Y%m%d-%H%M%S}")
    return Options(
        model=arguments.model,
        target=arguments.target.rstrip("/") if arguments.target else None,
        samples=arguments.samples,
        clients=arguments.clients,
        rates=arguments.rate,
        rows=arguments.rows,
        duration_s=arguments.duration,
        warm_up_s=arguments.warm_up,
        repeats=arguments.repeats,
        seed=arguments.seed,
        slo=arguments.slo_ms,
        bisect=arguments.bisect,
        tolerance=arguments.tolerance,
        baseline=arguments.baseline,
        data=arguments.data,
        error_rows=arguments.error_rows,
        error_seeds=arguments.error_seeds,
        max_in_flight=arguments.max_in_flight,
        out=out,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thinned load", description=_DESCRIPTION, epilog=_END, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", nargs="?", metavar="NAME", help="stored model to serve (default: digits, trained if it is not there)")
    add("--target", metavar="URL", help="a service that runs already; else one is started on a free port and stopped")
    add("--samples", type=_samples, default=(0, 10, 30, 100, 300), metavar="N,N,...", help="sample counts; 0 is the "
        "deterministic answer (default 0,10,30,100,300)")  # fmt: skip
    add("--clients", type=_list(_whole(1)), default=(1, 4, 16), metavar="N,N,...", help="clients at once, closed load; "
        "'' for none (default 1,4,16)")  # fmt: skip
    add("--rate", type=_list(_above_0), default=(), metavar="R,R,...", help="arrivals a second, open load")
    add("--rows", type=_whole(1), default=1, help="rows in each request (default 1)")
    add("--duration", type=_above_0, default=1.5, metavar="S", help="seconds that count for each point (default 1.5)")
    add("--warm-up", type=_above_0, default=0.3, metavar="S", help="seconds before that (default 0.3)")
    add("--repeats", type=_whole(1), default=5, help="times that every point is measured, in turns (default 5)")
    add("--seed", type=_whole(0), default=1, help="of arrivals, rows and passes (default 1)")
    add("--slo-ms", type=_slo, default={}, metavar="p99=50[,...]", help="limits in ms; also finds the largest rate "
        "that meets them")  # fmt: skip
    add("--no-bisect", dest="bisect", action="store_false", help="do not look for the largest rate")
    add("--tolerance", type=_above_0, metavar="T", help="error of the mean to recommend N for, as a share of the "
        f"spread of passes (default {DEFAULT_TOLERANCE} where there is no --slo-ms)")  # fmt: skip
    add("--baseline", action="store_true", help="also measure what people write today (load/naive_service.py)")
    add("--data", type=Path, metavar="FILE", help="rows to ask with: .npy, .npz, .csv or .json (default: an example's "
        "held-out rows, else random numbers)")  # fmt: skip
    add("--error-rows", type=_whole(1), default=16, metavar="ROWS", help="rows that the error is measured on (16)")
    add("--error-seeds", type=_whole(0), default=40, metavar="SEEDS", help="seeds for each N; 0 skips it (40)")
    add("--max-in-flight", type=_whole(1), default=256, metavar="N", help="open load: more arrivals are dropped (256)")
    add("--out", type=Path, metavar="DIR", help="folder for the results (default ./thinned-load-DATE-TIME)")
    return parser


def _whole(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of {least} or more, received {text!r}")
        return int(text)

    return read


def _above_0(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, received {text!r}")
    return value


def _list(one: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    def read(text: str) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(one(part) for part in text.split(","))) if text.strip() else ()

    return read


def _samples(text: str) -> tuple[int, ...]:
    counts = tuple(sorted(_list(_whole(0))(text)))
    if not counts or 1 in counts:
        raise argparse.ArgumentTypeError(f"expected sample counts of 0 or 2 and more, received {text!r}")
    return counts


def _slo(text: str) -> dict[str, float]:
    try:
        return parse_slo(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
