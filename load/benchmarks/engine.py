"""`make bench`: what a mean and a variance over N passes cost, side by side in one run.

Every way of getting them is timed in turns, so that a machine that drifts, drifts for all. What counts is the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from thinned.loadtest.benchmarks.networks import NETWORKS, build
from thinned.loadtest.machine import describe
from thinned.models.compat.tensorflow import import_tensorflow
from thinned.service.inference.threads import set_threads

__all__ = ["main"]

ROWS = (1, 16, 64)
SAMPLES = (10, 30, 100, 300)
RIVALS = ("ours", "independent", "floor", "tiled", "graph loop", "compiled loop", "eager loop", "deterministic", "bare")
_EAGER_MOST = 30
_LINEAR = ("tiled", "graph loop", "compiled loop", "eager loop")
_LONG_S = 0.6  # one of these that takes longer is timed for fewer passes, and its time scaled
MEMORY_ROWS, MEMORY_SAMPLES = 64, 10_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bench; 0 when it came to its end."""
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.benchmarks.engine", description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--rows", nargs="+", type=int, default=list(ROWS), metavar="B")
    parser.add_argument("--samples", nargs="+", type=int, default=list(SAMPLES), metavar="N")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each network, B and N (default: 2)")
    parser.add_argument("--quick", action="store_true", help="N = 30 and 100, half a second each")
    parser.add_argument("--threads", type=int, default=0, help="TensorFlow's threads; 0: as the service sets them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak of memory")
    parser.add_argument("--memory-only", choices=("blocks", "piece"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    set_threads(options.threads)
    if options.memory_only:
        import_tensorflow()
        print(json.dumps(_memory_here(options.memory_only)))
        return 0
    if options.quick:
        options.samples, options.seconds = [30, 100], 0.5
    import_tensorflow()
    about = {**describe(), "threads": f"TensorFlow computes with {os.environ['TF_NUM_INTRAOP_THREADS']}"}
    cells = [cell for name in options.networks for cell in _bench(name, options)]
    memory = None if options.no_memory else _memory()
    _show(about, cells, memory)
    if options.json:
        options.json.write_text(json.dumps({"about": about, "cells": cells, "memory": memory}, indent=1) + "\n")
    return 0


def _bench(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    from thinned.loadtest.benchmarks import rivals
    from thinned.models.dropout import enable_mc_dropout

    model, other = build(name), build(name)
    stochastic = enable_mc_dropout(model)
    ways = {
        "ours": rivals.ours(stochastic),
        "independent": rivals.ours(stochastic, "independent"),
        "floor": rivals.floor(stochastic),
        "tiled": rivals.tiled(other),
        "compiled loop": rivals.compiled_loop(other),
        "graph loop": rivals.graph_loop(other),
        "eager loop": rivals.eager_loop(other),
        "deterministic": lambda x, n, ours=stochastic, key=stochastic.inputs[0].name: ours.predict({key: x}),
        "bare": rivals.bare(model),
    }
    shape = tuple(model.inputs[0].shape[1:])
    cells = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task(name, total=len(options.rows) * len(options.samples))
        for rows in options.rows:
            x = np.random.default_rng(0).normal(size=(rows, *shape)).astype("float32")
            for n in options.samples:
                progress.update(task, description=f"{name}, B = {rows}, N = {n}")
                cells.append({"network": name, "rows": rows, "n_samples": n, **_time(ways, x, n, options.seconds)})
                progress.advance(task)
    return cells


def _time(ways: dict[str, Callable[..., Any]], x: np.ndarray, n: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of each way: median, 10th and 90th percentile; `scaled` where fewer passes were timed."""
    counts: dict[str, int] = {}
    for way, run in ways.items():
        counts[way] = min(n, _EAGER_MOST) if way == "eager loop" else n
        run(x, 2)
        took = _once(run, x, min(counts[way], 4))
        if way in _LINEAR and took / min(counts[way], 4) * counts[way] > _LONG_S:
            counts[way] = max(2, min(counts[way], int(_LONG_S / took * 4)))
        elif "loop" not in way:
            run(x, counts[way])
    times: dict[str, list[float]] = {way: [] for way in ways}
    spent: dict[str, float] = dict.fromkeys(ways, 0.0)
    started = time.perf_counter()
    rounds = 0
    while rounds < 5 or (time.perf_counter() - started < seconds and rounds < 200):
        for way, run in ways.items():
            # A slow rival gets fewer turns, three at least; the quick ones and the floor get all of them.
            if rounds >= 3 and spent[way] > seconds / 4 and way not in ("ours", "floor"):
                continue
            took = _once(run, x, counts[way])
            times[way].append(took)
            spent[way] += took
        rounds += 1
    return {
        way.replace(" ", "_"): {
            "median_ms": statistics.median(took) * 1e3 * n / counts[way],
            "p10_ms": float(np.percentile(took, 10)) * 1e3,
            "p90_ms": float(np.percentile(took, 90)) * 1e3,
            "turns": len(took),
            "scaled": counts[way] != n,
        }
        for way, took in times.items()
    }


def _once(run: Callable[..., Any], x: np.ndarray, n: int) -> float:
    started = time.perf_counter()
    run(x, n)
    return time.perf_counter() - started


def _memory() -> dict[str, Any]:
    """Peak memory of many passes, each way in a process of its own, and how far their answers differ."""
    found = {}
    for way in ("blocks", "piece"):
        command = [sys.executable, "-m", "thinned.loadtest.benchmarks.engine", "--memory-only", way]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[way] = json.loads(done.stdout.splitlines()[-1])
    a, b = (np.array(found[way].pop("mean")) for way in ("blocks", "piece"))
    found["largest_difference"] = float(np.abs(a - b).max())
    return found


def _memory_here(way: str) -> dict[str, Any]:
    """What the passes add to the resident memory of a warm process, at its peak, in MB."""
    from thinned.loadtest.benchmarks import rivals
    from thinned.models.dropout import enable_mc_dropout

    stochastic = enable_mc_dropout(build("cnn"))
    run = rivals.ours(stochastic)
    x = np.random.default_rng(0).normal(size=(MEMORY_ROWS, 28, 28, 1)).astype("float32")
    run(x[:2], 64)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    if way == "blocks":
        run(x, MEMORY_SAMPLES)
    added = _resident("VmHWM") - before
    # In one piece 10,000 passes of 64 rows would take tens of gigabytes: the two ways are compared on fewer.
    compare = rivals.ours(stochastic, budget=None if way == "blocks" else 10**9)
    mean = np.concatenate([mean for mean, _ in compare(x, 96)])
    return {"added_mb": added, "mean": mean.tolist()}


def _resident(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the system does not tell {field}")


def _show(about: dict[str, str], cells: list[dict[str, Any]], memory: dict[str, Any] | None) -> None:
    console = Console(width=150)
    for key, value in about.items():
        console.print(f"{key}: {value}", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, title="milliseconds (median); ~ scaled from fewer passes")
    for name in ("network", "B", "N", *RIVALS, "ours / floor", "loop / ours", "tiled / ours"):
        table.add_column(name, justify="left" if name == "network" else "right")
    for cell in cells:
        medians = {way: cell[way.replace(" ", "_")]["median_ms"] for way in RIVALS}
        marks = {way: "~" if cell[way.replace(" ", "_")]["scaled"] else "" for way in RIVALS}
        table.add_row(
            cell["network"],
            str(cell["rows"]),
            str(cell["n_samples"]),
            *(f"{marks[way]}{medians[way]:.3g}" for way in RIVALS),
            f"{medians['ours'] / medians['floor']:.2f}",
            f"{medians['compiled loop'] / medians['ours']:.0f}",
            f"{medians['tiled'] / medians['ours']:.1f}",
        )
    console.print(table)
    if memory:
        console.print(
            f"cnn, {MEMORY_ROWS} rows, {MEMORY_SAMPLES} passes: {memory['blocks']['added_mb']:.0f} MB above the loaded "
            f"process; in blocks and in one piece (96 passes) the means differ by {memory['largest_difference']:.1e}",
            highlight=False,
        )


if __name__ == "__main__":
    raise SystemExit(main())
