"""The two answers: from the body of a request to the body of its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from thinned.models.errors import ClientGoneError, DeadlineError
from thinned.models.uncertainty import answer_output
from thinned.service.http.tokens import charge
from thinned.service.http.tracing import annotate
from thinned.service.http.uncertainty_metrics import note_uncertainty
from thinned.service.inference.memory import Hold
from thinned.service.inference.served_model import Gone, ServedModel
from thinned.service.metrics import Metrics
from thinned.service.schema.request_body import parse
from thinned.service.schema.request_fields import PredictRequest, SampleRequest, read_predict, read_predict_mc
from thinned.service.schema.response_body import encode, predict_answer, predict_mc_answer

if TYPE_CHECKING:
    from thinned.service.inference.jobs import Job, SampleJob

__all__ = ["Asked", "predict", "predict_mc"]

T = TypeVar("T")
R = TypeVar("R", PredictRequest, SampleRequest)


@dataclass(frozen=True)
class Asked:
    """What is known of a request beside its body.

    Args:
        gone: Waits until the client has gone.
        began: When its first byte was there, on the clock of `time.monotonic`.
        longest_s: Seconds that any request may take.
        hold: What it takes of the memory for requests.
        metrics: What is told of it.
    """

    gone: Gone
    began: float
    longest_s: float
    hold: Hold
    metrics: Metrics


# Beyond these, JSON takes longer to read or write than a thread to wake, and would hold up the event loop.
INLINE_BYTES = 64 * 1024
INLINE_NUMBERS = 4096
MEDIUM_BYTES = 1024 * 1024
_PARSED_TO_BYTES = 8
"""Numbers as Python's objects take so many times their text."""
_medium_thread, _large_thread = CapacityLimiter(1), CapacityLimiter(1)


async def predict(body: bytes, model: ServedModel, asked: Asked) -> tuple[bytes, bytes]:
    """The deterministic answer, and its Server-Timing.

    Raises:
        ThinnedError: The body, its fields or the model refuse, or the answer was not there in time.
    """
    card, settings = model.card, model.settings
    request = await _read(body, asked, lambda: read_predict(parse(body), card, settings))
    charge(len(next(iter(request.inputs.values()))))
    job = await model.predict(request, asked.gone, began=asked.began, hold=asked.hold)
    annotate(rows=job.rows)
    outputs, most = job.outputs, settings.max_returned_numbers
    content = await _here_or_in_a_thread(
        lambda: encode(predict_answer(outputs, card, model.version, max_numbers=most)),
        here=sum(array.size for array in outputs.values()) <= INLINE_NUMBERS,
    )
    return content, _timing(job, asked.metrics)


async def predict_mc(body: bytes, model: ServedModel, asked: Asked) -> tuple[bytes, bytes]:
    """The answer over passes, and its Server-Timing.

    Raises:
        ThinnedError: As for `predict`, or the model draws no noise.
    """
    card, settings = model.card, model.settings
    request = await _read(body, asked, lambda: read_predict_mc(parse(body), card, settings))
    rows = len(next(iter(request.inputs.values())))
    charge(rows * request.n_samples)
    job = await model.sample(request, asked.gone, began=asked.began, hold=asked.hold)
    run = job.run
    charge(rows * (run.drawn - request.n_samples))
    asked.metrics.drew(run.drawn)
    if run.drawn < request.n_samples:
        asked.metrics.stopped_early()
    annotate(rows=rows, n_samples=request.n_samples, drawn=run.drawn)
    numbers = run.size * (3 + len(request.quantiles or ()) + request.return_samples * run.drawn)
    content = await _here_or_in_a_thread(
        lambda: _write(job, request, model, asked.metrics), here=numbers <= INLINE_NUMBERS
    )
    return content, _timing(job, asked.metrics)


async def _read(body: bytes, asked: Asked, read: Callable[[], R]) -> R:
    """Read a body, a large one in a thread, and count what it takes.

    A large one that waits for a thread is given up when its client leaves or its time is over: it is not begun. Small
    bodies among the large ones have a thread of their own.
    """
    if len(body) <= INLINE_BYTES:
        request = read()
    else:
        asked.hold.take("parsing", _PARSED_TO_BYTES * len(body))
        limiter = _medium_thread if len(body) <= MEDIUM_BYTES else _large_thread
        request = await _unless_gone(run_sync(read, limiter=limiter), asked)
        asked.hold.give("parsing")
    asked.hold.give("bodies")
    # Twice: rows of requests that share a call are put together.
    asked.hold.take("inputs", 2 * sum(array.nbytes for array in request.inputs.values()))
    return request


async def _unless_gone(work: Coroutine[Any, Any, R], asked: Asked) -> R:
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


def _write(job: SampleJob, request: SampleRequest, model: ServedModel, metrics: Metrics) -> bytes:
    card, run = model.card, job.run
    statistics, passes = run.statistics(), run.passes
    answers = {
        spec.name: answer_output(
            spec,
            statistics[spec.name],
            sampling=run.sampling,
            passes=passes.get(spec.name),
            quantiles=request.quantiles,
            return_samples=request.return_samples,
            separate=request.separate,
            coverage=request.coverage,
            calibrated=request.calibrated,
        )
        for spec in card.outputs
    }
    note_uncertainty(metrics, answers)
    return encode(
        predict_mc_answer(
            answers,
            card,
            model.version,
            n_samples=run.drawn,
            seed=cast(int, run.seed),
            sampling=run.sampling,
            converged=run.converged(),
            stopped_by="limit" if request.at_limit and run.stopped_by == "n_samples" else run.stopped_by,
            coverage=request.coverage,
            max_numbers=model.settings.max_returned_numbers,
        )
    )


async def _here_or_in_a_thread(call: Callable[[], T], *, here: bool) -> T:
    return call() if here else await run_sync(call, limiter=_medium_thread)


def _timing(job: Job, metrics: Metrics) -> bytes:
    """The header Server-Timing: milliseconds in graph calls of its own, and in waiting for them."""
    queue_ms = 1e3 * max(0.0, job.took_s - job.compute_s)
    metrics.waited(queue_ms / 1e3)
    annotate(queue_ms=queue_ms, compute_ms=1e3 * job.compute_s)
    return b"queue;dur=%.3f, compute;dur=%.3f" % (queue_ms, 1e3 * job.compute_s)
