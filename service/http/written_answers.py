"""Writes an answer in the form that its request accepts: JSON, an archive of arrays, or one map as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from thinned.models.card import ModelCard
from thinned.models.errors import NotAcceptableError
from thinned.models.uncertainty.reduction import has_positions
from thinned.service.http.content_kinds import Terms
from thinned.service.schema.answer_files import npz_of, picture_of
from thinned.service.schema.image_headers import PNG
from thinned.service.schema.raw_body import JSON, NPZ
from thinned.service.schema.response_body import encode

__all__ = ["check_picture", "written"]

Kind: TypeAlias = tuple[tuple[bytes, bytes], ...]

_ANSWERS = ("outputs", "mean")
"""What a picture shows unless told otherwise, of an answer that has it."""


def check_picture(terms: Terms, inputs: Mapping[str, Any], card: ModelCard) -> None:
    """Refuse, before anything is computed, to answer as a picture what can be none.

    Raises:
        NotAcceptableError: There are several rows, or the model answers no maps.
    """
    if terms.answer != PNG:
        return
    rows = len(next(iter(inputs.values())))
    if rows > 1:
        raise NotAcceptableError(f"expected one row with image/png, received {rows}; ask for {NPZ} or {JSON}")
    if not any(map(has_positions, card.outputs)):
        raise NotAcceptableError(f"no output of this model is a map, so none is a picture; ask for {NPZ} or {JSON}")


def written(document: Mapping[str, Any], card: ModelCard, terms: Terms) -> tuple[bytes, Kind]:
    """An answer's bytes, and the headers that say what they are.

    Raises:
        NotAcceptableError: It has no such picture.
    """
    if terms.answer == NPZ:
        return npz_of(document, card), ((b"content-type", NPZ.encode()),)
    if terms.answer == PNG:
        field = terms.field or next(name for name in _ANSWERS if name in document or name == _ANSWERS[-1])
        picture = picture_of(document, card, field=field, channel=terms.channel, bits=terms.bits)
        ends = (
            (b"x-image-field", _in_a_header(field)),
            (b"x-image-low", b"%r" % picture.low),
            (b"x-image-high", b"%r" % picture.high),
        )
        return picture.content, ((b"content-type", PNG.encode()), *ends)
    return encode(document), ((b"content-type", JSON.encode()),)


def _in_a_header(text: str) -> bytes:
    return text.encode("ascii", "backslashreplace")
