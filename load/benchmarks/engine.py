"""`make bench`: time of a mean and a variance over N passes, for the engine and for other ways to compute them.

All are timed in turns in one run, so that a change of the machine's speed affects all alike; compare their ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from thinned.loadtest.benchmarks.networks import NETWORKS, build
from thinned.loadtest.benchmarks.ratios import (
    RATIOS,
    Cell,
    figures_of,
    growth,
    machine_of,
    over_floor,
    read_figures,
    slower_cells,
)
from thinned.loadtest.machine import describe_run
from thinned.models.compat.tensorflow import import_tensorflow
from thinned.service.inference.threads import set_threads

if TYPE_CHECKING:
    from thinned.loadtest.benchmarks.estimators import Estimator

__all__ = ["main"]

ROWS = (1, 16, 64)
SAMPLES = (10, 30, 100, 300)
_LOOPS = ("graph loop", "compiled loop", "eager loop")
ESTIMATORS = ("ours", "ready", "independent", "floor", "tiled", *_LOOPS, "deterministic", "bare")
_MAX_EAGER_PASSES = 30
# The time of these grows linearly with N: one that takes longer than _MAX_CALL_S is timed with fewer passes and scaled.
_LINEAR = ("tiled", *_LOOPS)
_MAX_CALL_S = 0.6
MEMORY_ROWS, MEMORY_SAMPLES = 64, 10_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table.

    Args:
        argv: Arguments of the command line; None for those of this process.

    Returns:
        0; 1 where something became slower than in the committed figures, twice in a row; 2 where these cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.benchmarks.engine", description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--rows", nargs="+", type=int, default=list(ROWS), metavar="B")
    parser.add_argument("--samples", nargs="+", type=int, default=list(SAMPLES), metavar="N")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds for each network, B and N (default: 2)")
    parser.add_argument("--quick", action="store_true", help="N = 30 and 100, half a second each")
    parser.add_argument("--threads", type=int, default=0, help="threads of TensorFlow; 0: as many as the service uses")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="what computes (default: cpu)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="figures to compare with (default: those of the device)"
    )
    parser.add_argument("--update", action="store_true", help="write the figures that later runs are compared with")
    parser.add_argument("--memory-only", choices=("blocks", "piece"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    set_threads(options.threads)
    if options.memory_only:
        import_tensorflow()
        print(json.dumps(_memory_of_this_process(options.memory_only)))
        return 0
    if options.quick:
        options.samples, options.seconds = [30, 100], 0.5
    options.against = options.against or figures_of(options.device)
    try:
        before = [] if options.update else read_figures(options.against)
    except ValueError as error:
        print(f"{error}; name another with --against, or write it anew with --update", file=sys.stderr)
        return 2
    import_tensorflow()
    if not _placed_on(options.device):
        print("TensorFlow finds no GPU here; leave --device out, or see docs/gpu.md", file=sys.stderr)
        return 2
    about = {**describe_run(), "threads": f"TensorFlow computes with {os.environ['TF_NUM_INTRAOP_THREADS']}"}
    cells = [cell for name in options.networks for cell in _time_network(name, options)]
    memory = None if options.no_memory else _peak_memory()
    _show(about, cells, memory)
    document = json.dumps({"about": about, "cells": cells, "memory": memory}, indent=1) + "\n"
    for path in filter(None, (options.json, figures_of(options.device) if options.update else None)):
        path.write_text(document, encoding="utf-8")
    return _compare(cells, before, options, about["machine"])


def _placed_on(device: str) -> bool:
    """Have all be computed there; whether that can be."""
    import tensorflow as tf

    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
        return True
    return bool(tf.config.list_physical_devices("GPU"))


def _compare(cells: list[dict[str, Any]], before: Sequence[Cell], options: argparse.Namespace, machine: str) -> int:
    """Say what became slower; what seems so is timed again, since a machine has bad minutes.

    It is a fault only beside figures of this kind of machine.
    """
    slower = slower_cells(cells, before)
    if slower:
        print(f"{len(slower)} ratios are worse than in {options.against}; they are timed again.")
        again = argparse.Namespace(**vars(options))
        found: list[dict[str, Any]] = []
        for name in dict.fromkeys(cell.network for cell in slower):
            again.rows = sorted({cell.rows for cell in slower if cell.network == name})
            again.samples = sorted({cell.n_samples for cell in slower if cell.network == name})
            found += _time_network(name, again)
        worse = {cell[:4] for cell in slower_cells(found, before)}
        slower = [cell for cell in slower if cell[:4] in worse]
    elif before:
        print(f"Nothing is slower than in {options.against}, by its ratio to the floor.")
    for cell in slower:
        print(cell)
    if slower and (other := machine_of(options.against)) != machine:
        print(
            f"Those figures are of another machine ({other}), so this is no fault; --against takes those of this one."
        )
        return 0
    return int(bool(slower))


def _time_network(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time all estimators on one network, for each B and N."""
    from thinned.loadtest.benchmarks import estimators
    from thinned.models.dropout import enable_mc_dropout

    keras_model, other = build(name), build(name)
    model = enable_mc_dropout(keras_model)
    runs: dict[str, Estimator] = {
        "ours": estimators.engine_summary(model),
        "ready": estimators.ReadySummary(model),
        "independent": estimators.engine_summary(model, "independent"),
        "floor": estimators.lower_bound(model),
        "tiled": estimators.tiled_batch(other),
        "compiled loop": estimators.compiled_loop(other),
        "graph loop": estimators.graph_loop(other),
        "eager loop": estimators.eager_loop(other),
        "deterministic": estimators.engine_predict(model),
        "bare": estimators.keras_predict(keras_model),
    }
    shape = tuple(keras_model.inputs[0].shape[1:])
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
                times = _time_in_turns(runs, x, n, options.seconds)
                cells.append({"network": name, "rows": rows, "n_samples": n, **times})
                progress.advance(task)
    return cells


def _time_in_turns(runs: dict[str, Estimator], x: np.ndarray, n: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of each estimator: median, 10th and 90th percentile; `scaled` where fewer passes were timed."""
    counts: dict[str, int] = {}
    for name, run in runs.items():
        counts[name] = min(n, _MAX_EAGER_PASSES) if name == "eager loop" else n
        run(x, 2)
        took = _seconds(run, x, min(counts[name], 4))
        if name in _LINEAR and took / min(counts[name], 4) * counts[name] > _MAX_CALL_S:
            counts[name] = max(2, min(counts[name], int(_MAX_CALL_S / took * 4)))
        elif "loop" not in name:
            run(x, counts[name])
    times: dict[str, list[float]] = {name: [] for name in runs}
    spent: dict[str, float] = dict.fromkeys(runs, 0.0)
    started = time.perf_counter()
    rounds = 0
    while rounds < 5 or (time.perf_counter() - started < seconds and rounds < 200):
        # In another order each time: whoever follows a loop over Keras finds caches and memory as that has left them.
        for name in np.random.default_rng(rounds).permutation(list(runs)).tolist():
            run = runs[name]
            # A slow estimator is timed less often, but at least three times; "ours", "ready", "floor" in every round.
            if rounds >= 3 and spent[name] > seconds / 4 and name not in ("ours", "ready", "floor"):
                continue
            took = _seconds(run, x, counts[name])
            times[name].append(took)
            spent[name] += took
        rounds += 1
    ratios = {name: over_floor(times[name], times["floor"]) for name in RATIOS}
    return {"ratios": ratios} | {
        name.replace(" ", "_"): {
            "median_ms": statistics.median(took) * 1e3 * n / counts[name],
            "p10_ms": float(np.percentile(took, 10)) * 1e3,
            "p90_ms": float(np.percentile(took, 90)) * 1e3,
            "turns": len(took),
            "scaled": counts[name] != n,
        }
        for name, took in times.items()
    }


def _seconds(run: Estimator, x: np.ndarray, n: int) -> float:
    refill = getattr(run, "refill", None)
    if refill is not None:
        refill(x, n)
    started = time.perf_counter()
    run(x, n)
    return time.perf_counter() - started


def _peak_memory() -> dict[str, Any]:
    """Peak memory of many passes, in blocks and in one piece, each in its own process; and the difference of means."""
    found = {}
    for mode in ("blocks", "piece"):
        command = [sys.executable, "-m", "thinned.loadtest.benchmarks.engine", "--memory-only", mode]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[mode] = json.loads(done.stdout.splitlines()[-1])
    a, b = (np.array(found[mode].pop("mean")) for mode in ("blocks", "piece"))
    found["largest_difference"] = float(np.abs(a - b).max())
    return found


def _memory_of_this_process(mode: str) -> dict[str, Any]:
    """Peak resident memory of the passes above that of the loaded process, in MB."""
    from thinned.loadtest.benchmarks import estimators
    from thinned.models.dropout import enable_mc_dropout

    model = enable_mc_dropout(build("cnn"))
    run = estimators.engine_summary(model)
    x = np.random.default_rng(0).normal(size=(MEMORY_ROWS, 28, 28, 1)).astype("float32")
    run(x[:2], 64)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak so far
    if mode == "blocks":
        run(x, MEMORY_SAMPLES)
    added = _resident("VmHWM") - before
    # In one piece 10,000 passes of 64 rows would need tens of gigabytes: the means are compared over 96 passes.
    compare = estimators.engine_summary(model, row_passes=None if mode == "blocks" else 10**9)
    mean, _ = compare(x, 96)
    return {"added_mb": added, "mean": mean.tolist()}


def _resident(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no field {field}")


def _show(about: dict[str, str], cells: list[dict[str, Any]], memory: dict[str, Any] | None) -> None:
    console = Console(width=168)
    for key, value in about.items():
        console.print(f"{key}: {value}", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, title="milliseconds (median); ~ scaled from fewer passes")
    for name in ("network", "B", "N", *ESTIMATORS, "ours / floor", "ready / floor", "loop / ours", "tiled / ours"):
        table.add_column(name, justify="left" if name == "network" else "right")
    for cell in cells:
        medians = {name: cell[name.replace(" ", "_")]["median_ms"] for name in ESTIMATORS}
        marks = {name: "~" if cell[name.replace(" ", "_")]["scaled"] else "" for name in ESTIMATORS}
        table.add_row(
            cell["network"],
            str(cell["rows"]),
            str(cell["n_samples"]),
            *(f"{marks[name]}{medians[name]:.3g}" for name in ESTIMATORS),
            *(f"{cell['ratios'][name]['median']:.2f}" for name in RATIOS),
            f"{medians['compiled loop'] / medians['ours']:.0f}",
            f"{medians['tiled'] / medians['ours']:.1f}",
        )
    console.print(table)
    _show_growth(console, cells)
    if memory:
        console.print(
            f"cnn, {MEMORY_ROWS} rows, {MEMORY_SAMPLES} passes: {memory['blocks']['added_mb']:.0f} MB above the loaded "
            f"process; in blocks and in one piece (96 passes) the means differ by {memory['largest_difference']:.1e}",
            highlight=False,
        )


def _show_growth(console: Console, cells: list[dict[str, Any]]) -> None:
    lines = growth(cells)
    if not lines:
        return
    table = Table(box=box.SIMPLE_HEAD, title="milliseconds of a call, about a + b N")
    for name in ("network", "B", "a (ms)", "b (µs)", "b of the floor (µs)", "row-passes / s"):
        table.add_column(name, justify="left" if name == "network" else "right")
    for line in lines:
        numbers = (line.base_ms, line.pass_us, line.floor_pass_us)
        shown = [f"{number:.3g}" for number in numbers]
        table.add_row(line.network, str(line.rows), *shown, f"{line.row_passes_per_second:,.0f}")
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(main())
