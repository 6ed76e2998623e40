"""The answer to some rows: arrays by the names of the API's fields, and how a notebook shows them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from rich.console import Console

from thinned.models.card import ModelCard
from thinned.models.uncertainty import OutputAnswer
from thinned.models.uncertainty.nearest_rows import OodScores
from thinned.service.cli.tables import (
    MOST_ROWS,
    AnswerTable,
    passes_in_words,
    tables_of_answers,
    tables_of_outputs,
)
from thinned.service.schema.response_body import ClassSets, in_lists

if TYPE_CHECKING:
    from thinned.service.notebook.drawing import Drawing

__all__ = ["Answer", "html_of", "text_of"]

_WIDTH = 120


class Answer(Mapping[str, Any]):
    """What a model says of B rows: a mapping from the fields of `/predict` or `/predict_mc` to arrays, rows first.

    Of a model with several outputs a field is a mapping by output name; a set of classes is a list of names.
    `print(answer)` and a notebook show a line a row, as `thinned predict` does.

    Args:
        fields: Of the answer, with arrays.
        card: The model's.
        index: The labels of the rows; None for their numbers.
        by_output: Over passes, all that is said of each output; None of the deterministic answer.
        levels: Of the quantiles that were asked for.
        ood: How unlike known rows each row is, where it was asked for.

    Attributes:
        card: The model's.
        index: The labels of the rows; None for their numbers.
        by_output: Over passes, all that is said of each output.
        levels: Of its quantiles.
    """

    def __init__(
        self,
        fields: Mapping[str, Any],
        card: ModelCard,
        *,
        index: Any = None,
        by_output: Mapping[str, OutputAnswer] | None = None,
        levels: Sequence[float] = (),
        ood: OodScores | None = None,
    ) -> None:
        self._fields, self._ood = _with_names(fields), ood
        self.card, self.index, self.by_output, self.levels = card, index, by_output, levels

    def __getitem__(self, field: str) -> Any:
        return self._fields[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    @property
    def rows(self) -> int:
        """B."""
        if self.by_output is not None:
            return len(next(iter(self.by_output.values())).mean)
        return len(next(iter(self._outputs.values())))

    @property
    def _outputs(self) -> Mapping[str, npt.NDArray[Any]]:
        """The deterministic answer by output."""
        outputs = self["outputs"]
        return outputs if isinstance(outputs, Mapping) else {self.card.outputs[0].name: outputs}

    @property
    def document(self) -> dict[str, Any]:
        """The answer as the API writes it: lists in place of arrays."""
        return in_lists(self._fields)

    def to_frame(self) -> Any:
        """The answer as a DataFrame with a line a row, in the columns that `thinned predict --output` writes.

        Raises:
            UsageError: pandas is not installed.
        """
        from thinned.service.notebook.frames import frame_of

        return frame_of(self.document, self.card, index=self.index, levels=self.levels)

    def plot(self, passes: Mapping[str, npt.NDArray[Any]] | None = None) -> Drawing:
        """Draw the first rows: of a classification each class's probability, of other outputs each number.

        Over passes with one standard deviation between passes to either side, and with the interval of a coverage.

        Args:
            passes: By output, (S, B, *output_shape), each to be drawn as a faint dot.

        Raises:
            UsageError: matplotlib is not installed.
        """
        from thinned.service.notebook.drawing import draw

        told = self._outputs if self.by_output is None else self.by_output
        return draw(told, self.card, index=self.index, passes=passes)

    def __repr__(self) -> str:
        return text_of(self._tables, self._notes)

    def _repr_html_(self) -> str:
        return html_of(self._tables, self._notes)

    @cached_property
    def _tables(self) -> list[AnswerTable]:
        if self.by_output is not None:
            tables = tables_of_answers(self.by_output, self.card, coverage=self.get("coverage"), ood=self._ood)
        else:
            tables = tables_of_outputs(self._outputs, self.card, ood=self._ood)
        if self.index is not None:
            for table in tables:
                for row, label in zip(table.rows, self.index, strict=False):
                    row[0] = str(label)
        return tables

    @property
    def _notes(self) -> list[str]:
        """What is told below the tables."""
        told = [f"{self['model']['name']}:{self['model']['version']}"]
        if self.by_output is not None:
            told.append(passes_in_words(self.by_output, self.card, self["n_samples"], f"seed {self['seed']}"))
        if "calibrated" in self:
            told.append("means and entropies have the fitted temperature")
        if self.rows > MOST_ROWS:
            told.append(f"the first {MOST_ROWS} of {self.rows} rows")
        return ["; ".join(told)]


def _with_names(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with sets of classes as lists of their names."""
    return {
        name: _with_names(value)
        if isinstance(value, Mapping)
        else value.tolist()
        if isinstance(value, ClassSets)
        else value
        for name, value in fields.items()
    }


def text_of(tables: list[AnswerTable], notes: list[str]) -> str:
    """Tables, and notes below them, as text."""
    out = io.StringIO()
    console = Console(file=out, width=_WIDTH, highlight=False, color_system=None, force_jupyter=False)
    for table in tables:
        table.print(console)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "\n".join([*(line for line in lines if line), *notes])


def html_of(tables: list[AnswerTable], notes: list[str]) -> str:
    """The same as HTML, without a style of its own: a notebook has one."""
    return "".join([*map(_html_table, tables), *(f"<p>{escape(note)}</p>" for note in notes)])


def _html_table(table: AnswerTable) -> str:
    def line(tag: str, cells: list[str]) -> str:
        sides = ["right" if head in table.right else "left" for head in table.head]
        return "".join(
            f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>' for cell, side in zip(cells, sides, strict=True)
        )

    title = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    body = "".join(f"<tr>{line('td', row)}</tr>" for row in table.rows)
    return f"<table>{title}<thead><tr>{line('th', table.head)}</tr></thead><tbody>{body}</tbody></table>"
