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
from thinned.service.cli import audit, calibrate, evaluate, help_texts, load
from thinned.service.cli.exit_status import ending
from thinned.service.cli.options import UsageError

__all__ = ["app", "main"]

app = typer.Typer(
    name="thinned",
    add_completion=False,
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The model's name, or NAME:VERSION. `thinned models` lists them.")
]


class Sampling(StrEnum):
    """How passes relate to each other."""

    stratified = "stratified"
    independent = "independent"


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


@app.command("import", help=help_texts.IMPORT)
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE.keras", help='The file that model.save("FILE.keras") wrote.')],
    task: Annotated[
        list[str],
        typer.Option(
            metavar="[OUTPUT=]TASK",
            help="classification or regression; multilabel for several sigmoids at once; gaussian for means and "
            "then log-variances. With several outputs, once for each: --task mask=classification.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(help="Its name in the store; the file's own by default. A name that is there gets a new version."),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[OUTPUT=]a,b,c|FILE",
            help="Names of the classes in the order of the output, or a file with one a line. "
            "For a single sigmoid unit: the names of 0 and of 1.",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[OUTPUT=]SCALE",
            help="probabilities or logits: how a classification's numbers are to be read. Needed only where the last "
            "activation (softmax, sigmoid) does not tell.",
            show_default=False,
        ),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE|FILE.py",
            help="Defines the model's own layers. ITS CODE IS RUN, now and whenever the model is loaded; one file, a "
            "copy of which is kept beside the model.",
            show_default=False,
        ),
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[INPUT=]32,32,3",
            help="Shape of one row, ? where it varies. Only for a subclassed model that does not know its inputs.",
            show_default=False,
        ),
    ] = None,
    input_dtype: Annotated[
        list[str] | None,
        typer.Option(metavar="[INPUT=]DTYPE", help="Goes with --input-shape; float32 by default.", show_default=False),
    ] = None,
) -> None:
    """Bring a Keras model into the store."""
    from thinned.models.storage.custom_layers import find_module
    from thinned.service.cli import options as cli_options
    from thinned.service.cli.tables import print_model

    tasks, chosen = cli_options.tasks(task), cli_options.scales(scale or ())
    names, specs = cli_options.labels(labels or ()), cli_options.input_specs(input_shape or (), input_dtype or ())
    source = None if module is None else find_module(module)
    from thinned.models.storage.importing import import_model

    stored = import_model(
        file,
        name=file.stem if name is None else name,
        tasks=tasks,
        labels=names,
        scale=chosen,
        module=source,
        input_specs=specs,
    )
    print_model(stored)
    typer.echo(f"Stored as {stored.tag}. Next: thinned serve {stored.card.name}")


@app.command("models", help=help_texts.MODELS)
def models_(
    as_json: Annotated[bool, typer.Option("--json", help="Print all cards as JSON.")] = False,
) -> None:
    """List the models in the store."""
    from thinned.models.storage.model_store import find_all
    from thinned.service.cli.tables import card_json, print_json, print_models

    stored = find_all()
    if as_json:
        print_json([card_json(item) for item in stored])
    elif stored:
        print_models(stored)
    else:
        typer.echo(
            "The store is empty. Train an example (thinned train digits) or import a model (thinned import --help)."
        )


@app.command(help=help_texts.SHOW)
def show(
    name: Name,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Show a model's card."""
    from thinned.models.storage.model_store import find
    from thinned.service.cli.tables import card_json, print_json, print_model

    stored = find(name)
    if as_json:
        print_json(card_json(stored))
    else:
        print_model(stored)


@app.command(help=help_texts.PREDICT)
def predict(
    name: Name,
    file: Annotated[
        Path,
        typer.Option(
            "--input",
            metavar="x.npy|x.csv|x.json|x.npz",
            help="The rows: an array with the rows first; a row a line (a header may stand above); nested lists; or an "
            "array for each of several inputs, by name.",
            show_default=False,
        ),
    ],
    n_samples: Annotated[
        int | None, typer.Option(min=2, help="Ask for the mean and variance over this many passes.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**53 - 1, help="The same seed gives the same passes. Drawn by default, and printed."),
    ] = None,
    sampling: Annotated[
        Sampling, typer.Option(help="How passes relate to each other; stratified ones need fewer for the same error.")
    ] = Sampling.stratified,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Stop where every row's standard errors of the mean are below this, in the outputs' units; "
            "--n-samples is then the most passes there may be.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the service would answer, in full.")] = False,
) -> None:
    """Ask a model without a server."""
    if seed is not None and n_samples is None:
        raise UsageError("--seed is for passes and there are none without --n-samples; add --n-samples 50")
    if tolerance is not None and n_samples is None:
        raise UsageError("--tolerance needs the most passes there may be; add --n-samples 1000")
    if tolerance is not None and not 0 < tolerance < float("inf"):
        raise UsageError(f"--tolerance expects a number above 0, received {tolerance:g}")
    from thinned.service.cli.predict import predict_file

    predict_file(
        name, file, n_samples=n_samples, seed=seed, as_json=as_json, sampling=sampling.value, tolerance=tolerance
    )


@app.command(help=help_texts.SERVE)
def serve(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The model; THINNED_MODEL, or digits, by default.", show_default=False),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with the model loaded.")] = 1,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="Print the settings in force, checked, and exit.")
    ] = False,
) -> None:
    """Serve a model over HTTP."""
    from thinned.service.cli.serve import print_settings, serve_model

    if show_settings:
        print_settings(name)
    else:
        serve_model(name, host=host, port=port, workers=workers)


@app.command(help=help_texts.DELETE)
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a model."""
    from thinned.models.storage import model_store

    tags = model_store.tags(name)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"this would delete {', '.join(tags)}, and there is no terminal to ask on; pass --yes")
        typer.confirm(f"Delete {', '.join(tags)}?", abort=True)
    for tag in tags:
        model_store.delete(tag)
        typer.echo(f"Deleted {tag}")


audit.register(app)
evaluate.register(app)
calibrate.register(app)
load.register(app)


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
        known = ending(error)
        if known is None:
            raise
        print(known.line, file=sys.stderr)
        sys.exit(known.status)
    sys.exit(status if isinstance(status, int) else 0)


def _quieten() -> None:
    """Python warnings of libraries are for those who write code with them."""
    import warnings

    if not sys.warnoptions:
        warnings.simplefilter("ignore")


if __name__ == "__main__":
    main()
