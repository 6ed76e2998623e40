"""Tensors of the Open Inference Protocol: JSON or bytes to arrays, and arrays to JSON or bytes.

Bytes are those of the protocol's binary tensor data: little-endian, row-major, nothing between elements; BOOL is a byte
of 0 or 1; an element of BYTES is its length, four bytes, and then itself, which here is text in UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from thinned.models.card import InputSpec
from thinned.models.errors import InputError, Problem
from thinned.service.schema.input_arrays import MAX_PROBLEMS, describe, numpy_dtype, unnest
from thinned.service.schema.input_values import to_array, wrong_value

__all__ = [
    "DATATYPES",
    "array_of_bytes",
    "array_of_json",
    "bytes_of_array",
    "bytes_of_elements",
    "datatype_of",
    "json_of_array",
    "takes",
]

Array: TypeAlias = npt.NDArray[Any]
Loc: TypeAlias = tuple[str | int, ...]

DATATYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "BF16": "bfloat16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "string",
}
"""Names of dtypes by the protocol's names of them."""
_BY_DTYPE = {dtype: datatype for datatype, dtype in DATATYPES.items()}
_LENGTH = 4
"""Bytes before an element of BYTES."""
_AT_ONCE = 1000
"""Values of a wrong tensor that are looked at together."""


def datatype_of(dtype: str) -> str:
    """The protocol's name of a dtype; FP32 for those that it does not have, whose values are converted."""
    return _BY_DTYPE.get(dtype, "FP32")


def takes(dtype: str) -> list[str]:
    """The datatypes that an input of this dtype is read from: any numbers, if their values fit."""
    kind = datatype_of(dtype)
    if kind in ("BOOL", "BYTES"):
        return [kind]
    return [name for name in DATATYPES if name not in ("BOOL", "BYTES")]


def array_of_bytes(data: memoryview, datatype: str, shape: tuple[int, ...], loc: Loc) -> Array:
    """A tensor from its bytes.

    Args:
        data: All of its bytes.
        datatype: One of `DATATYPES`.
        shape: Of the tensor; its length is to be that of the bytes.
        loc: Where it stands, for errors.

    Returns:
        An array of `shape`, BF16 as float32 and text as objects.

    Raises:
        InputError: The bytes are not such a tensor.
    """
    count = prod(shape)
    if datatype == "BYTES":
        return _filled(_texts(data, count, loc), shape)
    dtype = numpy_dtype(DATATYPES[datatype])
    expected = count * dtype.itemsize
    if len(data) != expected:
        text = f"expected {expected} bytes, {datatype} of shape {list(shape)}, received {len(data)}"
        raise InputError([Problem(loc, text)])
    if datatype == "BOOL":
        raw = np.frombuffer(data, np.uint8)
        if raw.size and raw.max() > 1:
            at = int((raw > 1).argmax())
            raise InputError([Problem((*loc, at), f"expected a byte of 0 or 1, received {raw[at]}")])
        return raw.astype(bool).reshape(shape)
    array = np.frombuffer(data, dtype if datatype == "BF16" else dtype.newbyteorder("<")).reshape(shape)
    return array.astype(np.float32) if datatype == "BF16" else array


def array_of_json(data: object, datatype: str, shape: tuple[int, ...], loc: Loc) -> Array:
    """A tensor from its JSON, nested or flat. Arguments, result and errors are those of `array_of_bytes`."""
    if not isinstance(data, list):
        raise InputError([Problem(loc, f"expected a list, received {describe(data)}")])
    nested = bool(data) and isinstance(data[0], list)
    found, leaves = unnest(data, len(shape)) if nested else ((len(data),), data)
    if found != (shape if nested else (prod(shape),)):
        what = f"a list of {prod(shape)}, or lists nested as the shape {list(shape)}"
        received = f"lists of shape {list(found)} where they are all alike" if nested else describe(data)
        raise InputError([Problem(loc, f"expected {what}, received {received}")])
    spec = InputSpec(name="", shape=(), dtype=DATATYPES[datatype])
    array = to_array(leaves, spec)
    if array is None:
        raise InputError(_wrong_values(leaves, spec, loc))
    return (array.astype(np.float32) if datatype == "BF16" else array).reshape(shape)


def bytes_of_array(array: Array) -> bytes:
    """The bytes of a tensor. Text, an array of objects, is written in UTF-8."""
    if array.dtype.kind != "O":
        little = array if array.dtype.kind == "V" else array.astype(array.dtype.newbyteorder("<"), copy=False)
        return little.tobytes()
    return bytes_of_elements(text.encode() for text in array.ravel().tolist())


def bytes_of_elements(elements: Iterable[bytes]) -> bytes:
    """The bytes of a tensor of BYTES: each element behind its length."""
    return b"".join(part for one in elements for part in (len(one).to_bytes(_LENGTH, "little"), one))


def json_of_array(array: Array) -> Any:
    """The elements of a tensor in row-major order, as orjson writes them: FP32 as the shortest text that gives it."""
    if array.dtype.kind == "O":
        return array.ravel().tolist()
    half = array.dtype.kind == "V" or array.dtype == np.float16
    return np.ascontiguousarray(array.astype(np.float32) if half else array).ravel()


def _texts(data: memoryview, count: int, loc: Loc) -> list[str]:
    texts: list[str] = []
    at = 0
    for i in range(count):
        start = at + _LENGTH
        at = start + int.from_bytes(data[at:start], "little")
        if start > len(data) or at > len(data):
            said = f"expected {count} elements of BYTES, each after its length, received {len(data)} bytes"
            raise InputError([Problem((*loc, i), f"{said}, which end within this one")])
        try:
            texts.append(str(data[start:at], "utf-8"))
        except UnicodeDecodeError:
            raise InputError([Problem((*loc, i), "expected text in UTF-8, received other bytes")]) from None
    if at != len(data):
        raise InputError([Problem(loc, f"expected {count} elements of BYTES, received {len(data) - at} bytes more")])
    return texts


def _filled(texts: list[str], shape: tuple[int, ...]) -> Array:
    array = np.empty(len(texts), object)
    array[:] = texts
    return array.reshape(shape)


def _wrong_values(leaves: list[Any], spec: InputSpec, loc: Loc) -> list[Problem]:
    found: list[Problem] = []
    for start in range(0, len(leaves), _AT_ONCE):
        part = leaves[start : start + _AT_ONCE]
        if to_array(part, spec) is None:
            wrong = [(start + i, leaf) for i, leaf in enumerate(part) if to_array([leaf], spec) is None]
            found += [Problem((*loc, at), wrong_value(leaf, spec)) for at, leaf in wrong]
        if len(found) >= MAX_PROBLEMS:
            break
    return found[:MAX_PROBLEMS] or [Problem(loc, "expected values of one kind")]
