"""`thinned calibrate`: fit noise, temperature and conformal scores on held-out rows, as a new version of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thinned.service.cli.options import ModelName, OutputName, TargetName
from thinned.service.cli.output import console, print_json

__all__ = ["register"]

HELP = """Calibrate a model on rows that it was not trained on.

A regression gets the variance of its observation noise; a classification a temperature for its mean over passes. Both
get what intervals and sets of a stated coverage need: `/predict_mc` then takes "coverage": 0.9.

The calibrated model is a new version of the name; the old version stays, and can be asked for as NAME:VERSION.

\b
Examples:
  thinned calibrate digits --data validation.npz
  thinned calibrate house --data validation.csv --target price --n-samples 64
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
    n_samples: Annotated[
        int, typer.Option(min=2, max=100_000, help="Passes to calibrate; the promise is for answers of as many.")
    ] = 128,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was fitted as JSON.")] = False,
) -> None:
    from thinned.service.cli.labelled import load_labelled

    labelled = load_labelled(model, data, target=target, output=output)
    from thinned.models.calibration import fit, store_calibrated

    stored, inputs = labelled.stored, labelled.inputs
    found = fit(labelled.model, labelled.spec, inputs, labelled.targets, n_samples=n_samples)
    made = store_calibrated(stored, found.spec)
    fitted = found.spec.calibration
    if as_json:
        print_json(
            {
                "version": made.version,
                "output": found.spec.model_dump(mode="json"),
                "nll_before": found.nll_before,
                "nll_after": found.nll_after,
            }
        )
        return
    out = console()
    if fitted is not None and fitted.temperature is not None:
        out.print(f"Temperature of the mean over passes: {fitted.temperature:.4g}")
    if fitted is not None and fitted.variance_factor is not None:
        out.print(f"Factor on the variances that the network answers: {fitted.variance_factor:.4g}")
    if found.spec.noise is not None:
        noises = ", ".join(f"{noise**0.5:.4g}" for noise in found.spec.noise[:6])
        out.print(f"Standard deviation of the observation noise: {noises}")
    before = "not defined (the noise was not known)" if found.nll_before is None else f"{found.nll_before:.4f}"
    rows = len(next(iter(inputs.values())))
    out.print(f"Negative log-likelihood on these {rows} rows, in nats: {before} before, {found.nll_after:.4f} after")
    out.print(f"Stored as {made.tag}; {stored.tag} stays. Next: thinned evaluate {stored.card.name} --data test.npz")
