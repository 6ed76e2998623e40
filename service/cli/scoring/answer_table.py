"""Answers as columns of Arrow: a column for each number, as `thinned predict --output` names them, or one of lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import ModelCard, OutputSpec
from thinned.service.cli.answer_files import answer_fields, units_of
from thinned.service.schema.response_body import ClassSets

__all__ = ["MOST_COLUMNS", "answer_arrays", "kept_names"]

Array = npt.NDArray[Any]
MOST_COLUMNS = 64
"""Numbers of a row that have a column each; where an output has more of them, or a length that varies, a column holds
lists."""


def answer_arrays(document: Mapping[str, Any], card: ModelCard) -> dict[str, Any]:
    """What an answer says of each row, as arrays of Arrow by the names of their columns.

    Args:
        document: What the service would answer, with arrays.
        card: The model's card.
    """
    import pyarrow

    found: dict[str, Any] = {}
    for name, (values, spec) in answer_fields(document, card):
        if isinstance(values, ClassSets):
            depth = values.members.ndim - 1
            words = pyarrow.string() if spec is not None and spec.labels else pyarrow.int64()
            found[name] = pyarrow.array(values.tolist(), _lists(words, depth))
            continue
        array = np.asarray(values)
        if array.ndim == 1 or array.shape[1:] == (1,):
            found[name] = _flat(array.reshape(-1))
        elif _in_lists(array, spec):
            found[name] = _nested(array)
        else:
            columns = array.reshape(len(array), -1).T
            for unit, column in zip(units_of(array.shape[1:], spec), columns, strict=True):
                found[f"{name}_{unit}"] = _flat(column)
    for name, passes in _samples(document, card):
        found[name] = _nested(np.moveaxis(passes, 0, 1))
    return found


def kept_names(kept: Iterable[str], own: Iterable[str]) -> dict[str, str]:
    """New names of columns that are kept, by those that they had: one that is ours already has `input_` before it."""
    taken, found = {*own}, {}
    names = list(kept)
    taken |= {name for name in names if name not in taken}
    for name in names:
        new = name
        if name in own:
            while new in taken:
                new = f"input_{new}"
            taken.add(new)
        found[name] = new
    return found


def _samples(document: Mapping[str, Any], card: ModelCard) -> Iterable[tuple[str, Array]]:
    samples = document.get("samples")
    if samples is None:
        return
    if len(card.outputs) == 1:
        yield "samples", samples
    else:
        yield from ((f"{name}.samples", passes) for name, passes in samples.items())


def _in_lists(array: Array, spec: OutputSpec | None) -> bool:
    return (spec is not None and None in spec.shape) or prod(array.shape[1:]) > MOST_COLUMNS


def _flat(values: Array) -> Any:
    import pyarrow

    kind = pyarrow.string() if values.dtype.kind in "OU" else None
    return pyarrow.array(np.ascontiguousarray(values), kind)


def _nested(array: Array) -> Any:
    """A list for each row, of lists where there are further axes."""
    import pyarrow

    found = _flat(np.ascontiguousarray(array).reshape(-1))
    for axis in range(array.ndim - 1, 0, -1):
        ends = np.arange(prod(array.shape[:axis]) + 1, dtype=np.int64) * array.shape[axis]
        found = pyarrow.LargeListArray.from_arrays(pyarrow.array(ends), found)
    return found


def _lists(kind: Any, depth: int) -> Any:
    import pyarrow

    for _ in range(depth):
        kind = pyarrow.list_(kind)
    return kind
