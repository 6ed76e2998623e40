"""Where commands print to: the console, tables, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

__all__ = ["console", "print_json", "progress_line", "table"]

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


@contextmanager
def progress_line(first: str) -> Iterator[Callable[[str], None]]:
    """A line on a terminal's stderr that says what is being done and since when; gives what changes its text.

    Without a terminal nothing is written: stderr is for errors then.
    """
    out = console(stderr=True)
    if not out.is_terminal:
        yield lambda _: None
        return
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=out, transient=True
    ) as line:
        task = line.add_task(first, total=None)
        yield lambda text: line.update(task, description=text)


def print_json(document: Any) -> None:
    """Print one JSON document in one line."""
    print(json.dumps(document, allow_nan=False))
