"""`thinned models`, `thinned show` and `thinned delete`: what the store holds."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from thinned.models.errors import UsageError
from thinned.service.cli import help_texts
from thinned.service.cli.options import StoredName
from thinned.service.cli.output import print_json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to `thinned`."""
    app.command("models", help=help_texts.MODELS)(_models)
    app.command("show", help=help_texts.SHOW)(_show)
    app.command("delete", help=help_texts.DELETE)(_delete)


def _models(
    as_json: Annotated[bool, typer.Option("--json", help="Print all cards as JSON.")] = False,
) -> None:
    """List the models in the store."""
    from thinned.models.storage.model_store import find_all
    from thinned.service.cli.tables import card_json, print_models

    stored = find_all()
    if as_json:
        print_json([card_json(item) for item in stored])
    elif stored:
        print_models(stored)
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
    from thinned.service.cli.tables import card_json, print_model

    stored = find(name)
    if as_json:
        print_json(card_json(stored))
    else:
        print_model(stored)


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
    for tag in tags:
        model_store.delete(tag)
        typer.echo(f"Deleted {tag}")
