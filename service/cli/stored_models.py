"""`thinned models`, `thinned show`, `thinned delete`, `thinned alias`, `thinned rollback`: what the store holds."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from thinned.models.errors import UsageError
from thinned.service.cli import help_texts
from thinned.service.cli.completion import stored_names
from thinned.service.cli.options import StoredName
from thinned.service.cli.output import print_json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to `thinned`."""
    app.command("models", help=help_texts.MODELS)(_models)
    app.command("show", help=help_texts.SHOW)(_show)
    app.command("delete", help=help_texts.DELETE)(_delete)
    app.command("alias", help=help_texts.ALIAS)(_alias)
    app.command("rollback", help=help_texts.ROLLBACK)(_rollback)


def _models(
    as_json: Annotated[bool, typer.Option("--json", help="Print all cards as JSON.")] = False,
) -> None:
    """List the models in the store."""
    from thinned.models.storage.survey import survey
    from thinned.service.cli.model_tables import entry_json, print_models

    entries = survey()
    if as_json:
        print_json([entry_json(entry) for entry in entries])
    elif entries:
        print_models(entries)
    else:
        typer.echo(
            "The store is empty. Train an example (thinned train digits) or import a model (thinned import --help)."
        )


def _show(
    name: StoredName,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Show a model's card."""
    from thinned.models.storage.model_store import find
    from thinned.models.storage.survey import entry_of
    from thinned.service.cli.model_tables import entry_json, print_model

    stored = find(name)
    entry = entry_of(stored)
    if as_json:
        print_json(entry_json(entry))
    else:
        print_model(stored, entry)


def _delete(
    name: StoredName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a model."""
    from thinned.models.storage import model_store

    tags = model_store.tags(name)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"this would delete {', '.join(tags)}, and there is no terminal to ask on; pass --yes")
        typer.confirm(f"Delete {', '.join(tags)}?", abort=True)
    for tag in model_store.delete(name):
        typer.echo(f"Deleted {tag}")


def _alias(
    name: StoredName,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="Such as live.", show_default=False)],
    remove: Annotated[bool, typer.Option("--remove", help="Remove the alias.")] = False,
) -> None:
    """Have an alias point to a version."""
    from thinned.models.storage import pointers

    if remove:
        version = pointers.remove(name, alias)
        typer.echo(f"Removed the alias {name}@{alias}, which pointed to {name}:{version}; that version stays")
        return
    stored, before = pointers.set_alias(name, alias)
    was = "" if before in (None, stored.version) else f" (before: {stored.card.name}:{before})"
    typer.echo(f"{stored.card.name}@{alias} is {stored.tag} now{was}")


def _rollback(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="The model's name.", show_default=False, autocompletion=stored_names),
    ],
) -> None:
    """Go back to the version before."""
    from thinned.models.storage.pointers import rollback

    stored, before = rollback(name)
    made = f"{stored.card.created.astimezone():%Y-%m-%d %H:%M}"
    typer.echo(
        f"{name} is {stored.tag} now, made {made}; {name}:{before} stays in the store. A service that runs keeps what "
        "it has loaded until it loads anew."
    )
