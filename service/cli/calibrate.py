"""`thinned calibrate`: fit noise, temperature and conformal scores on held-out rows, as a new version of the model."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from thinned.models.card import PolicyScore, SetKind
from thinned.models.errors import UsageError
from thinned.service.cli.options import ModelName, OutputName, TargetName
from thinned.service.cli.output import console, print_json

__all__ = ["register"]

HELP = """Calibrate a model on rows that it was not trained on.

A regression gets the variance of its observation noise; a classification a temperature for its mean over passes. Both
get what intervals and sets of a stated coverage need: `/predict_mc` then takes "coverage": 0.9. A third of the rows
fits what the scores are made with, the others are scored: a coverage of 0.9 needs 13 rows, and one of 0.95 needs 28.

The calibrated model is a new version of the name; the old version stays, and can be asked for as NAME:VERSION.

\b
Examples:
  thinned calibrate digits --data validation.npz
  thinned calibrate house --data validation.csv --target price --n-samples 64
  thinned calibrate health --data visits.csv --target pressure --group patient
  thinned calibrate digits --data validation.npz --sets raps
  thinned calibrate digits --data validation.npz --risk 0.05
  thinned calibrate digits --data validation.npz --ood --reference train.npz
"""


def register(app: typer.Typer) -> None:
    """Add the command to `thinned`."""
    app.command("calibrate", help=HELP)(_calibrate)


def _calibrate(
    model: ModelName,
    data: Annotated[
        Path,
        typer.Option(
            metavar="val.npz|val.csv|val.parquet|val.json",
            help="Rows and targets: arrays x and y, or columns.",
            show_default=False,
        ),
    ],
    target: TargetName = None,
    output: OutputName = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|ARRAY",
            help="Which rows belong together (a patient, a site): the promise is then for new groups.",
            show_default=False,
        ),
    ] = None,
    n_samples: Annotated[
        int, typer.Option(min=2, max=100_000, help="Passes to calibrate; the promise is for answers of as many.")
    ] = 128,
    sets: Annotated[
        SetKind | None,
        typer.Option(
            help="How the sets of a classification are made: plain ones are the smallest, aps and raps are larger "
            "where the model is less sure. plain by default.",
            show_default=False,
        ),
    ] = None,
    empty_sets: Annotated[
        bool, typer.Option("--empty-sets", help="Let plain sets be empty, else the likeliest class is in each.")
    ] = False,
    risk: Annotated[
        float | None,
        typer.Option(
            help="Fit a policy too: accept rows of which at most this share is wrong, abstain from the others.",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(help="How sure it is that accepted rows keep the --risk.")] = 0.95,
    score: Annotated[
        PolicyScore | None,
        typer.Option(
            help="What the policy goes by; by default what ranks wrong answers best on a fold of the rows.",
            show_default=False,
        ),
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            help="Of a regression the error, in units of the target, beyond which an answer counts as wrong.",
            show_default=False,
        ),
    ] = None,
    ood: Annotated[
        bool,
        typer.Option("--ood", help="Also keep what tells new rows unlike these: `ood` in a request has a p-value."),
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="train.npz|train.csv|…",
            help="Of --ood: rows to look for neighbours among, best those of the training; else half of --data.",
            show_default=False,
        ),
    ] = None,
    note: Annotated[
        str | None,
        typer.Option(help="A few words on the new version; those of the old one by default.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was fitted as JSON.")] = False,
) -> None:
    from thinned.models.calibration import PolicyRequest, fit, fit_ood, store_calibrated
    from thinned.service.cli.data_files import read_known
    from thinned.service.cli.labelled import load_labelled

    if risk is None and (score is not None or max_error is not None):
        raise UsageError("--score and --max-error are of a policy: say with --risk which risk it is to keep")
    if reference is not None and not ood:
        raise UsageError("--reference is of --ood: give both, or leave it out")
    policy = None if risk is None else PolicyRequest(risk, confidence, score, max_error)
    labelled = load_labelled(model, data, target=target, output=output, group=group)
    from thinned.models.storage.versions import aliases_of
    from thinned.models.uncertainty.nearest_rows import describe_ood
    from thinned.models.uncertainty.policies import describe_policy
    from thinned.models.uncertainty.promises import describe_promise

    stored, inputs = labelled.stored, labelled.inputs
    known = None if reference is None else read_known(reference, stored.card.inputs, target, group)
    found = fit(
        labelled.model,
        labelled.spec,
        inputs,
        labelled.targets,
        n_samples=n_samples,
        groups=labelled.groups,
        sets=sets,
        empty_sets=empty_sets,
        policy=policy,
    )
    unlike = None
    if ood:
        unlike = fit_ood(labelled.model, stored.card, inputs, groups=labelled.groups, reference=known)
    made = store_calibrated(stored, found.spec, note=note, ood=unlike)
    fitted = found.spec.calibration
    if as_json:
        print_json(
            {
                "version": made.version,
                "output": found.spec.model_dump(mode="json"),
                "nll_before": found.nll_before,
                "nll_after": found.nll_after,
                "ood": None if unlike is None else unlike.card.model_dump(mode="json"),
            }
        )
        return
    out = console()
    rows = len(next(iter(inputs.values())))
    out.print(f"Calibrated the output {found.spec.name} on {rows} rows with {n_samples} passes.", markup=False)
    if fitted is not None and fitted.temperature is not None:
        out.print(f"Temperature of the mean over passes: {fitted.temperature:.4g}")
    if fitted is not None and fitted.variance_factor is not None:
        out.print(f"Factor on the variances that the network answers: {fitted.variance_factor:.4g}")
    if found.spec.noise is not None:
        noises = ", ".join(f"{noise**0.5:.4g}" for noise in found.spec.noise[:6])
        out.print(f"Standard deviation of the observation noise: {noises}")
    before = "not defined (the noise was not known)" if found.nll_before is None else f"{found.nll_before:.4f}"
    if found.nll_after is not None:
        out.print(
            f"Negative log-likelihood on these {rows} rows, in nats: {before} before, {found.nll_after:.4f} after"
        )
    out.print(describe_promise(found.spec), markup=False, soft_wrap=True)
    told = describe_policy(found.spec)
    if told is not None:
        out.print(told, markup=False, soft_wrap=True)
    if unlike is not None:
        out.print(describe_ood(unlike.card), markup=False, soft_wrap=True)
    name = stored.card.name
    out.print(f"Stored as {made.tag}, which is the latest version of {name} now; {stored.tag} stays.", soft_wrap=True)
    for alias in aliases_of(made.path.parent, stored.version):
        move = f"thinned alias {made.tag} {alias}"
        out.print(f"{name}@{alias} stays with {stored.tag}; to move it: {move}", soft_wrap=True)
    chosen = [*(["--target", target] if target else []), *(["--output", output] if output else [])]
    scoring = shlex.join(["thinned", "evaluate", name, "--data", f"OTHER{data.suffix}", *chosen])
    out.print(f"Next: thinned serve {name}")
    out.print(f"To score it, on rows of neither this file nor the training: {scoring}", markup=False, soft_wrap=True)
