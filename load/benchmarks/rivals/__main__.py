"""`make bench-rivals`: LitServe, Ray Serve, MLServer and plain FastAPI, each with the same network, beside Thinned.

Each rival runs in an environment of its own under `.rivals`, which this command makes. One that cannot be made is told
in a line, and the others are measured. docs/rivals.md says how each is set, and what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from thinned.loadtest.benchmarks.measured_services import run_python
from thinned.loadtest.benchmarks.rivals.contenders import CONTENDERS, RIVALS
from thinned.loadtest.benchmarks.rivals.environments import CannotInstallError, environment_of
from thinned.loadtest.benchmarks.rivals.figures import Figures
from thinned.loadtest.benchmarks.rivals.measuring import FULL, QUICK, Plan, measure_in_rounds
from thinned.loadtest.benchmarks.rivals.tables import aims_in_words, as_json, bars, contenders_table
from thinned.loadtest.machine import describe_run
from thinned.models.errors import ModelNotFoundError, ThinnedError
from thinned.models.storage.model_store import StoredModel, find

__all__ = ["main"]

OK, FAULT, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130
_ROWS = 16
_WIDTH = 160


def main(given: Sequence[str] | None = None) -> int:
    """Measure, and print the tables.

    Args:
        given: Arguments of the command line; None for those of this process.

    Returns:
        0, whether or not the aims were met; 1 where a contender failed or answered something else; 2 where nothing
        could be measured; 130 where it was interrupted, with what was measured until then.
    """
    options = _options(given)
    console, errors = Console(width=None if sys.stdout.isatty() else _WIDTH), Console(stderr=True)
    about = {**describe_run(), "load average before": f"{os.getloadavg()[0]:.2f}"}
    for name, text in about.items():
        console.print(f"{name}: {text}", highlight=False)
    figures: dict[str, Figures] = {}
    skipped: dict[str, str] = {}
    plan = QUICK if options.quick else FULL
    interrupted = False
    try:
        _measure(options.only or list(RIVALS), plan, figures, skipped, console)
    except KeyboardInterrupt:
        interrupted = True
        errors.print("Interrupted; all that was started has been stopped.")
    except (OSError, RuntimeError, ThinnedError, subprocess.SubprocessError) as error:
        errors.print(f"The benchmark could not run: {error}", markup=False, highlight=False)
        return COULD_NOT_RUN
    told = _tell(figures, plan, console, errors)
    if options.json:
        results = {**about, "skipped": skipped, "bars": told}
        titles = {one.name: one.title for one in CONTENDERS}
        results["contenders"] = {name: {"title": titles[name], **one.as_json()} for name, one in figures.items()}
        try:
            options.json.write_text(json.dumps(results, indent=2) + "\n")
        except OSError as error:
            errors.print(f"The figures could not be written: {error}", markup=False, highlight=False)
            return COULD_NOT_RUN
    if interrupted:
        return INTERRUPTED
    if not any(one.alone for one in figures.values()):
        return COULD_NOT_RUN
    return FAULT if any(one.fault for one in figures.values()) else OK


def _tell(figures: Mapping[str, Figures], plan: Plan, console: Console, errors: Console) -> list[dict[str, Any]]:
    """Print the table, the aims and what went wrong; return the aims."""
    contenders = {one.name: one for one in CONTENDERS}
    told = bars(figures, contenders)
    if figures:
        console.print(contenders_table(figures, contenders, plan.clients), highlight=False)
    for bar in told:
        console.print(aims_in_words(as_json(bar)), markup=False, highlight=False)
    for name, one in figures.items():
        if one.fault:
            errors.print(f"{contenders[name].title}: {one.fault}", markup=False, highlight=False)
    return [as_json(bar) for bar in told]


def _options(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m thinned.loadtest.benchmarks.rivals", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, to see that everything works")
    parser.add_argument("--only", nargs="+", choices=list(RIVALS), metavar="RIVAL", help=f"of {', '.join(RIVALS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    options = parser.parse_args(given)
    if options.json and not options.json.resolve().parent.is_dir():
        parser.error(f"--json: expected a file in a folder that is there, received {options.json}")
    return options


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _measure(
    names: Sequence[str], plan: Plan, figures: dict[str, Figures], skipped: dict[str, str], console: Console
) -> None:
    """Make the environments, and measure who has one; fill `figures`, and `skipped` with why the others have none."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def tick(step: str) -> None:
            progress.update(task, description=step, advance=1)

        pythons = {"thinned": Path(sys.executable)}
        for name in names:
            tick(f"the environment of {RIVALS[name].title} (made once)")
            try:
                pythons[name] = environment_of(name, RIVALS[name])
            except CannotInstallError as error:
                skipped[name] = str(error)
                console.print(f"{RIVALS[name].title} is left out: {error}", markup=False, highlight=False)
        found = [(one, pythons[one.rival]) for one in CONTENDERS if one.rival in pythons]
        runs = sum(1 if one.way == "loop" else plan.rounds for one, _ in found)
        progress.update(task, total=runs + len(names) + 1)
        tick("the network `digits`")
        measure_in_rounds(found, _rows(), _stored(), plan=plan, tick=tick, figures=figures)


def _rows() -> NDArray[np.float32]:
    """Held-out images, (B, 8, 8, 1)."""
    from thinned.models.examples import digits

    rows: NDArray[np.float32] = digits.data().x_test[:_ROWS]
    return rows


def _stored() -> StoredModel:
    """The stored network, which is trained if the store has none."""
    try:
        return find("digits")
    except ModelNotFoundError:
        run_python("-m", "thinned", "train", "digits")
        return find("digits")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    raise SystemExit(main())
