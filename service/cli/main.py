"""The command `thinned`: from a Keras file, or an example, to answers with their uncertainty."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from thinned._version import __version__
from thinned.models.errors import UsageError
from thinned.models.sampling import SEEDS, Estimator, Sampling
from thinned.service.cli import (
    audit,
    build,
    calibrate,
    doctor,
    ensemble,
    evaluate,
    export,
    help_texts,
    import_model,
    load,
    score,
    stored_models,
    token,
)
from thinned.service.cli.completion import stored_names
from thinned.service.cli.exit_status import ending, is_full_disk
from thinned.service.cli.options import StoredName

__all__ = ["app", "main"]

app = typer.Typer(
    name="thinned",
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


class Example(StrEnum):
    """The models that can be trained here."""

    digits = "digits"
    diabetes = "diabetes"


@app.callback(invoke_without_command=True, help=help_texts.THINNED)
def thinned(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Say what the command is, where no other command is named."""
    if version:
        typer.echo(f"thinned {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(help=help_texts.TRAIN)
def train(
    example: Annotated[
        Example, typer.Argument(metavar="digits|diabetes", help="The example to train.", show_default=False)
    ],
) -> None:
    """Train an example."""
    from thinned.service.cli.train import train_example

    train_example(example.value)


@app.command(help=help_texts.PREDICT)
def predict(
    name: StoredName,
    file: Annotated[
        Path,
        typer.Option(
            "--input",
            metavar="x.csv|x.parquet|x.json|x.npz|x.npy|-",
            help="The rows: a table whose columns are found by name (CSV, Parquet, JSON records); nested lists; an "
            "array with the rows first, or one for each input by name; - for standard input.",
            show_default=False,
        ),
    ],
    n_samples: Annotated[
        int | None, typer.Option(min=2, help="Ask for the mean and variance over this many passes.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=SEEDS - 1, help="The same seed gives the same passes. Drawn by default, and printed."),
    ] = None,
    sampling: Annotated[
        Sampling, typer.Option(help="How passes relate to each other; stratified ones need fewer for the same error.")
    ] = "stratified",
    estimator: Annotated[
        Estimator | None,
        typer.Option(
            help="How mean and variance are made: best draws no last masks where both are closed forms over them, "
            "passes takes those of the passes. Best by default; with a --coverage as was calibrated.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Stop where every row's standard errors of the mean, widened by Student's t, are below this, in the "
            "outputs' units; "
            "--n-samples is then the most passes there may be, THINNED_MAX_SAMPLES by default.",
            show_default=False,
        ),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            help="Of a calibrated model: intervals or sets that hold a new row's truth with at least this probability.",
            show_default=False,
        ),
    ] = None,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Means and entropies as the network gives them, without the fitted temperature."),
    ] = False,
    policy: Annotated[
        bool,
        typer.Option("--policy", help="Of a model with a policy (calibrate --risk): which rows to accept."),
    ] = False,
    ood: Annotated[
        bool,
        typer.Option("--ood", help="Of a model that was calibrated with --ood: how unlike known rows each row is."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="y.parquet|y.csv|y.npz",
            help="Write the answers of all rows to this file, whole or not at all.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the service would answer, in full.")] = False,
) -> None:
    """Ask a model without a server."""
    if coverage is not None and not 0 < coverage < 1:
        raise UsageError(f"--coverage expects a number between 0 and 1, both left out, received {coverage:g}")
    if seed is not None and n_samples is None and tolerance is None and coverage is None and not policy:
        raise UsageError("--seed is for passes and there are none without --n-samples; add --n-samples 50")
    if tolerance is not None and not 0 < tolerance < float("inf"):
        raise UsageError(f"--tolerance expects a number above 0, received {tolerance:g}")
    from thinned.service.cli.predict import predict_file

    predict_file(
        name,
        file,
        n_samples=n_samples,
        seed=seed,
        as_json=as_json,
        sampling=sampling,
        estimator=estimator,
        tolerance=tolerance,
        coverage=coverage,
        calibrated=not plain,
        policy=policy,
        ood=ood,
        output=output,
    )


@app.command(help=help_texts.SERVE)
def serve(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="The models, the first by default, NAME@shadow for one that answers unseen; THINNED_MODEL, or digits, "
            "where none is named.",
            show_default=False,
            autocompletion=stored_names,
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Processes, each with the model loaded; by default THINNED_WORKERS, or 1.",
            show_default=False,
        ),
    ] = None,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="Print the settings in force, checked, and exit.")
    ] = False,
) -> None:
    """Serve models over HTTP."""
    from thinned.service.cli.serve import print_settings, serve_models

    if show_settings:
        print_settings(names)
    else:
        serve_models(names, host=host, port=port, workers=workers)


import_model.register(app)
ensemble.register(app)
stored_models.register(app)
audit.register(app)
evaluate.register(app)
calibrate.register(app)
build.register(app)
export.register(app)
doctor.register(app)
load.register(app)
score.register(app)
token.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 when done, 2 with one line on stderr when it was used wrongly."""
    _quieten()
    try:
        status = typer.main.get_command(app).main(arguments, prog_name="thinned", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("THINNED_DEBUG"):
            raise
        known = ending(error)
        print(known.line, file=sys.stderr)
        if is_full_disk(error):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # as above: it may be the full one
        sys.exit(known.status)
    sys.exit(status if isinstance(status, int) else 0)


def _quieten() -> None:
    """Python warnings of libraries are for those who write code with them."""
    import warnings

    if not sys.warnoptions:
        warnings.simplefilter("ignore")


if __name__ == "__main__":
    main()
