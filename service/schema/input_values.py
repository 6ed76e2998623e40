"""The values of one input: JSON's into an array of its dtype, or what was expected and what stands there instead."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec

__all__ = ["describe", "fit_array", "largest_number", "numpy_dtype", "to_array", "wrong_value"]

Array: TypeAlias = npt.NDArray[Any]
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}[./]\d{1,2}[./]\d{2,4}")


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a Keras dtype's name; bfloat16 and the 8-bit floats come from ml_dtypes, text is objects."""
    if name == "string":
        return np.dtype(object)
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return dtype


@cache
def largest_number(name: str) -> float:
    """The largest float64 that becomes a finite number of this dtype: by rounding, a little more than its largest."""
    dtype = numpy_dtype(name)

    def fits(bits: int) -> bool:
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(np.isfinite(np.array([bits], np.int64).view(np.float64).astype(dtype))[0])

    # Positive numbers are in the order of their bits. 1 fits, infinity does not.
    low, high = (int(np.array([value]).view(np.int64)[0]) for value in (1.0, np.inf))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return float(np.array([low], np.int64).view(np.float64)[0])


def describe(value: object) -> str:
    """Name a value of JSON, or of a table, for a message, short whatever it is."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"the string {value[:20]!r}{'…' if len(value) > 20 else ''}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, datetime.date):
        return f"the date {value.isoformat()[:19]}"
    return json.dumps(value) if isinstance(value, int | float) else f"a value of type {type(value).__name__}"


def to_array(leaves: list[Any], spec: InputSpec) -> Array | None:
    """Values as an array of the input's dtype, null as what the model takes for a missing one.

    Returns:
        (len(leaves),); None if one is of another type, out of range, beyond the model's table, or not finite.
    """
    dtype = numpy_dtype(spec.dtype)
    array = _array(leaves, dtype)
    if array is None and spec.missing is not None:
        array = _array([spec.missing if leaf is None else leaf for leaf in leaves], dtype)
    if array is not None and spec.table_size is not None and array.size:
        beyond = array.min() < 0 or array.max() > spec.table_size - 1
        return None if beyond else array
    return array


def fit_array(array: Array, spec: InputSpec) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Numbers, or truth values, as an array of the input's dtype, by the rules of `to_array`.

    Args:
        array: Of any shape; its dtype is one of NumPy's own integers, floats or bool.
        spec: The input.

    Returns:
        The array, and of the same shape which values fit: the others are nothing to go by.
    """
    dtype = numpy_dtype(spec.dtype)
    if dtype.kind == "O" or (dtype.kind == "b") != (array.dtype.kind == "b"):
        return array, np.zeros(array.shape, bool)
    if dtype.kind == "b":
        return array.astype(dtype), np.ones(array.shape, bool)
    if dtype.kind in "iu":
        fitted, fits = _whole_numbers(array, dtype)
    else:
        # By way of float64, as JSON's integers: rounding twice is not rounding once.
        wide = array.astype(np.float64) if array.dtype.kind in "iu" and array.dtype.itemsize == 8 else array
        with np.errstate(over="ignore"):
            fitted = wide.astype(dtype)
        fits = np.isfinite(fitted)
    if spec.table_size is not None:
        fits &= (fitted >= 0) & (fitted <= spec.table_size - 1)
    return fitted, fits


def _whole_numbers(array: Array, dtype: np.dtype[Any]) -> tuple[Array, npt.NDArray[np.bool_]]:
    limits = np.iinfo(dtype)
    if array.dtype.kind == "f":
        # The largest integer may be no float64; one more is.
        wide = array.astype(np.float64)
        fits = (np.floor(wide) == wide) & (wide >= float(limits.min)) & (wide < float(limits.max) + 1.0)
        return np.where(fits, wide, 0).astype(dtype), fits
    return array.astype(dtype), (array >= int(limits.min)) & (array <= int(limits.max))


def wrong_value(value: object, spec: InputSpec) -> str:
    """What is wrong with a value that `to_array` does not take."""
    dtype = numpy_dtype(spec.dtype)
    expected = f"expected {_expected(spec, dtype)}{'' if spec.missing is None else ' or null'}"
    if dtype.kind == "O" and isinstance(value, str):
        return f"expected text in Unicode, received {describe(value)} with half of a surrogate pair"
    said = f"{expected}, received {describe(value)}"
    if dtype.kind == "O" and value is None:
        return f"{said}; the model has no token for a missing value"
    if isinstance(value, datetime.date) or (isinstance(value, str) and _DATE.match(value)):
        return f"{said}; send a date as the number that the model was trained on"
    return said


def _array(leaves: list[Any], dtype: np.dtype[Any]) -> Array | None:
    """The values as an array of this dtype; None if one is of another type, out of range or not finite."""
    types = set(map(type, leaves))
    if dtype.kind == "b":
        return np.array(leaves, dtype) if types == {bool} else None
    if dtype.kind == "O":
        return np.array(leaves, object) if types == {str} and _is_unicode(leaves) else None
    if not types or not types <= {int, float}:
        return None
    if dtype.kind in "iu":
        return _integers(leaves, dtype, types)
    try:
        with np.errstate(over="ignore"):
            array = np.array(leaves, np.float64).astype(dtype)
    except OverflowError:  # An integer beyond the largest float64.
        return None
    return array if np.isfinite(array).all() else None


def _integers(leaves: list[Any], dtype: np.dtype[Any], types: set[type]) -> Array | None:
    """Whole numbers: 13.0 is one."""
    if float in types:
        if not all(map(float.is_integer, (leaf for leaf in leaves if type(leaf) is float))):
            return None
        leaves = list(map(int, leaves))
    limits = np.iinfo(dtype)
    return np.array(leaves, dtype) if min(leaves) >= limits.min and max(leaves) <= limits.max else None


def _is_unicode(texts: Sequence[str]) -> bool:
    """Whether they can be written as UTF-8: JSON can hold half of a surrogate pair, which is no character."""
    try:
        "\n".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _expected(spec: InputSpec, dtype: np.dtype[Any]) -> str:
    if dtype.kind == "O":
        return "a string"
    if dtype.kind == "b":
        return "true or false"
    if spec.table_size is not None:
        return f"an integer from 0 to {spec.table_size - 1} (the model looks it up in a table of {spec.table_size})"
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return f"an integer from {limits.min} to {limits.max}"
    return f"a finite {dtype.name} number"
