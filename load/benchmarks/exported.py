"""What an exported file costs beside the engine: `python -m thinned.loadtest.benchmarks.exported NAME FOLDER...`.

The median time of mean, variance and entropies over N passes of B rows, by the engine and by each exported folder
(a SavedModel or ONNX), each in a process of its own with its runtime alone; and of the plain answer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thinned.loadtest.machine import describe_run
from thinned.models.compat.tensorflow import import_tensorflow

__all__ = ["main"]

ROWS, PASSES = (1, 16), (30, 100, 300)
SECONDS = 3.0
"""Of each cell."""
# As `bare_process.py`: a process that imports no more than the file's runtime, and NumPy.
TIMER = """
import importlib.util, json, statistics, sys, time
from pathlib import Path
import numpy as np
spec = importlib.util.spec_from_file_location("bare_process", sys.argv[1])
bare = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bare)
folder, arrays, seconds = Path(sys.argv[2]), np.load(sys.argv[3]), float(sys.argv[4])
onnx = not (folder / "saved_model.pb").exists()
found = []
for rows, passes in json.loads(sys.argv[5]):
    given = {name: arrays[name][:rows] for name in arrays.files}
    name = "predict" if passes == 0 else "passes" if onnx else "serving_default"
    run, numbers = bare.load(folder, name), {} if passes == 0 else {"n_samples": passes}
    times, end, seed = [], time.perf_counter() + seconds, 0
    while time.perf_counter() < end or len(times) < 5:
        seed += 1
        began = time.perf_counter()
        run(given | numbers | ({"seed": seed} if passes else {}))
        times.append(time.perf_counter() - began)
    found.append(statistics.median(times[2:]))
print(json.dumps(found))
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table in Markdown.

    Args:
        argv: Arguments of the command line; None for those of this process.
    """
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.benchmarks.exported", description=__doc__)
    parser.add_argument("name", help="the stored model that was exported")
    parser.add_argument("folders", nargs="+", type=Path, help="what thinned export wrote of it")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of each cell (default: {SECONDS:g})")
    options = parser.parse_args(argv)
    import_tensorflow()
    from thinned.models.loading import load

    model = load(options.name)
    rows = model.examples.rows(max(ROWS))
    cells = [(b, n) for b in ROWS for n in (0, *PASSES)]
    for key, value in describe_run().items():
        print(f"{key}: {value}")
    print(f"load average: {os.getloadavg()[0]:.1f}")
    columns = [[_time(model, {k: x[:b] for k, x in rows.items()}, n, options.seconds) for b, n in cells]]
    with tempfile.TemporaryDirectory(prefix="thinned-exported-") as home:
        np.savez(Path(home) / "rows.npz", **rows)  # type: ignore[arg-type]
        for folder in options.folders:
            columns.append(_time_bare(folder, Path(home) / "rows.npz", cells, options.seconds))
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            print(f"{folder}: {size / 2**20:.2f} MiB")
    print("| B | N | engine (ms) | " + " | ".join(f"{folder} (ms)" for folder in options.folders) + " |")
    print("| ---: " * (3 + len(options.folders)) + "|")
    for (b, n), *times in zip(cells, *columns, strict=True):
        print(f"| {b} | {n or 'none'} | " + " | ".join(f"{1000 * took:.3g}" for took in times) + " |")
    return 0


def _time(model: Any, rows: dict[str, Any], n: int, seconds: float) -> float:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        began = time.perf_counter()
        model.summary(rows, n_samples=n, seed=len(times)) if n else model.predict(rows)
        times.append(time.perf_counter() - began)
    return statistics.median(times[2:])


def _time_bare(folder: Path, rows: Path, cells: Sequence[tuple[int, int]], seconds: float) -> list[float]:
    from thinned.models.export import bare_process

    command = [sys.executable, "-I", "-c", TIMER, bare_process.__file__, folder, rows, str(seconds), json.dumps(cells)]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    return [float(took) for took in json.loads(done.stdout)]


if __name__ == "__main__":
    raise SystemExit(main())
