"""Which value of which row a model refuses, where TensorFlow names the value and not the row.

The card knows the tables that a graph shows; those of a subclassed model, and words that a lookup does not know, are
found out when the model refuses them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.errors import InputError, Problem

__all__ = ["BEYOND_TABLE", "placed"]

BEYOND_TABLE = re.compile(r"= (-?\d+) is not in \[0, (\d+)\)")
_UNKNOWN = re.compile(
    r"all inputs should be in vocabulary, found OOV values \[\\?[\"']?(?P<value>.*?)\\?[\"']?(?: |\]|$)"
)
_MOST = 3


def placed(error: InputError, inputs: Mapping[str, npt.NDArray[Any]], *, first_row: int = 0) -> InputError:
    """The error with the places of the value that the model refuses; the error itself where they cannot be found.

    One that was placed among some of the rows is placed anew among all.

    Args:
        error: What `call_model` raises.
        inputs: The rows that were given, by input name, (B, *input_shape).
        first_row: The number of the first of them among all rows.
    """
    if isinstance(error.__cause__, InputError):
        error = error.__cause__
    if len(error.problems) != 1 or error.problems[0].loc != ("inputs",):
        return error
    text = error.problems[0].msg
    beyond, unknown = BEYOND_TABLE.search(text), _UNKNOWN.search(text)
    if beyond is not None:
        what = f"{beyond[1]} lies outside the model's table of {beyond[2]}: expected an integer from 0 to "
        found = _places(inputs, beyond[1], first_row, f"{what}{int(beyond[2]) - 1}")
    elif unknown is not None:
        found = _places(inputs, unknown["value"], first_row, f"{unknown['value']!r} is not in the model's vocabulary")
    else:
        return error
    problems = list(islice(found, _MOST))
    return InputError(problems) if problems else error


def _places(inputs: Mapping[str, npt.NDArray[Any]], value: str, first_row: int, what: str) -> Iterator[Problem]:
    for name, x in inputs.items():
        named = (name,) if len(inputs) > 1 else ()
        if x.dtype.kind in "iuf":
            same = np.trunc(x) == int(value) if value.lstrip("-").isdecimal() else np.zeros(x.shape, bool)
        else:
            same = np.asarray(x == value)
        for row, *rest in np.argwhere(same)[:_MOST].tolist():
            yield Problem(("inputs", *named, row + first_row, *rest), what)
