"""Reads bodies that are not JSON: at once if that is quick, else in a thread, within the memory for requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from thinned.models.card import ModelCard
from thinned.service.http.body_parsing import MEDIUM_BYTES, Asked, hold_inputs, read_in_turn, read_request
from thinned.service.inference.image_pixels import IMAGES
from thinned.service.schema.input_arrays import numpy_dtype
from thinned.service.schema.raw_body import JSON, open_body
from thinned.service.schema.request_fields import PredictRequest, SampleRequest
from thinned.service.settings import Settings

__all__ = ["read_any"]

R = TypeVar("R", PredictRequest, SampleRequest)

_TEXT_BYTES = 4096
"""Bodies of a model that reads text, up to which they are read in the event loop."""


async def read_any(
    body: bytes, asked: Asked, check: Callable[[Mapping[str, object]], R], card: ModelCard, settings: Settings
) -> R:
    """Read and check a body of the form that its request says, and count what it takes.

    Raises:
        ThinnedError: Of the body or its fields; or nobody waits for it any longer.
    """
    form = asked.terms.form
    if form.kind == JSON:
        return await read_request(body, asked, check, card, settings)
    opened = open_body(body, form, card, settings)

    def read() -> R:
        return check(opened.fields(card.inputs, settings, IMAGES))

    most = _TEXT_BYTES if any(numpy_dtype(spec.dtype).kind == "O" for spec in card.inputs) else MEDIUM_BYTES
    size = max(len(body), opened.size)
    quick = size <= most and not opened.packed
    request = read() if quick else await read_in_turn(read, size, asked)
    hold_inputs(request.inputs, asked)
    return request
