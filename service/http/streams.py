"""`/predict_mc` as server-sent events: the answer as it stands after each block of passes, and then the answer itself.

References:
    Server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from thinned.models.errors import ClientGoneError, ThinnedError
from thinned.models.sampling import draw_seed
from thinned.models.uncertainty import BlockStatistics, answer_output
from thinned.service.http.body_parsing import Asked
from thinned.service.http.json_endpoint import Events
from thinned.service.http.predictions import INLINE_NUMBERS, answered, here_or_in_a_thread, sampled, timing
from thinned.service.http.problem_details import problem
from thinned.service.http.raw_bodies import read_any
from thinned.service.inference.progress import Progress
from thinned.service.inference.served_model import ServedModel
from thinned.service.schema.problem_table import reason_of
from thinned.service.schema.request_fields import SampleRequest, read_predict_mc
from thinned.service.schema.response_body import encode, predict_mc_answer

if TYPE_CHECKING:
    from thinned.models.dropout import MonteCarloRun
    from thinned.service.inference.jobs import SampleJob

__all__ = ["HEARTBEAT_S", "predict_mc_stream"]

HEARTBEAT_S = 5.0
"""Seconds after which a comment is sent where nothing else is: proxies end what is silent for long."""
_HEARTBEAT = b": waiting\n\n"

log = logging.getLogger("bentoml.thinned")


async def predict_mc_stream(body: bytes, model: ServedModel, asked: Asked) -> Events:
    """The answer over passes, as events.

    Raises:
        ThinnedError: The request is refused, before the first event; afterwards that is an event.
    """
    card, settings = model.card, model.settings
    request = await read_any(body, asked, lambda found: read_predict_mc(found, card, settings), card, settings)
    if request.seed is None:
        request = replace(request, seed=draw_seed())  # Each event names it.
    events = _Stream(request, model, asked).events()
    return Events(await anext(events), events)


class _Stream:
    """One request, answered event by event."""

    def __init__(self, request: SampleRequest, model: ServedModel, asked: Asked) -> None:
        self._request, self._model, self._asked = request, model, asked
        self._progress = Progress(
            len(next(iter(request.inputs.values()))), [output.name for output in model.card.outputs]
        )
        self._news = asyncio.Event()
        self._begun = False

    async def events(self) -> AsyncGenerator[bytes]:
        """The events. What refuses the request before the first of them is raised."""
        working = asyncio.ensure_future(sampled(self._request, self._model, self._asked, self._take))
        working.add_done_callback(lambda _: self._news.set())
        try:
            async for event in self._until(working):
                self._begun = True
                yield event
        except Exception as error:
            if not self._begun or isinstance(error, ClientGoneError):
                raise
            yield self._failed(error)
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await working  # It frees its place in the line.

    def _take(self, rows: slice, part: dict[str, BlockStatistics]) -> None:
        self._progress.add(rows, part)
        self._news.set()

    async def _until(self, working: asyncio.Future[tuple[SampleJob, MonteCarloRun]]) -> AsyncGenerator[bytes]:
        """Events until the passes are there, and the answer."""
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._news.wait()
            except TimeoutError:
                yield _HEARTBEAT
                continue
            self._news.clear()
            ended = working.done()
            async for event in self._new_blocks():
                yield event
            if ended:
                break
        job, _ = working.result()
        content, _ = await answered(job, self._request, self._model, self._asked)
        timing(job, self._asked.metrics)
        yield _event("answer", content)

    async def _new_blocks(self) -> AsyncGenerator[bytes]:
        """An event for each block that is new; where an answer is large, for the last of them alone."""
        rows = len(next(iter(self._request.inputs.values())))
        small = 3 * rows * self._model.engine.numbers_per_row(self._request.inputs) <= INLINE_NUMBERS
        while (count := await here_or_in_a_thread(self._progress.advance, here=small)) is not None:
            if count < self._request.n_samples and (small or not self._progress.more):
                so_far = partial(self._answer_so_far, count)
                yield _event("progress", await here_or_in_a_thread(so_far, here=small))
            await asyncio.sleep(0)  # Others are answered between two blocks.

    def _answer_so_far(self, count: int) -> bytes:
        request, model = self._request, self._model
        statistics = self._progress.statistics()
        fresh = self._progress.new_passes() if request.return_samples else {}
        answers = {
            spec.name: replace(
                answer_output(spec, statistics[spec.name], sampling=request.sampling, calibrated=request.calibrated),
                samples=fresh.get(spec.name),
            )
            for spec in model.card.outputs
        }
        return encode(
            predict_mc_answer(
                answers,
                model.card,
                model.version,
                n_samples=count,
                seed=cast(int, request.seed),
                sampling=request.sampling,
                max_numbers=model.settings.max_returned_numbers,
            )
        )

    def _failed(self, error: Exception) -> bytes:
        """An error as the last event; it is counted and logged as any other."""
        reason = reason_of(error)
        if reason is not None:
            self._asked.metrics.refused(reason)
        if not isinstance(error, ThinnedError):
            log.exception("POST /predict_mc/stream failed")
        return _event("error", bytes(problem(error).body))


def _event(name: str, data: bytes) -> bytes:
    """An event; its data is JSON, which has no line breaks."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)
