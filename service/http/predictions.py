"""The two answers: from the body of a request to the body of its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from anyio.to_thread import run_sync

from thinned.models.uncertainty import answer_output
from thinned.models.uncertainty.reduction import has_positions, reduce_output
from thinned.service.http.body_parsing import Asked, medium_thread, read_request
from thinned.service.http.tokens import charge
from thinned.service.http.tracing import annotate
from thinned.service.http.uncertainty_metrics import note_uncertainty
from thinned.service.inference.served_model import ServedModel
from thinned.service.metrics import Metrics
from thinned.service.schema.request_fields import SampleRequest, read_predict, read_predict_mc
from thinned.service.schema.response_body import encode, predict_answer, predict_mc_answer

if TYPE_CHECKING:
    from thinned.service.inference.jobs import Job, SampleJob

__all__ = ["predict", "predict_mc"]

T = TypeVar("T")


# Beyond this, JSON takes longer to write than a thread to wake, and would hold up the event loop.
INLINE_NUMBERS = 4096


async def predict(body: bytes, model: ServedModel, asked: Asked) -> tuple[bytes, bytes]:
    """The deterministic answer, and its Server-Timing.

    Raises:
        ThinnedError: The body, its fields or the model refuse, or the answer was not there in time.
    """
    card, settings = model.card, model.settings
    request = await read_request(body, asked, lambda found: read_predict(found, card, settings), card, settings)
    charge(len(next(iter(request.inputs.values()))))
    job = await model.predict(request, asked.gone, began=asked.began, hold=asked.hold)
    annotate(rows=job.rows)
    outputs, most = job.outputs, settings.max_returned_numbers
    ood = None if job.ood is None else job.ood.found
    content = await _here_or_in_a_thread(
        lambda: encode(predict_answer(outputs, card, model.version, max_numbers=most, ood=ood)),
        here=sum(array.size for array in outputs.values()) <= INLINE_NUMBERS,
    )
    return content, _timing(job, asked.metrics)


async def predict_mc(body: bytes, model: ServedModel, asked: Asked) -> tuple[bytes, bytes]:
    """The answer over passes, and its Server-Timing.

    Raises:
        ThinnedError: As for `predict`, or the model draws no noise.
    """
    card, settings = model.card, model.settings
    request = await read_request(body, asked, lambda found: read_predict_mc(found, card, settings), card, settings)
    rows = len(next(iter(request.inputs.values())))
    charge(rows * request.n_samples)
    job = await model.sample(request, asked.gone, began=asked.began, hold=asked.hold)
    run = job.run
    charge(rows * (run.drawn - request.n_samples))
    asked.metrics.drew(run.drawn)
    if run.drawn < request.n_samples and not run.exact:
        asked.metrics.stopped_early()
    annotate(rows=rows, n_samples=request.n_samples, drawn=run.drawn)
    kept = request.return_samples or request.reduction is not None
    numbers = run.size * (3 + len(request.quantiles or ()) + kept * run.drawn)
    content = await _here_or_in_a_thread(
        lambda: _write(job, request, model, asked.metrics), here=numbers <= INLINE_NUMBERS
    )
    return content, _timing(job, asked.metrics)


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
            policy=request.policy,
        )
        for spec in card.outputs
    }
    note_uncertainty(metrics, answers)
    reduced = None
    if request.reduction is not None:
        maps = [spec for spec in card.outputs if has_positions(spec)]
        reduced = {
            spec.name: reduce_output(spec, answers[spec.name], passes[spec.name], request.reduction) for spec in maps
        }
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
            reduced=reduced,
            ood=None if job.ood is None else job.ood.found,
            max_numbers=model.settings.max_returned_numbers,
        )
    )


async def _here_or_in_a_thread(call: Callable[[], T], *, here: bool) -> T:
    return call() if here else await run_sync(call, limiter=medium_thread)


def _timing(job: Job, metrics: Metrics) -> bytes:
    """The header Server-Timing: milliseconds in graph calls of its own, and in waiting for them."""
    queue_ms = 1e3 * max(0.0, job.took_s - job.compute_s)
    metrics.waited(queue_ms / 1e3)
    annotate(queue_ms=queue_ms, compute_ms=1e3 * job.compute_s)
    return b"queue;dur=%.3f, compute;dur=%.3f" % (queue_ms, 1e3 * job.compute_s)
