"""`thinned load` and `thinned compare`: the load laboratory, which runs in a process of its own.

Locust replaces the standard library's sockets in the process that imports it, and the service does not import `load`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from thinned import HOME
from thinned.service.cli.options import require_extra

__all__ = ["register"]

_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def register(app: typer.Typer) -> None:
    """Add the two commands."""
    app.command("load", context_settings=_PASSED_ON, help="Measure what each sample count costs, and what it buys.")(
        load
    )
    app.command("compare", context_settings=_PASSED_ON, help="Say what changed between two results of `thinned load`.")(
        compare
    )


def load(context: typer.Context) -> None:
    """Become the sweep."""
    _become("thinned.loadtest", context.args)


def compare(context: typer.Context) -> None:
    """Become the comparison."""
    _become("thinned.loadtest.report.compare", context.args)


def _become(module: str, arguments: Sequence[str]) -> NoReturn:
    """Turn into `python -m MODULE`, with the person's terminal, folder and signals.

    Raises:
        UsageError: What the load needs is not installed.
    """
    require_extra("load", "locust")
    path = os.pathsep.join([str(HOME), *filter(None, [os.environ.get("PYTHONPATH")])])
    sys.stdout.flush()
    sys.stderr.flush()
    # -P: a folder named `load` where the person stands does not come first.
    command = [sys.executable, "-P", "-m", module, *arguments]
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": path})
