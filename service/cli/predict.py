"""`thinned predict`: a file of rows answered without a server, checked and answered as the service would."""

from __future__ import annotations

from pathlib import Path

from thinned.models.compat.tensorflow import import_tensorflow
from thinned.models.errors import NoSitesError
from thinned.models.sampling import Sampling, draw_seed
from thinned.models.storage.model_store import find
from thinned.models.uncertainty import answer_output
from thinned.service.cli.data_files import read_inputs
from thinned.service.cli.output import print_json
from thinned.service.cli.tables import print_answers, print_statistics
from thinned.service.schema.input_arrays import check_inputs
from thinned.service.schema.response_body import predict_answer, predict_mc_answer
from thinned.service.settings import Settings

__all__ = ["predict_file"]

NO_LIMIT = 2**63


def predict_file(
    name: str,
    path: Path,
    *,
    n_samples: int | None,
    seed: int | None,
    as_json: bool,
    sampling: Sampling = "stratified",
    tolerance: float | None = None,
) -> None:
    """Print the answers to the rows of a file.

    Args:
        name: The model, "name" or "name:version".
        path: The file of rows.
        n_samples: Passes to take the mean and variance over; None for the deterministic answer, or with a tolerance
            for as many as a request may ask for.
        seed: Seed of the passes; one is drawn and printed if None.
        sampling: How passes relate to each other.
        tolerance: Stop where every row's standard errors are below this; n_samples is then the most there may be.
        as_json: Print what the service would answer, not a table.

    Raises:
        ThinnedError: There is no such model, or the file does not fit it.
    """
    at_limit = n_samples is None and tolerance is not None
    n_samples = Settings.read().max_samples if at_limit else n_samples
    stored = find(name)
    card = stored.card
    inputs = check_inputs(read_inputs(path, card.inputs), card.inputs, max_rows=None)
    if n_samples is not None and not card.sites:
        raise NoSitesError(
            f"{stored.tag} draws no noise, so its variance over passes would be 0; leave out --n-samples and "
            "--tolerance"
        )
    import_tensorflow()
    from thinned.models.dropout import MonteCarloRun, complete
    from thinned.models.loading import load_stored

    model = load_stored(stored)
    if n_samples is None:
        outputs = model.predict(inputs)
        document = predict_answer(outputs, card, stored.version, max_numbers=NO_LIMIT)
        if as_json:
            print_json(document)
        else:
            print_answers(outputs, card)
        return
    seed = draw_seed() if seed is None else seed
    run = MonteCarloRun(
        inputs,
        [spec.name for spec in card.outputs],
        row_passes=model.row_passes,
        n_samples=n_samples,
        seed=seed,
        sampling=sampling,
        tolerance=tolerance,
    )
    statistics = complete(run, model).statistics()
    stopped_by = "limit" if at_limit and run.stopped_by == "n_samples" else run.stopped_by
    answers = {
        spec.name: answer_output(spec, statistics[spec.name], sampling=sampling, calibrated=True)
        for spec in card.outputs
    }
    document = predict_mc_answer(
        answers,
        card,
        stored.version,
        n_samples=run.drawn,
        seed=seed,
        sampling=sampling,
        converged=run.converged(),
        stopped_by=stopped_by,
        max_numbers=NO_LIMIT,
    )
    if as_json:
        print_json(document)
    else:
        print_statistics(answers, card, n_samples=run.drawn, seed=seed)
        if "calibrated" in document:
            print("Means and entropies have the fitted temperature; --json gives the plain ones beside them.")
        if stopped_by == "limit":
            print(f"The tolerance is not met after {run.drawn} passes, the limit (THINNED_MAX_SAMPLES).")
        elif stopped_by is not None:
            print("The tolerance is met." if stopped_by == "tolerance" else f"Not met after --n-samples {run.drawn}.")
