"""`make bench-score`: row-passes a second of `thinned score`, here and on Ray, beside a compiled loop, in one run.

All read the same archive. The loop is the one that people write: `model(x, training=True)` in one `tf.function`, N
times for each 1,024 rows. The first part of a run, in which graphs are traced, counts for none of them.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from thinned.loadtest.machine import describe_run
from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.storage.model_store import StoredModel, find, load_keras
from thinned.service.cli.scoring.local_engine import score_here
from thinned.service.cli.scoring.run import Run, checked_request, rows_of_part
from thinned.service.cli.scoring.run_folder import RunFolder
from thinned.service.cli.scoring.scorer import Scored
from thinned.service.cli.scoring.sources import look_at

__all__ = ["main"]

_LOOP_ROWS = 1024
_LOOP_S = 8.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table.

    Args:
        argv: Arguments of the command line; None for those of this process.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.benchmarks.scoring", description=__doc__)
    parser.add_argument("--models", nargs="+", default=["diabetes", "digits"], metavar="NAME")
    parser.add_argument("--samples", type=int, default=50, metavar="N")
    parser.add_argument("--row-passes", type=int, default=20_000_000, help="of each run (default: 20 million)")
    parser.add_argument("--workers", type=int, default=2, help="actors of the largest run on Ray (default: 2)")
    options = parser.parse_args(argv)
    import_tensorflow()
    console = Console(width=120)
    for key, value in describe_run().items():
        console.print(f"{key}: {value}", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, title=f"row-passes a second, N = {options.samples}")
    for name in ("model", "what", "rows", "parts", "whole run (s)", "row-passes/s", "times the loop", "load average"):
        table.add_column(name, justify="left" if name in ("model", "what") else "right")
    for name in options.models:
        stored = find(name)
        with tempfile.TemporaryDirectory() as folder:
            loop = 0.0
            for what, rows, parts, seconds, speed in _measured(stored, options, Path(folder)):
                loop = loop or speed
                load = f"{os.getloadavg()[0]:.1f}"
                cells = (what, f"{rows:,}", str(parts), f"{seconds:.1f}", f"{speed:,.0f}", f"{speed / loop:.1f}", load)
                table.add_row(name, *cells)
    console.print(table)
    return 0


def _measured(
    stored: StoredModel, options: argparse.Namespace, folder: Path
) -> Iterator[tuple[str, int, int, float, float]]:
    """What, rows, parts, seconds in all, and row-passes a second but for the first part."""
    n, rows = options.samples, options.row_passes // options.samples
    specs = stored.card.inputs
    draw = np.random.default_rng(0)
    arrays: Any = {s.name: draw.normal(size=(rows, *(k or 8 for k in s.shape))).astype("float32") for s in specs}
    np.savez(folder / "rows.npz", **arrays)
    yield ("compiled loop", *_loop(stored, arrays, n))
    asked = {"n_samples": n, "seed": 7}
    most = min(rows_of_part(stored.card, checked_request(stored, asked)), rows // (8 * options.workers))
    data = look_at(str(folder / "rows.npz"), specs, columns=None, key=None, most=most)

    def run_to(name: str) -> Run:
        run = Run.of(stored, data, asked, folder / name, part_rows=most, key=None)
        RunFolder(run.folder).path.mkdir()
        return run

    yield ("thinned score", rows, len(data.parts), *_rate(score_here(run_to("here"), data.parts), n))
    if importlib.util.find_spec("ray") is None:
        return
    from thinned.service.cli.scoring.ray_engine import score_on_ray

    for workers in sorted({1, options.workers}):
        scored = score_on_ray(run_to(f"ray{workers}"), data.parts, address=None, workers=workers)
        actors = "1 actor" if workers == 1 else f"{workers} actors"
        yield (f"--engine ray, {actors}", rows, len(data.parts), *_rate(scored, n, first=workers))


def _rate(scored: Iterator[Scored], n_samples: int, first: int = 1) -> tuple[float, float]:
    """Seconds in all, and row-passes a second behind the first parts."""
    began = time.monotonic()
    told = [(time.monotonic(), part.rows) for part in scored]
    ended, behind = told[-1][0], told[first - 1][0]
    return ended - began, sum(rows for _, rows in told[first:]) * n_samples / (ended - behind)


def _loop(stored: StoredModel, arrays: dict[str, Any], n_samples: int) -> tuple[int, int, float, float]:
    """The same of the loop, for as many rows as it answers in some seconds."""
    from thinned.loadtest.benchmarks.estimators import compiled_loop

    run, (x,) = compiled_loop(load_keras(stored)), arrays.values()
    run(x[:_LOOP_ROWS], n_samples)
    began, done = time.monotonic(), 0
    while time.monotonic() - began < _LOOP_S and done + _LOOP_ROWS <= len(x):
        run(x[done : done + _LOOP_ROWS], n_samples)
        done += _LOOP_ROWS
    seconds = time.monotonic() - began
    return done, 1, seconds, done * n_samples / seconds


if __name__ == "__main__":
    raise SystemExit(main())
