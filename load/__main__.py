"""`thinned load`: every sample count under every load, what it costs and what it buys, and a report of it."""

from __future__ import annotations

import datetime
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import gevent
from locust.log import setup_logging
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from thinned import HOME
from thinned.loadtest.machine import describe
from thinned.loadtest.report.tables import print_tables
from thinned.loadtest.report.write import write_report
from thinned.loadtest.service_process import Service, ServiceDidNotStartError, free_port, python_path, serving
from thinned.loadtest.sweep.data_rows import RowsError, gather
from thinned.loadtest.sweep.measure import Place
from thinned.loadtest.sweep.options import Options, parse
from thinned.loadtest.sweep.process_usage import family, listener
from thinned.loadtest.sweep.recommend import recommend
from thinned.loadtest.sweep.results_document import MISSED, assemble, write
from thinned.loadtest.sweep.session import Bench
from thinned.loadtest.users import fetch_card

__all__ = ["main"]

OK, SLO_MISSED, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130
PIPED_WIDTH = 160


class CannotRunError(RuntimeError):
    """The sweep cannot be run as it was asked for; the text says what to change."""


def main(given: Sequence[str] | None = None) -> int:
    """Runs the sweep and writes its results.

    Returns:
        0 done, and the objectives met if there were any; 1 missed; 2 could not run; 130 interrupted.
    """
    options = parse(given)
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    errors = Console(stderr=True)
    setup_logging("ERROR")
    _end_here_on_signals()
    began = datetime.datetime.now(datetime.UTC)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            bench = stack.enter_context(_ready(options, console))
            interrupted = _measure(bench, console)
    except KeyboardInterrupt:
        errors.print("Interrupted before anything was measured; everything that was started has been stopped.")
        return INTERRUPTED
    except (CannotRunError, ServiceDidNotStartError, RowsError, OSError, ValueError) as error:
        errors.print(f"The load could not run: {error!s}", markup=False, highlight=False)
        return COULD_NOT_RUN
    results = _results(options, bench, _about(options, bench, began, given), interrupted)
    write(results, options.out, bench.runs)
    write_report(results, options.out)
    print_tables(results, console)
    console.print(f"Written to {options.out}: report.html, report.md, results.json, plots, Locust's page and CSV.")
    if interrupted:
        errors.print(f"Interrupted: the results are partial ({interrupted}).")
        return INTERRUPTED
    return SLO_MISSED if results["verdict"] == MISSED else OK


def _results(options: Options, bench: Bench, about: dict[str, Any], interrupted: str | None) -> dict[str, Any]:
    results = assemble(
        bench.runs,
        about=about,
        slo=options.slo,
        precision=bench.precision,
        ceilings=bench.ceilings,
        interrupted=interrupted,
    )
    results["recommendation"] = recommend(
        results["cells"], bench.precision, slo=options.slo, tolerance=options.tolerance
    )
    return results


def _measure(bench: Bench, console: Console) -> str | None:
    """Does all that is planned, with a bar of the time left; how far it came if it was interrupted."""
    minutes = max(1, round(bench.planned_s / 60))
    console.print(f"{bench.planned_runs} measurements, about {minutes} min; Ctrl-C ends it and keeps what is done.")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=bench.planned_s)

        def tell(what: str, spent_s: float) -> None:
            progress.update(bar, description=what, advance=spent_s)
            if not console.is_terminal and spent_s == 0:
                console.print(what, highlight=False)

        try:
            bench.run(tell)
        except KeyboardInterrupt:
            done = sum(len(runs) for runs in bench.runs.values())
            return f"{done} of {bench.planned_runs} measurements were done"
        finally:
            bench.close()
    return None


@contextmanager
def _ready(options: Options, console: Console) -> Iterator[Bench]:
    """The services that are to be measured, running, and what is known of their model."""
    with ExitStack() as stack:
        if options.target:
            url, processes = options.target, listener(options.target)
        else:
            console.print("Starting the service (and training its model, if the store has none) ...")
            service = stack.enter_context(_service(options.model))
            url, processes = service.url, family(service.pid)
        try:
            card = fetch_card(url)
        except (OSError, ValueError) as error:
            raise CannotRunError(f"{url}/model did not answer with a model's card ({error})") from error
        _check(options, card)
        data = gather(card, options.data, seed=options.seed)
        places = {"service": Place(url, card, data, processes)}
        if options.baseline:
            console.print("Starting the baseline, load/naive_service.py ...")
            naive = stack.enter_context(_baseline(f"{card['name']}:{card['version']}"))
            places["baseline"] = Place(naive.url, card, data, family(naive.pid))
        yield Bench(options, places)


def _service(model: str | None) -> Any:
    port = free_port()
    command = [
        sys.executable,
        "-P",
        "-m",
        "thinned.service.cli.main",
        "serve",
        *([model] if model else []),
        "--port",
        str(port),
    ]
    return serving(command, port, {"PYTHONPATH": python_path()})


@contextmanager
def _baseline(tag: str) -> Iterator[Service]:
    port = free_port()
    target = ["thinned.loadtest.naive_service:NaiveService", "--working-dir", str(HOME), "--port", str(port)]
    command = [sys.executable, "-m", "bentoml", "serve", *target, "--host", "127.0.0.1"]
    given = {"PYTHONPATH": python_path(), "THINNED_MODEL": tag, "BENTOML_DO_NOT_TRACK": "True"}
    with serving(command, port, given) as service:
        yield service


def _check(options: Options, card: dict[str, Any]) -> None:
    most = card.get("limits", {}).get("max_samples")
    if most and max(options.samples) > most:
        raise CannotRunError(f"the service answers at most {most} samples (THINNED_MAX_SAMPLES); lower --samples")
    if not card["sites"] and max(options.samples):
        raise CannotRunError(f"{card['name']} draws no noise, so it answers no sample count; pass --samples 0")


def _about(options: Options, bench: Bench, began: datetime.datetime, given: Sequence[str] | None) -> dict[str, Any]:
    described = describe()
    card = bench.places["service"].card
    command = shlex.join(["thinned", "load", *(sys.argv[1:] if given is None else given)])
    return {
        "run": {
            "command": command,
            "started": began.isoformat(timespec="seconds"),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": described["machine"],
            "versions": described["versions"],
        },
        "model": {
            "name": card["name"],
            "version": card["version"],
            "sha256": card["sha256"],
            "sites": len(card["sites"]),
            "prefix_share": card["split"]["prefix_share"],
            "rows_from": bench.places["service"].data.origin,
        },
        "settings": {**options.as_json(), "limits": card.get("limits", {})},
    }


def _end_here_on_signals() -> None:
    """Has Ctrl-C and SIGTERM end this greenlet, and so stop the services; they would hit whichever happens to run."""
    here = gevent.getcurrent()
    throw: Callable[..., Any] = here.throw
    gevent.signal_handler(signal.SIGINT, throw, KeyboardInterrupt)
    gevent.signal_handler(signal.SIGTERM, throw, SystemExit(128 + signal.SIGTERM))


def _main_or_2() -> int:
    """Ends with 2 on an error of ours as well: 1 would tell a CI that the objectives were missed."""
    try:
        return main()
    except Exception:
        traceback.print_exc()
        return COULD_NOT_RUN


if __name__ == "__main__":
    sys.exit(_main_or_2())
