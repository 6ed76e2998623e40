"""Answers and passes as DataFrames of pandas, with the index of the rows that were asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import ModelCard
from thinned.service.cli.answer_files import answer_columns, units_of
from thinned.service.cli.options import require_extra

__all__ = ["frame_of", "passes_frame"]


def frame_of(document: Mapping[str, Any], card: ModelCard, *, index: Any, levels: Sequence[float]) -> Any:
    """An answer with a line a row, in the columns that `thinned predict --output` writes, and quantiles by level.

    Args:
        document: What the service would answer.
        card: The model's.
        index: The labels of the rows; None for their numbers.
        levels: Of the quantiles that were asked for.

    Raises:
        UsageError: pandas is not installed.
    """
    require_extra("notebook", "pandas")
    import pandas

    columns: dict[str, Any] = answer_columns(document, card)
    if "quantiles" in document:
        columns |= _quantiles(document["quantiles"], card, levels)
    return pandas.DataFrame(columns, index=index)


def _quantiles(found: Any, card: ModelCard, levels: Sequence[float]) -> dict[str, Any]:
    """Columns of quantiles: quantile_0.05, or quantile_0.05_label where a row has several numbers."""
    columns: dict[str, Any] = {}
    for place, level in enumerate(levels):
        field = {name: part[place] for name, part in found.items()} if isinstance(found, Mapping) else found[place]
        columns |= answer_columns({f"quantile_{level:g}": field}, card)
    return columns


def passes_frame(passes: Mapping[str, npt.NDArray[Any]], card: ModelCard, index: Any) -> Any:
    """Passes as a table with a line for each row in each pass; the number of the pass is the first part of its index.

    Args:
        passes: By output, (S, B, *output_shape).
        card: The model's.
        index: Of the B rows.
    """
    import pandas

    columns: dict[str, npt.NDArray[Any]] = {}
    for spec in card.outputs:
        of_output = passes[spec.name]
        shape = of_output.shape[2:]
        flat = of_output.reshape(of_output.shape[0] * of_output.shape[1], -1)
        prefix = f"{spec.name}." if len(card.outputs) > 1 else ""
        names = [spec.name] if shape in ((), (1,)) else [f"{prefix}{unit}" for unit in units_of(shape, spec)]
        columns |= dict(zip(names, flat.T, strict=True))
    number = len(next(iter(passes.values())))
    labels = pandas.concat([index.to_frame(index=False)] * number, ignore_index=True)
    labels.insert(0, "pass", np.repeat(np.arange(number), len(index)), allow_duplicates=True)
    whole = pandas.MultiIndex.from_frame(labels, names=["pass", *index.names])
    return pandas.DataFrame(columns, index=whole)
