"""Where and until when a body is parsed: in the event loop if that is quick, else in a thread, large ones last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy.typing as npt
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from thinned.models.card import ModelCard
from thinned.models.errors import ClientGoneError, DeadlineError
from thinned.service.http.content_kinds import AS_JSON, Terms
from thinned.service.inference.garbage import no_look
from thinned.service.inference.memory import Hold
from thinned.service.inference.served_model import Gone
from thinned.service.metrics import Metrics
from thinned.service.schema.request_body import check_structure, parse, parse_fast
from thinned.service.schema.request_fields import PredictRequest, SampleRequest
from thinned.service.settings import Settings

__all__ = [
    "INLINE_BYTES",
    "INLINE_QUOTES",
    "MEDIUM_BYTES",
    "Asked",
    "hold_inputs",
    "medium_thread",
    "read_in_turn",
    "read_request",
]

T = TypeVar("T")
R = TypeVar("R", PredictRequest, SampleRequest)

# Beyond these, JSON takes longer to read than a thread to wake, and would hold up the event loop.
INLINE_BYTES = 64 * 1024
WRONG_INLINE_BYTES = 2 * 1024
"""The same of a body in which something is wrong: to say what takes 20 times as long."""
INLINE_QUOTES = 400
"""Members are the slow part of JSON, and no request without text has 200."""
MEDIUM_BYTES = 1024 * 1024
_PARSED_TO_BYTES = 8
"""Numbers as Python's objects take so many times their text."""
medium_thread, _large_thread = CapacityLimiter(1), CapacityLimiter(1)


@dataclass(frozen=True)
class Asked:
    """What is known of a request beside its body.

    Args:
        gone: Waits until the client has gone.
        began: When its first byte was there, on the clock of `time.monotonic`.
        longest_s: Seconds that any request may take.
        hold: What it takes of the memory for requests.
        metrics: What is told of it.
        terms: How its body is read, and how it is answered.
    """

    gone: Gone
    began: float
    longest_s: float
    hold: Hold
    metrics: Metrics
    terms: Terms = AS_JSON


async def read_request(
    body: bytes, asked: Asked, check: Callable[[Mapping[str, object]], R], card: ModelCard, settings: Settings
) -> R:
    """Parse and check a body, and count what it takes.

    One that waits for a thread is given up when its client leaves or its time is over: it is not begun. Small bodies
    among the large ones have a thread of their own.

    Raises:
        ThinnedError: Of the body or its fields; or nobody waits for it any longer.
    """

    def read() -> R:
        with no_look():
            check_structure(body, card, settings)
            return check(parse(body))

    quick = len(body) <= INLINE_BYTES and body.count(b'"') <= INLINE_QUOTES
    document = parse_fast(body) if quick else None
    if document is not None:
        request = check(document)
    elif len(body) <= WRONG_INLINE_BYTES:
        request = check(parse(body))
    else:
        request = await read_in_turn(read, len(body), asked)
    hold_inputs(request.inputs, asked)
    return request


async def read_in_turn(read: Callable[[], T], size: int, asked: Asked) -> T:
    """The result of reading a body of so many bytes, in a thread; given up when nobody waits for it."""
    asked.hold.take("parsing", _PARSED_TO_BYTES * size)
    limiter = medium_thread if size <= MEDIUM_BYTES else _large_thread
    result = await _unless_gone(run_sync(read, limiter=limiter), asked)
    asked.hold.give("parsing")
    return result


def hold_inputs(inputs: Mapping[str, npt.NDArray[Any]], asked: Asked) -> None:
    """Count what a request takes that has been read: its inputs, in place of its body."""
    asked.hold.give("bodies")
    # Twice: rows of requests that share a call are put together.
    asked.hold.take("inputs", 2 * sum(array.nbytes for array in inputs.values()))


async def _unless_gone(work: Coroutine[Any, Any, T], asked: Asked) -> T:
    """The result of work that waits for a thread; given up when nobody waits for it.

    Raises:
        ClientGoneError: The client has gone.
        DeadlineError: The longest time that a request may take is over.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(asked.gone())
    try:
        left = asked.began + asked.longest_s - time.monotonic()
        done, _ = await asyncio.wait({working, leaving}, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
        if working in done:
            return working.result()
        if leaving in done:
            raise ClientGoneError("the client has gone")
        raise DeadlineError("the body could not be read in time; there is too much to do, or it is too large")
    finally:
        leaving.cancel()
        working.cancel()
