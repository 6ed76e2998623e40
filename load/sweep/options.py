"""The options of `thinned load` and their checks."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinned.loadtest.sweep.slo import parse_slo

__all__ = ["DEFAULT_TOLERANCE", "SweepOptions", "above_0", "parse_options"]

DEFAULT_TOLERANCE = 0.1

_DESCRIPTION = """Measure latency, throughput and Monte Carlo error at each sample count.

Loads a service with every sample count in turn, closed (a number of clients, each waiting for its answer) and open
(arrivals at a rate, whatever the service does), measures the Monte Carlo error of its answers, and writes a report.
"""
_EPILOG = """Exit status: 0 done, and the objectives met; 1 a limit of --slo-ms was missed, or an answer was wrong or
failed; 2 it could not run; 130 interrupted, with partial results written.

Examples:
  thinned load digits
  thinned load digits --baseline --samples 0,10,30,100,300 --slo-ms p99=50
  thinned load --target http://127.0.0.1:3000 --rate 50 --duration 10
"""


@dataclass(frozen=True)
class SweepOptions:
    """The options of a sweep, checked; the help of each is in `_parser`. `samples` is sorted, without duplicates."""

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
        """The options as the results document holds them, without paths of this machine."""
        given = {name: value for name, value in vars(self).items() if name not in ("out", "data")}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
        return {**listed, "data": None if self.data is None else self.data.name}


def parse_options(given: Sequence[str] | None) -> SweepOptions:
    """Read the command line; an invalid one ends the process with status 2 and a message.

    Args:
        given: Arguments; None for those of this process.
    """
    parser = _parser()
    values = vars(parser.parse_args(given))
    if values["target"] and values["baseline"] and not values["model"]:
        parser.error("--baseline with --target: name the model too, the baseline has to load it from the store")
    if not values["clients"] and not values["rates"]:
        parser.error("expected --clients, --rate or both")
    values["target"] = values["target"].rstrip("/") if values["target"] else None
    values["out"] = values["out"] or Path(f"thinned-load-{datetime.datetime.now():%Y%m%d-%H%M%S}")
    return SweepOptions(**values)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thinned load",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def add(name: str, help: str, **given: Any) -> None:
        parser.add_argument(name, help=help, **given)

    add("model", "stored model to serve (default: digits, trained if the store has none)", nargs="?", metavar="NAME")
    add("--target", "a running service (default: one is started on a free port, and stopped at the end)", metavar="URL")
    add(
        "--samples",
        "sample counts; 0 is the deterministic answer (default 0,10,30,100,300)",
        type=_samples,
        default=(0, 10, 30, 100, 300),
        metavar="N,N,...",
    )
    add(
        "--clients",
        "closed load: concurrent clients; '' for none (default 1,4,16)",
        type=_list(_integer(1)),
        default=(1, 4, 16),
        metavar="N,N,...",
    )
    add("--rate", "open load: arrivals per second", dest="rates", type=_list(above_0), default=(), metavar="R,R,...")
    add("--rows", "rows in each request (default 1)", type=_integer(1), default=1)
    add(
        "--duration",
        "seconds measured for each point (default 1.5)",
        dest="duration_s",
        type=above_0,
        default=1.5,
        metavar="S",
    )
    add(
        "--warm-up",
        "seconds of load before that (default 0.3)",
        dest="warm_up_s",
        type=above_0,
        default=0.3,
        metavar="S",
    )
    add("--repeats", "measurements of every point, in turns (default 5)", type=_integer(1), default=5)
    add("--seed", "seed of arrivals, rows and passes (default 1)", type=_integer(0), default=1)
    add(
        "--slo-ms",
        "limits in ms; also finds the largest rate that meets them",
        dest="slo",
        type=_slo,
        default={},
        metavar="p99=50[,...]",
    )
    add("--no-bisect", "do not search for the largest rate", dest="bisect", action="store_false")
    add(
        "--tolerance",
        "error of the mean to recommend N for, in standard deviations between passes "
        f"(default {DEFAULT_TOLERANCE} without --slo-ms)",
        type=above_0,
        metavar="T",
    )
    add("--baseline", "also measure load/naive_service.py, a loop over model(x, training=True)", action="store_true")
    add(
        "--data",
        "rows to send: .npy, .npz, .csv or .json (default: held-out rows of an example, else random numbers)",
        type=Path,
        metavar="FILE",
    )
    add("--error-rows", "rows that the error is measured on (16)", type=_integer(1), default=16, metavar="ROWS")
    add("--error-seeds", "seeds for each N; 0 skips it (40)", type=_integer(0), default=40, metavar="SEEDS")
    add(
        "--max-in-flight",
        "open load: arrivals beyond so many requests in flight are dropped (256)",
        type=_integer(1),
        default=256,
        metavar="N",
    )
    add("--out", "folder for the results (default ./thinned-load-DATE-TIME)", type=Path, metavar="DIR")
    return parser


def _integer(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of {least} or more, received {text!r}")
        return int(text)

    return read


def above_0(text: str) -> float:
    """The type of an option that is a number above 0."""
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
    counts = tuple(sorted(_list(_integer(0))(text)))
    if not counts or 1 in counts:
        raise argparse.ArgumentTypeError(f"expected sample counts of 0 or 2 and more, received {text!r}")
    return counts


def _slo(text: str) -> dict[str, float]:
    try:
        return parse_slo(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
