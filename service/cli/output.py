"""Where commands print to: the console, tables, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["console", "print_json", "table"]

PIPED_WIDTH = 160


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; wide enough that nothing is cut where there is none."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else PIPED_WIDTH)


def table(*columns: str, rows: Sequence[Sequence[str]], title: str | None = None, right: Sequence[str] = ()) -> None:
    """Print rows under a head; columns in `right` stand flush right."""
    drawn = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        drawn.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console().print(drawn)


def print_json(document: Any) -> None:
    """Print one JSON document in one line."""
    print(json.dumps(document, allow_nan=False))
