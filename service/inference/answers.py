"""What the passes of a run say: all that was asked for, of each output, and as the document that is written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from thinned.models.card import ModelCard
from thinned.models.uncertainty import OutputAnswer, answer_output
from thinned.models.uncertainty.nearest_rows import OodScores
from thinned.models.uncertainty.reduction import has_positions, reduce_output
from thinned.service.schema.request_fields import SampleRequest
from thinned.service.schema.response_body import predict_mc_answer

if TYPE_CHECKING:
    from thinned.models.dropout import MonteCarloRun, StochasticModel

__all__ = ["answers_of", "document_of", "draw_alone", "stopped_by"]


def draw_alone(request: SampleRequest, model: StochasticModel) -> MonteCarloRun:
    """All passes of a request, drawn at once and in this thread, where no service shares the model with others.

    Raises:
        InputError: The model itself refuses the values.
    """
    from thinned.models.dropout import MonteCarloRun, complete

    run = MonteCarloRun(
        request.inputs,
        [spec.name for spec in model.outputs],
        row_passes=model.row_passes_for({name: x.shape[1:] for name, x in request.inputs.items()}),
        n_samples=request.n_samples,
        seed=request.seed,
        sampling=request.sampling,
        keep_passes=request.needs_passes,
        tolerance=request.tolerance,
        budget_ms=request.budget_ms,
        estimator=request.estimator,
        exact=model.needs_no_pass(request.estimator, keep_passes=request.needs_passes),
    )
    return complete(run, model)


def answers_of(run: MonteCarloRun, request: SampleRequest, card: ModelCard) -> dict[str, OutputAnswer]:
    """All that is said of each output, by its name.

    Args:
        run: Its passes, drawn.
        request: What was asked for.
        card: The model's.

    Raises:
        AnswerNotFiniteError: A pass is NaN or infinite.
        CalibrationError: An output is not calibrated for the coverage.
    """
    statistics, passes = run.statistics(), run.passes
    return {
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


def document_of(
    answers: Mapping[str, OutputAnswer],
    run: MonteCarloRun,
    request: SampleRequest,
    card: ModelCard,
    version: str,
    *,
    ood: OodScores | None,
    max_numbers: int,
) -> dict[str, Any]:
    """The answer of `/predict_mc`, as `predict_mc_answer` makes it; `answers` are those of `answers_of`.

    Raises:
        AnswerNotFiniteError: A pass is NaN or infinite.
        InputError: It holds more than `max_numbers` numbers of an output.
    """
    reduced = None
    if request.reduction is not None:
        passes = run.passes
        reduced = {
            spec.name: reduce_output(answers[spec.name], passes[spec.name], request.reduction, members=spec.members)
            for spec in card.outputs
            if has_positions(spec)
        }
    return predict_mc_answer(
        answers,
        card,
        version,
        n_samples=run.drawn,
        seed=cast(int, run.seed),
        sampling=run.sampling,
        converged=run.converged(),
        stopped_by=stopped_by(run, request),
        coverage=request.coverage,
        reduced=reduced,
        ood=ood,
        max_numbers=max_numbers,
    )


def stopped_by(run: MonteCarloRun, request: SampleRequest) -> str | None:
    """What ended the passes of a request that may have fewer than it allows."""
    return "limit" if request.at_limit and run.stopped_by == "n_samples" else run.stopped_by
