"""`thinned predict`: rows answered without a server, checked and answered as the service would."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.errors import NoSitesError
from thinned.models.sampling import Estimator, Sampling, draw_seed
from thinned.models.storage.model_store import StoredModel, find
from thinned.models.uncertainty.answer import needs_passes
from thinned.models.uncertainty.nearest_rows import OodScores, check_ood
from thinned.models.uncertainty.policies import check_promises, policy_passes
from thinned.models.uncertainty.promises import CALIBRATED_ESTIMATOR, calibrated_passes
from thinned.service.cli.answer_files import check_output, write_answers
from thinned.service.cli.data_files import read_rows
from thinned.service.cli.output import console, print_json
from thinned.service.cli.tables import print_answers, print_statistics
from thinned.service.inference.answers import answers_of, document_of, draw_alone, stopped_by
from thinned.service.schema.request_fields import SampleRequest
from thinned.service.schema.response_body import in_lists, predict_answer
from thinned.service.settings import Settings

if TYPE_CHECKING:
    from thinned.models.dropout import StochasticModel

__all__ = ["predict_file"]

NO_LIMIT = 2**63
Inputs = dict[str, npt.NDArray[Any]]


def predict_file(
    name: str,
    path: Path,
    *,
    n_samples: int | None,
    seed: int | None,
    as_json: bool,
    sampling: Sampling = "stratified",
    tolerance: float | None = None,
    coverage: float | None = None,
    calibrated: bool = True,
    policy: bool = False,
    ood: bool = False,
    output: Path | None = None,
    estimator: Estimator | None = None,
) -> None:
    """Print, or write to a file, the answers to the rows of a file.

    Args:
        name: The model, "name" or "name:version".
        path: The file of rows; "-" for standard input.
        n_samples: Passes to take the mean and variance over; None for the deterministic answer, with a coverage or a
            policy for as many as were calibrated, or with a tolerance for as many as a request may ask for.
        seed: Seed of the passes; one is drawn and printed if None.
        sampling: How passes relate to each other.
        tolerance: Stop where every row's standard errors are below this; n_samples is then the most there may be.
        coverage: Of the intervals or sets to answer too.
        calibrated: Whether means and entropies have the fitted temperature, where there is one.
        policy: Whether to answer which rows to accept too.
        estimator: How mean and variance are made; None for as well as can be, with a coverage as calibrated.
        ood: Whether to answer how unlike known rows each row is too.
        as_json: Print what the service would answer, not a table.
        output: The file to write the answers of all rows to.

    Raises:
        ThinnedError: There is no such model, the file does not fit it, or the answers cannot be written.
    """
    at_limit = n_samples is None and tolerance is not None and coverage is None and not policy
    n_samples = Settings.read().max_samples if at_limit else n_samples
    stored = find(name)
    if output is not None:
        check_output(output)
    promised = coverage is not None or policy
    if promised:
        fitted = calibrated_passes(stored.card) if coverage is not None else policy_passes(stored.card)
        n_samples = (fitted or 2) if n_samples is None else n_samples
        check_promises(
            stored.card,
            coverage,
            policy,
            n_samples=n_samples,
            sampling=sampling,
            adaptive=tolerance is not None,
            limit=NO_LIMIT,
            estimator=estimator,
        )
    if ood:
        check_ood(stored.card)
    inputs = read_rows(path, stored.card.inputs)
    if n_samples is not None and not stored.card.has_passes:
        raise NoSitesError(
            f"{stored.tag} draws no noise, so its variance over passes would be 0; leave out --n-samples and "
            "--tolerance"
        )
    import_tensorflow()
    from thinned.models.loading import load_scorer, load_stored

    model = load_stored(stored)
    scorer = load_scorer(stored, model) if ood else None
    unlike = None if scorer is None else scorer.of_rows(model, inputs)
    show = not as_json and output is None
    if n_samples is None:
        document = _predict(stored, model, inputs, unlike, show=show)
    else:
        request = SampleRequest(
            inputs,
            n_samples,
            draw_seed() if seed is None else seed,
            quantiles=None,
            return_samples=False,
            timeout_ms=math.inf,
            sampling=sampling,
            tolerance=tolerance,
            coverage=coverage,
            calibrated=calibrated,
            policy=policy,
            at_limit=at_limit,
            estimator=CALIBRATED_ESTIMATOR if promised else estimator or "best",
            needs_passes=promised and needs_passes(stored.card),
            members=stored.card.outputs[0].members,
        )
        document = _predict_mc(stored, model, request, unlike, show=show)
    if output is not None:
        write_answers(document, stored.card, output)
    if as_json:
        print_json(document)
    elif output is not None:
        said = f", {document['n_samples']} passes, seed {document['seed']}" if n_samples is not None else ""
        console().print(f"Answers of {len(next(iter(inputs.values())))} rows written to {output}{said}", soft_wrap=True)


def _predict(
    stored: StoredModel, model: StochasticModel, inputs: Inputs, ood: OodScores | None, *, show: bool
) -> dict[str, Any]:
    """The deterministic answer."""
    outputs = model.predict(inputs)
    document = in_lists(predict_answer(outputs, stored.card, stored.version, max_numbers=NO_LIMIT, ood=ood))
    if show:
        print_answers(outputs, stored.card, ood=ood)
    return document


def _predict_mc(
    stored: StoredModel, model: StochasticModel, request: SampleRequest, ood: OodScores | None, *, show: bool
) -> dict[str, Any]:
    """The answer over passes."""
    card, run = stored.card, draw_alone(request, model)
    answers, ended = answers_of(run, request, card), stopped_by(run, request)
    said = document_of(answers, run, request, card, stored.version, ood=ood, max_numbers=NO_LIMIT)
    document = in_lists(said)
    if show:
        print_statistics(answers, card, n_samples=run.drawn, seed=document["seed"], coverage=request.coverage, ood=ood)
        if "calibrated" in document:
            print("Means and entropies have the fitted temperature; --plain gives those of the network.")
        if ended == "limit":
            print(f"The tolerance is not met after {run.drawn} passes, the limit (THINNED_MAX_SAMPLES).")
        elif ended is not None and ended != "exact":
            print("The tolerance is met." if ended == "tolerance" else f"Not met after --n-samples {run.drawn}.")
    return document
