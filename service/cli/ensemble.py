"""`thinned ensemble`: several stored models made one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from thinned.service.cli.completion import stored_names
from thinned.service.cli.output import progress_line

__all__ = ["register"]

HELP = """Make one model of several: an ensemble.

The members must take and answer the same. The ensemble holds copies of them, and is stored, shown, served, scored and
calibrated as any model is.

Its answer is the mean of the members' answers. Over passes each member draws as many, and the variance is the sum of
two parts: within members (their dropout) and between them. Members without dropout will do: then all of the variance
is between them, and passes cost nothing.

\b
Examples:
  thinned ensemble house-1 house-2 house-3 --name house
  thinned ensemble house:k5lq2hwbccb4xcft house@live --name house-both
"""


def register(app: typer.Typer) -> None:
    """Add the command to `thinned`."""
    app.command("ensemble", help=HELP)(_ensemble)


def _ensemble(
    members: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL MODEL...",
            help="Two stored models or more: NAME, NAME:VERSION or NAME@ALIAS.",
            show_default=False,
            autocompletion=stored_names,
        ),
    ],
    name: Annotated[
        str, typer.Option(help="Its name in the store. A name that is there gets a new version.", show_default=False)
    ],
    note: Annotated[str | None, typer.Option(help="A few words on this version.", show_default=False)] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Take the place of a version that takes or answers something else: other shapes, task, or labels.",
        ),
    ] = False,
) -> None:
    """Make an ensemble of stored models."""
    from thinned.models.storage.model_store import find

    found = [find(member) for member in members]
    from thinned.models.storage.ensemble import make_ensemble
    from thinned.models.storage.import_request import current_version
    from thinned.service.cli.model_tables import print_stored

    before, began = current_version(name), datetime.now(UTC)
    with progress_line("Starting TensorFlow") as on_step:
        stored = make_ensemble(found, name=name, note=note, replace=replace, on_step=on_step)
    if stored.card.created < began:
        typer.echo(
            f"The same ensemble is {stored.tag} already, which is the latest version of {stored.card.name}. Nothing "
            "was stored."
        )
        return
    print_stored(stored, before)
