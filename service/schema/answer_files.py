"""Answers as files: all of one as an .npz archive, one map of it as a PNG."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from thinned.models.card import ModelCard
from thinned.models.errors import NotAcceptableError
from thinned.service.schema.response_body import ClassSets

__all__ = ["DEPTHS", "Picture", "arrays_of", "npz_of", "picture_of"]

Array: TypeAlias = npt.NDArray[Any]

DEPTHS = (8, 16)
"""Bits of a grey or colour value of a picture."""
_THE_SAME_TIME = (1980, 1, 1, 0, 0, 0)
"""The first that an archive can have: the same answer is the same bytes."""
_COLOURS = {1: 0, 3: 2}
"""Colour types of PNG, by the number of channels."""


class Picture(NamedTuple):
    """A map as a PNG; its black stands for the value `low`, its white for `high`, evenly between."""

    content: bytes
    low: float
    high: float


def arrays_of(document: Mapping[str, Any], card: ModelCard) -> dict[str, Array]:
    """The arrays of an answer by name: FIELD, or OUTPUT.FIELD where the model has several outputs.

    The ends of an interval are `lower` and `upper`, sets of classes booleans for each class, and what is neither an
    array nor one value is text in JSON. What is null is left out.
    """
    return dict(_arrays(document, {spec.name for spec in card.outputs} if len(card.outputs) > 1 else set()))


def _arrays(document: Mapping[str, Any], outputs: set[str]) -> Iterator[tuple[str, Array]]:
    for field, value in document.items():
        if field == "interval" and not outputs:
            yield from ((end, values) for end, values in value.items())
        elif isinstance(value, Mapping) and outputs and set(value) <= outputs:
            for output, part in value.items():
                ends = part if field == "interval" else {field: part}
                yield from ((f"{output}.{end}", _array(one)) for end, one in ends.items() if one is not None)
        elif field == "model":
            yield from ((f"model.{name}", np.array(one)) for name, one in value.items())
        elif value is not None:
            yield field, _array(value)


def _array(value: Any) -> Array:
    if isinstance(value, ClassSets):
        return value.members
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "O":
            return value.astype(str)
        return value.astype(np.float32) if value.dtype.kind == "V" else value
    return np.array(value if isinstance(value, bool | int | float | str) else json.dumps(value))


def npz_of(document: Mapping[str, Any], card: ModelCard) -> bytes:
    """An answer as an archive that `numpy.load` reads, stored, without pickles."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays_of(document, card).items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _THE_SAME_TIME), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return content.getvalue()


def picture_of(
    document: Mapping[str, Any], card: ModelCard, *, field: str, channel: int | None = None, bits: int = 8
) -> Picture:
    """One map of an answer of one row.

    Args:
        document: The answer.
        card: Of the model.
        field: Its name among `arrays_of`.
        channel: Number of its last axis to be shown; needed where there are others than 1 or 3.
        bits: One of `DEPTHS`.

    Raises:
        NotAcceptableError: There is no such map; the text says which there are.
    """
    arrays = arrays_of(document, card)
    maps = {name: array for name, array in arrays.items() if _is_map(array)}
    if field not in maps:
        there = f"there are {', '.join(maps)}" if maps else "this answer has none; ask for application/x-npz or JSON"
        received = "received one that is no map" if field in arrays else "received one that is not there"
        raise NotAcceptableError(
            f"expected with image/png a field that is a map of one row, {received}, {field[:100]!r}: {there}"
        )
    values = np.asarray(maps[field][0], np.float64)
    values = values[..., np.newaxis] if values.ndim == 2 else values
    if channel is not None and channel < values.shape[-1]:
        values = values[..., channel : channel + 1]
    elif channel is not None or values.shape[-1] not in _COLOURS:
        raise NotAcceptableError(
            f"expected with image/png 1 or 3 channels of {field!r}, or channel=NUMBER to choose one, received a map of "
            f"{values.shape[-1]}{'' if channel is None else f' and channel={channel}'}"
        )
    low, high = float(values.min()), float(values.max())
    most = 2**bits - 1
    shares = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return Picture(_png(np.rint(shares * most).astype(f">u{bits // 8}")), low, high)


def _is_map(array: Array) -> bool:
    """Whether it has one row, of two axes of positions, maybe with channels."""
    return array.dtype.kind in "fiub" and array.ndim in (3, 4) and len(array) == 1 and min(array.shape) > 0


def _png(pixels: Array) -> bytes:
    """A PNG of big-endian values (height, width, channels)."""
    height, width, channels = pixels.shape
    rows = np.frombuffer(pixels.tobytes(), np.uint8).reshape(height, -1)
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)  # each row after its filter, none
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.dtype.itemsize, _COLOURS[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
