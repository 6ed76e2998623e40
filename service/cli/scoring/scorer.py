"""Scores parts of a run in one process, which has loaded the model once: read, sift, answer, write."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.errors import UsageError
from thinned.models.storage.model_store import find
from thinned.service.cli.scoring.answer_table import answer_arrays, kept_names
from thinned.service.cli.scoring.data_set import Chunk, Part
from thinned.service.cli.scoring.run import NO_LIMIT, Run, checked_request, run_versions
from thinned.service.cli.scoring.run_folder import RunFolder, write_whole
from thinned.service.cli.scoring.sifting import sift
from thinned.service.cli.scoring.sources import open_data
from thinned.service.inference.answers import answers_of, document_of, draw_alone

__all__ = ["Scored", "Scorer"]

Array = npt.NDArray[Any]
ROW = "row"
"""Our column with the number of a row in the data set."""
_ROWS_OF_TEXT = 1024
"""Rows of text at a time, which the engine cannot take in pieces."""


@dataclass(frozen=True)
class Scored:
    """What became of a part."""

    number: int
    rows: int
    rejected: int


class Scorer:
    """Answers parts of a run. Answers depend on the seed and the row alone, since the passes do.

    Args:
        run: The run.

    Raises:
        ThinnedError: The model is not there, is another, or cannot be loaded; packages have other versions.
    """

    def __init__(self, run: Run) -> None:
        stored = find(run.tag)
        if stored.card.sha256 != run.sha256:
            raise UsageError(f"{run.tag} is another model here than where the run began; copy it from there")
        if (here := run_versions()) != run.versions:
            raise UsageError(f"expected {run.versions}, as where the run began; here are {here}")
        import_tensorflow()
        from thinned.models.loading import load_scorer, load_stored

        self._run, self._card, self._version = run, stored.card, stored.version
        self._request = checked_request(stored, run.asked)
        self._model = load_stored(stored)
        self._unlike = load_scorer(stored, self._model) if self._request.ood else None
        self._folder = RunFolder(run.folder)
        self._reader = open_data(run.data)
        self._most = _ROWS_OF_TEXT if any(spec.dtype == "string" for spec in self._card.inputs) else NO_LIMIT
        self._own = self._schema()

    def score(self, part: Part) -> Scored:
        """Answer the rows of a part, and write the rejected ones, then the answers.

        Raises:
            ThinnedError: The data cannot be read any longer.
            OSError: Nothing can be written.
        """
        import pyarrow
        from pyarrow import parquet

        chunk = self._reader.read(part)
        tables, refused = self._answered(chunk, part.rows)
        refused |= chunk.broken
        answers = pyarrow.concat_tables([self._own.empty_table(), *tables]).sort_by(ROW)
        table = self._whole(answers, chunk, part)
        self._folder.write_rejects(part, [self._reject(chunk, part, row, refused[row]) for row in sorted(refused)])
        write_whole(self._folder.part(part), lambda file: parquet.write_table(table, file))
        return Scored(part.number, part.rows, len(refused))

    def _answered(self, chunk: Chunk, rows: int) -> tuple[list[Any], dict[int, str]]:
        """Tables of answers, with the numbers of rows in the part, and why others have none."""
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for row in range(rows):
            if row not in chunk.broken:
                groups[chunk.shape(row)].append(row)
        tables: list[Any] = []
        refused: dict[int, str] = {}
        for group in groups.values():
            for start in range(0, len(group), min(self._most, len(group))):
                some, wrong = self._group(chunk, group[start : start + self._most])
                tables += some
                refused |= wrong
        return tables, refused

    def _group(self, chunk: Chunk, rows: Sequence[int]) -> tuple[list[Any], dict[int, str]]:
        """The same of rows that may be in one array."""
        read, refused = sift(rows, chunk.inputs)
        good = [row for some, _ in read for row in some]
        if not good:
            return [], refused
        inputs = {name: np.concatenate([arrays[name] for _, arrays in read]) for name in read[0][1]}

        def attempt(places: Sequence[int]) -> Any:
            whole = len(places) == len(good)
            return self._table(inputs if whole else {n: x[list(places)] for n, x in inputs.items()})

        answered, wrong = sift(range(len(good)), attempt)
        tables = [table.add_column(0, ROW, [np.asarray([good[p] for p in places])]) for places, table in answered]
        return [table.cast(self._own) for table in tables], refused | {good[p]: why for p, why in wrong.items()}

    def _table(self, inputs: dict[str, Array]) -> Any:
        """The answers to some rows."""
        import pyarrow

        request = replace(self._request, inputs=inputs)
        run = draw_alone(request, self._model)
        unlike = None if self._unlike is None else self._unlike.of_rows(self._model, inputs)
        answers = answers_of(run, request, self._card)
        document = document_of(answers, run, request, self._card, self._version, ood=unlike, max_numbers=NO_LIMIT)
        return pyarrow.table(answer_arrays(document, self._card))

    def _schema(self) -> Any:
        """The columns that are ours: those of the answer to a made-up row."""
        import pyarrow

        table = self._table(self._model.examples.rows(1))
        return pyarrow.schema([pyarrow.field(ROW, pyarrow.int64()), *table.schema])

    def _whole(self, answers: Any, chunk: Chunk, part: Part) -> Any:
        """Answers beside what is kept of their rows, with what made them in the schema's metadata."""
        import pyarrow

        places = answers.column(ROW)
        kept = chunk.kept.take(places)
        table = answers.set_column(0, ROW, pyarrow.compute.add(places, part.start))
        for name, new in kept_names(kept.column_names, answers.column_names).items():
            table = table.append_column(new, kept.column(name))
        about = {**self._run.identity, "address": self._run.data.address}
        return table.replace_schema_metadata({"thinned": json.dumps(about)})

    def _reject(self, chunk: Chunk, part: Part, row: int, why: str) -> tuple[object, ...]:
        key = "" if self._run.key is None else chunk.kept.column(self._run.key)[row].as_py()
        place = chunk.place(row)
        return part.start + row, place, key, why.removeprefix(place).lstrip(":, ")
