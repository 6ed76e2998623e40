"""Where commands print to: the console, tables, JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

__all__ = ["console", "print_json", "progress_line", "row_bar", "table"]

PIPED_WIDTH = 160
_BETWEEN = 3
"""Blanks beside each column."""
_MOST_WORD = 40
"""Longer words are broken: they are paths, or no words at all."""
_LEAST_NAME = 4


def console(*, stderr: bool = False) -> Console:
    """A console as wide as COLUMNS or the terminal; wide enough that nothing is cut where there is neither."""
    stream = sys.stderr if stderr else sys.stdout
    asked = os.environ.get("COLUMNS", "")
    width = int(asked) if asked.isdecimal() and int(asked) > 0 else None if stream.isatty() else PIPED_WIDTH
    return Console(stderr=stderr, highlight=False, width=width)


def table(
    *columns: str,
    rows: Sequence[Sequence[str]],
    title: str | None = None,
    right: Sequence[str] = (),
    repeat: int = 1,
    out: Console | None = None,
) -> None:
    """Print rows under a head, no wider than the console.

    Text is broken between words where there is too little room, numbers never. Where that is not enough, columns go
    below the others, with the first ones in front of them again.

    Args:
        columns: Their heads.
        rows: Cells, of which a line break starts another line.
        title: Above it.
        right: Columns that stand flush right: those of numbers.
        repeat: Number of columns at the left that say what a row is.
        out: Where to; the console of the command line by default.
    """
    out = console() if out is None else out
    for block in blocks_of([*zip(columns, *rows, strict=True)], out.width, right=right, repeat=repeat):
        drawn = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
        for place, width in block.items():
            side: Literal["left", "right"] = "right" if columns[place] in right else "left"
            drawn.add_column(Text(columns[place]), justify=side, overflow="fold", width=width)
        for row in rows:
            drawn.add_row(*(Text(row[place]) for place in block))
        out.print(drawn)
        title = None


def blocks_of(
    columns: Sequence[Sequence[str]], width: int, *, right: Sequence[str], repeat: int
) -> list[dict[int, int]]:
    """Columns that stand beside each other, block after block: the width of each by its place.

    Args:
        columns: Of each column the head, then its cells.
        width: Of the console.
        right: Heads of columns whose lines may not be broken.
        repeat: Number of columns that every block begins with; fewer where another does not fit beside them.
    """
    natural = [max((_length(line) for cell in column for line in cell.split("\n")), default=1) for column in columns]
    least = [_least(column, whole=column[0] in right) for column in columns]
    widest = [max(least[i:], default=0) for i in range(len(columns))]
    while 1 < repeat < len(columns) and sum(least[:repeat]) + widest[repeat] + _BETWEEN * (repeat + 1) > width:
        repeat -= 1
    first = list(range(min(repeat, len(columns))))
    blocks: list[list[int]] = [[*first]]
    for place in range(len(first), len(columns)):
        if len(blocks[-1]) > len(first) and sum(least[i] + _BETWEEN for i in (*blocks[-1], place)) > width:
            blocks.append([*first])
        blocks[-1].append(place)
    return [_widths(block, natural, least, width - _BETWEEN * len(block)) for block in blocks]


def _least(column: Sequence[str], *, whole: bool) -> int:
    """Width that a column needs: its longest line, or its longest word."""
    head, *cells = column
    lines = [line for cell in cells for line in cell.split("\n")]
    words = [word for text in ([head] if whole else [head, *lines]) for word in text.split()]
    longest = max((_length(word) for word in words), default=1)
    return max([longest, *map(_length, lines)]) if whole else min(longest, _MOST_WORD)


def _widths(block: Sequence[int], natural: Sequence[int], least: Sequence[int], room: int) -> dict[int, int]:
    """The least widths, and what is left given to the columns that would take it, the narrowest want first."""
    found = {place: least[place] for place in block}
    left = room - sum(found.values())
    if left < 0:  # what says which row it is gives way to the numbers
        found[block[0]] = max(_LEAST_NAME, found[block[0]] + left)
        left = 0
    wanting = sorted(block, key=lambda place: natural[place] - least[place])
    for number, place in enumerate(wanting):
        more = max(0, min(natural[place] - least[place], left // (len(wanting) - number)))
        found[place] += more
        left -= more
    return found


def _length(text: str) -> int:
    """Cells of a terminal that a text takes: some letters take two."""
    return max(1, cell_len(text))


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


@contextmanager
def row_bar(total: int, done: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's stderr with rows, rows a second and the time left; gives what tells of further rows.

    Without a terminal nothing is written.

    Args:
        total: Rows in all.
        done: Rows that were done before.
    """
    out = console(stderr=True)
    if not out.is_terminal:
        yield lambda _: None
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        _Speed("{task.speed}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task("rows", total=total, completed=done)
        yield lambda rows: bar.advance(task, rows)


class _Speed(TextColumn):
    """Rows a second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} rows/s")


def print_json(document: Any) -> None:
    """Print one JSON document in one line."""
    print(json.dumps(document, allow_nan=False))
