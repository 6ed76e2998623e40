"""`thinned token`: a new token for whoever may ask a service, and its line for the file of tokens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

HELP = """Make a token, and its line for the file that THINNED_TOKENS names.

The token is printed once and kept nowhere; the file holds its SHA-256. Who asks sends it in the header
`authorization: Bearer TOKEN`. A service reads its file again at SIGHUP.

\b
Examples:
  thinned token alice --file tokens.txt
  thinned token batch --rate 5000
  thinned token deploy --admin --file tokens.txt
"""


def register(app: typer.Typer) -> None:
    """Add the command to `thinned`."""
    app.command("token", help=HELP)(_token)


def _token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose token it is, for the log.", show_default=False)],
    rate: Annotated[
        float | None,
        typer.Option(
            help="Row-passes a second that it may ask for on average; no limit by default.", show_default=False
        ),
    ] = None,
    admin: Annotated[
        bool, typer.Option("--admin", help="It may also have the service follow a newer version.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(help="File to add the line to; made for you alone if it is not there.", show_default=False),
    ] = None,
) -> None:
    from thinned.service.http.tokens import new_token

    token, line = new_token(name, rate, admin=admin)
    if file is None:
        typer.echo(f"token: {token}\nline:  {line}")
        return
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as lines:
        lines.write(f"{line}\n")
    typer.echo(f"token: {token}")
