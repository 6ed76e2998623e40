"""`thinned export`: a stored model as a file that other programs serve."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from thinned.models.sampling import Estimator, Sampling
from thinned.service.cli.options import StoredName, require_extra

__all__ = ["register"]

HELP = """Write a model as a file that other programs serve, passes included.

A SavedModel has three signatures. serving_default takes the inputs, n_samples and seed, and answers mean, variance
and, of a classification, entropies; predict answers without noise; sample gives the passes themselves. The same seed
gives the same passes as here. TensorFlow Serving, or any runtime of SavedModels, needs nothing of Thinned to run it.

ONNX is the same in three files: passes.onnx, predict.onnx and sample.onnx, for ONNX Runtime.

A process that imports the runtime alone loads it, and is compared with the engine, before it is put in its place.

\b
Examples:
  thinned export digits --to saved-model --output served/digits/1
  thinned export digits --to onnx --output digits-onnx
  thinned export house@live --to saved-model --output house --sampling independent --estimator passes
"""


class Form(StrEnum):
    """What a model can be written as."""

    saved_model = "saved-model"
    onnx = "onnx"


def register(app: typer.Typer) -> None:
    """Add the command to `thinned`."""
    app.command("export", help=HELP)(_export)


def _export(
    name: StoredName,
    output: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="Where to write it: a folder that is not there, or is empty.", show_default=False
        ),
    ],
    to: Annotated[Form, typer.Option(help="The form of the file.")] = Form.saved_model,
    sampling: Annotated[Sampling, typer.Option(help="How passes relate to each other.")] = "stratified",
    estimator: Annotated[
        Estimator,
        typer.Option(help="How mean and variance are made: best takes closed forms where there are such, as the API."),
    ] = "best",
) -> None:
    """Export a model."""
    from thinned.models.storage.model_store import find
    from thinned.service.cli.output import progress_line

    if to is Form.onnx:
        require_extra("onnx", "tf2onnx", "onnx", "onnxruntime")
    stored = find(name)
    with progress_line("Starting TensorFlow") as on_step:
        from thinned.models.compat.tensorflow import import_tensorflow

        import_tensorflow()
        from thinned.models.export.run import export_model

        done = export_model(stored, output, form=to.value, sampling=sampling, estimator=estimator, on_step=on_step)
    typer.echo(f"Wrote {stored.tag} to {output} ({done.bytes / 2**20:.1f} MiB). What it has answers:")
    for signature, fields in done.signatures.items():
        typer.echo(f"  {signature}: {', '.join(fields)}")
    worst, error = max(done.agreement.errors.items(), key=lambda item: item[1])
    typer.echo(
        f"{done.runtime} alone answers as the engine does: the largest difference is {error:.1e} of the largest number "
        f"({worst}); {done.agreement.tolerance:.1e} is allowed."
    )
    if not stored.card.has_passes:
        typer.echo("The model draws no noise: all that it has is its plain answer.")
