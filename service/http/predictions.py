"""The two answers: from the body of a request to the body of its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from anyio.to_thread import run_sync

from thinned.models.card import ModelCard
from thinned.models.uncertainty import OutputAnswer
from thinned.service.http.body_parsing import Asked, medium_thread
from thinned.service.http.json_endpoint import Answer
from thinned.service.http.raw_bodies import read_any
from thinned.service.http.tokens import charge
from thinned.service.http.tracing import annotate
from thinned.service.http.uncertainty_metrics import note_uncertainty
from thinned.service.http.written_answers import check_picture, written
from thinned.service.inference.answers import answers_of, document_of
from thinned.service.inference.served_model import OnBlocks, ServedModel
from thinned.service.metrics import Metrics
from thinned.service.schema.request_fields import PredictRequest, SampleRequest, read_predict, read_predict_mc
from thinned.service.schema.response_body import predict_answer

if TYPE_CHECKING:
    from thinned.models.dropout import MonteCarloRun
    from thinned.service.inference.jobs import Job, PredictJob, SampleJob

__all__ = [
    "INLINE_NUMBERS",
    "answered",
    "here_or_in_a_thread",
    "noted_answers",
    "predict",
    "predict_mc",
    "predicted",
    "sampled",
    "timing",
]

T = TypeVar("T")


# Beyond this, JSON takes longer to write than a thread to wake, and would hold up the event loop.
INLINE_NUMBERS = 4096


async def predict(body: bytes, model: ServedModel, asked: Asked) -> Answer:
    """The deterministic answer.

    Raises:
        ThinnedError: The body, its fields or the model refuse, or the answer was not there in time.
    """
    card, settings = model.card, model.settings
    request = await read_any(body, asked, lambda found: read_predict(found, card, settings), card, settings)
    check_picture(asked.terms, request.inputs, card)
    job = await predicted(request, model, asked)
    outputs, most = job.outputs, settings.max_returned_numbers
    ood = None if job.ood is None else job.ood.found
    content, kind = await here_or_in_a_thread(
        lambda: written(predict_answer(outputs, card, model.version, max_numbers=most, ood=ood), card, asked.terms),
        here=sum(array.size for array in outputs.values()) <= INLINE_NUMBERS,
    )
    return Answer(content, timing(job, asked.metrics), kind)


async def predict_mc(body: bytes, model: ServedModel, asked: Asked) -> Answer:
    """The answer over passes.

    Raises:
        ThinnedError: As for `predict`, or the model draws no noise.
    """
    card, settings = model.card, model.settings
    request = await read_any(body, asked, lambda found: read_predict_mc(found, card, settings), card, settings)
    check_picture(asked.terms, request.inputs, card)
    job, _ = await sampled(request, model, asked)
    content, kind = await answered(job, request, model, asked)
    return Answer(content, timing(job, asked.metrics), kind)


async def answered(
    job: SampleJob, request: SampleRequest, model: ServedModel, asked: Asked
) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    """The answer of a job that has its passes, as bytes, and the headers that say what they are.

    Raises:
        ThinnedError: The passes are not finite, or the answer is too large or cannot have its form.
    """
    run = job.run
    kept = request.return_samples or request.reduction is not None
    numbers = run.size * (3 + len(request.quantiles or ()) + kept * run.drawn)
    return await here_or_in_a_thread(
        lambda: written(_document(job, request, model, asked.metrics), model.card, asked.terms),
        here=numbers <= INLINE_NUMBERS,
    )


async def predicted(request: PredictRequest, model: ServedModel, asked: Asked) -> PredictJob:
    """A job that has its deterministic answer; its rows are charged and noted.

    Raises:
        ThinnedError: The model refuses, or the answer was not there in time.
    """
    charge(len(next(iter(request.inputs.values()))))
    job = await model.predict(request, asked.gone, began=asked.began, hold=asked.hold)
    annotate(rows=job.rows)
    return job


async def sampled(
    request: SampleRequest, model: ServedModel, asked: Asked, on_blocks: OnBlocks | None = None
) -> tuple[SampleJob, MonteCarloRun]:
    """A job that has its passes, and its run; they are charged and noted.

    `on_blocks` is told of them as they come.

    Raises:
        ThinnedError: As for `predicted`, or the model draws no noise.
    """
    rows = len(next(iter(request.inputs.values())))
    charge(rows * request.n_samples)
    job = await model.sample(request, asked.gone, began=asked.began, hold=asked.hold, on_blocks=on_blocks)
    run = job.run
    charge(rows * (run.drawn - request.n_samples))
    if run.drawn < request.n_samples and not run.exact:
        asked.metrics.stopped_early()
    annotate(rows=rows, n_samples=request.n_samples, drawn=run.drawn)
    return job, run


def noted_answers(
    run: MonteCarloRun, request: SampleRequest, card: ModelCard, metrics: Metrics
) -> dict[str, OutputAnswer]:
    """All that is said of each output, by its name; how unsure it is is noted."""
    answers = answers_of(run, request, card)
    note_uncertainty(metrics, answers)
    return answers


def _document(job: SampleJob, request: SampleRequest, model: ServedModel, metrics: Metrics) -> dict[str, Any]:
    return document_of(
        noted_answers(job.run, request, model.card, metrics),
        job.run,
        request,
        model.card,
        model.version,
        ood=None if job.ood is None else job.ood.found,
        max_numbers=model.settings.max_returned_numbers,
    )


async def here_or_in_a_thread(call: Callable[[], T], *, here: bool) -> T:
    """The result of a call that takes long, unless told to be short."""
    return call() if here else await run_sync(call, limiter=medium_thread)


def timing(job: Job, metrics: Metrics) -> bytes:
    """The header Server-Timing: milliseconds in graph calls of its own, and in waiting for them."""
    queue_ms = 1e3 * max(0.0, job.took_s - job.compute_s)
    metrics.waited(queue_ms / 1e3)
    annotate(queue_ms=queue_ms, compute_ms=1e3 * job.compute_s)
    return b"queue;dur=%.3f, compute;dur=%.3f" % (queue_ms, 1e3 * job.compute_s)
