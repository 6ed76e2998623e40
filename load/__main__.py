"""`thinned load`: measure every sample count under every load, its latency and its precision, and write a report."""

from __future__ import annotations

import datetime
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import gevent
from locust.log import setup_logging
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from thinned import HOME
from thinned.loadtest.machine import describe_run
from thinned.loadtest.report.screen import print_summary
from thinned.loadtest.report.write import write_report
from thinned.loadtest.service_process import (
    Service,
    ServiceDidNotStartError,
    free_port,
    python_path,
    serving,
    serving_bentoml,
)
from thinned.loadtest.sweep.data_rows import RowsError, load_rows
from thinned.loadtest.sweep.measure import MeasuredService
from thinned.loadtest.sweep.options import SweepOptions, parse_options
from thinned.loadtest.sweep.process_usage import listening_processes, process_tree
from thinned.loadtest.sweep.recommend import recommend
from thinned.loadtest.sweep.results_document import MISSED, assemble, write_results
from thinned.loadtest.sweep.session import SweepSession
from thinned.loadtest.users import fetch_card

__all__ = ["main"]

OK, SLO_MISSED, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130
PIPED_WIDTH = 160


class CannotRunError(RuntimeError):
    """The sweep cannot be run with the given options; the message says what to change."""


def main(given: Sequence[str] | None = None) -> int:
    """Run a sweep and write its results.

    Args:
        given: Arguments of the command line; None for those of this process.

    Returns:
        0 done, and the objectives met if there were any; 1 missed; 2 could not run; 130 interrupted.
    """
    options = parse_options(given)
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    errors = Console(stderr=True)
    setup_logging("ERROR")
    _raise_signals_here()
    began = datetime.datetime.now(datetime.UTC)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            session = stack.enter_context(_session(options, console))
            interrupted = _measure(session, console)
    except KeyboardInterrupt:
        errors.print("Interrupted before anything was measured; everything that was started has been stopped.")
        return INTERRUPTED
    except (CannotRunError, ServiceDidNotStartError, RowsError, OSError, ValueError) as error:
        errors.print(f"The load could not run: {error!s}", markup=False, highlight=False)
        return COULD_NOT_RUN
    results = _results(options, session, _about(options, session, began, given), interrupted)
    write_results(results, options.out, session.measurements)
    write_report(results, options.out)
    print_summary(results, console)
    console.print(f"Written to {options.out}: report.html, report.md, results.json, plots, Locust's page and CSV.")
    if interrupted:
        errors.print(f"Interrupted: the results are partial ({interrupted}).")
        return INTERRUPTED
    return SLO_MISSED if results["verdict"] == MISSED else OK


def _results(
    options: SweepOptions, session: SweepSession, about: dict[str, Any], interrupted: str | None
) -> dict[str, Any]:
    results = assemble(
        session.measurements,
        about=about,
        slo=options.slo,
        precision=session.precision,
        largest_rates=session.largest_rates,
        interrupted=interrupted,
    )
    results["recommendation"] = recommend(
        results["cells"], session.precision, slo=options.slo, tolerance=options.tolerance
    )
    return results


def _measure(session: SweepSession, console: Console) -> str | None:
    """Run the session with a progress bar; returns how far it came, in words, if it was interrupted."""
    minutes = max(1, round(session.planned_s / 60))
    planned = session.planned_measurements
    console.print(f"{planned} measurements, about {minutes} min; Ctrl-C ends it and keeps what is done.")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=session.planned_s)

        def on_progress(step: str, completed_s: float) -> None:
            progress.update(task, description=step, advance=completed_s)
            if not console.is_terminal and completed_s == 0:
                console.print(step, highlight=False)

        try:
            session.run(on_progress)
        except KeyboardInterrupt:
            done = sum(len(repeats) for repeats in session.measurements.values())
            return f"{done} of {planned} measurements were done"
        finally:
            session.close()
    return None


@contextmanager
def _session(options: SweepOptions, console: Console) -> Iterator[SweepSession]:
    """A session over the service, started here unless it runs already, and over the baseline if it is asked for."""
    with ExitStack() as stack:
        if options.target:
            url, processes = options.target, listening_processes(options.target)
        else:
            console.print("Starting the service (and training its model, if the store has none) ...")
            service = stack.enter_context(_start_service(options.model))
            url, processes = service.url, process_tree(service.pid)
        try:
            card = fetch_card(url)
        except (OSError, ValueError) as error:
            raise CannotRunError(f"{url}/model did not answer with a model's card ({error})") from error
        _check_samples(options, card)
        data = load_rows(card, options.data, seed=options.seed)
        services = {"service": MeasuredService(url, card, data, processes)}
        if options.baseline:
            console.print("Starting the baseline, load/naive_service.py ...")
            baseline = stack.enter_context(_start_baseline(f"{card['name']}:{card['version']}"))
            services["baseline"] = MeasuredService(baseline.url, card, data, process_tree(baseline.pid))
        yield SweepSession(options, services)


def _start_service(model: str | None) -> AbstractContextManager[Service]:
    port = free_port()
    command = [sys.executable, "-P", "-m", "thinned.service.cli.main", "serve"]
    command += [*([model] if model else []), "--port", str(port)]
    return serving(command, port, {"PYTHONPATH": python_path()})


def _start_baseline(tag: str) -> AbstractContextManager[Service]:
    variables = {"PYTHONPATH": python_path(), "THINNED_MODEL": tag}
    options = ["--working-dir", str(HOME)]
    return serving_bentoml("thinned.loadtest.naive_service:NaiveService", variables, options=options)


def _check_samples(options: SweepOptions, card: dict[str, Any]) -> None:
    """Refuse sample counts that the service would not answer."""
    most = card.get("limits", {}).get("max_samples")
    if most and max(options.samples) > most:
        raise CannotRunError(f"the service answers at most {most} samples (THINNED_MAX_SAMPLES); lower --samples")
    if not card["sites"] and not card.get("members") and max(options.samples):
        raise CannotRunError(f"{card['name']} draws no noise, so it answers no sample count; pass --samples 0")


def _about(
    options: SweepOptions, session: SweepSession, began: datetime.datetime, given: Sequence[str] | None
) -> dict[str, Any]:
    """`run`, `model` and `settings` of the results document."""
    run = describe_run()
    service = session.services["service"]
    card = service.card
    command = shlex.join(["thinned", "load", *(sys.argv[1:] if given is None else given)])
    return {
        "run": {
            "command": command,
            "started": began.isoformat(timespec="seconds"),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": run["machine"],
            "versions": run["versions"],
        },
        "model": {
            "name": card["name"],
            "version": card["version"],
            "sha256": card["sha256"],
            "sites": len(card["sites"]),
            "prefix_share": card["split"]["prefix_share"],
            "rows_from": service.data.origin,
        },
        "settings": {**options.as_json(), "limits": card.get("limits", {})},
    }


def _raise_signals_here() -> None:
    """Raise on SIGINT and SIGTERM in the current greenlet, so that its context managers stop the services.

    Without this the exception would be raised in whichever greenlet runs at that moment.
    """
    throw: Callable[..., Any] = gevent.getcurrent().throw
    gevent.signal_handler(signal.SIGINT, throw, KeyboardInterrupt)
    gevent.signal_handler(signal.SIGTERM, throw, SystemExit(128 + signal.SIGTERM))


def _main_or_2() -> int:
    """Run `main`; an unexpected exception is exit status 2, because 1 means that the objectives were missed."""
    try:
        return main()
    except Exception:
        traceback.print_exc()
        return COULD_NOT_RUN


if __name__ == "__main__":
    sys.exit(_main_or_2())
