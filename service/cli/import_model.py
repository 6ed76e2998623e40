"""`thinned import`: a model file brought into the store."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from thinned.models.errors import UsageError
from thinned.service.cli import help_texts, options
from thinned.service.cli.output import progress_line

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `thinned`."""
    app.command("import", help=help_texts.IMPORT)(_import)


def _import(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.keras|FILE.h5",
            help="The file that model.save wrote; HDF5 and archives of Keras 2 are converted.",
        ),
    ],
    task: Annotated[
        list[str],
        typer.Option(
            metavar="[OUTPUT=]TASK",
            help="classification or regression; multilabel for several sigmoids at once; gaussian for means and "
            "then log-variances; quantile for quantiles of a number (--levels). "
            "With several outputs, once for each: --task mask=classification.",
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
            "activation (softmax, sigmoid) does not tell. values: a softmax is meant as a regression.",
            show_default=False,
        ),
    ] = None,
    levels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[OUTPUT=]0.05,0.5,0.95",
            help="Goes with --task quantile: the level of each number of the output.",
            show_default=False,
        ),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE|FILE.py",
            help="Defines the model's own layers. ITS CODE IS RUN, now and whenever the model is loaded; one file, a "
            "copy of which is kept beside the model, or an installed package such as keras_hub.",
            show_default=False,
        ),
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[INPUT=]32,32,3",
            help="Shape of one row, ? where it varies: for a subclassed model that does not know its inputs, or to fix "
            "lengths that a model leaves open.",
            show_default=False,
        ),
    ] = None,
    input_dtype: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[INPUT=]DTYPE",
            help="Goes with --input-shape; the model's own by default, or float32; string for text.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Rows of your data (.csv, .parquet, .json, .npz, .npy) to check the model on, now and whenever it is "
            "loaded; 8 are kept beside it. Made up by default.",
            show_default=False,
        ),
    ] = None,
    feature_names: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[INPUT=]a,b,c|FILE",
            help="Names of the columns that hold a row, in the order in which the model takes them, or a file with one "
            "a line. Tables and records are then read by these names, in any order.",
            show_default=False,
        ),
    ] = None,
    padding: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[INPUT=]VALUE",
            help="What shorter rows of a request are filled up with at their end. Read from the model where an "
            "embedding masks 0 (mask_zero).",
            show_default=False,
        ),
    ] = None,
    image_resize: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[INPUT=]METHOD",
            help="How a PNG or JPEG of another size is brought to the input's: nearest, bilinear, bicubic, area, "
            "bilinear-antialias or bicubic-antialias, as tf.image.resize does it. Choose what the model was trained "
            "with. none: such an image is refused, which is the default.",
            show_default=False,
        ),
    ] = None,
    insert_dropout: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RATE:LAYER",
            help="Put dropout behind a layer of a model that was trained without, such as 0.1:dense_1; may be "
            "repeated. The card and the audit say that it was not trained with it.",
            show_default=False,
        ),
    ] = None,
    gaussian: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MEAN:SPREAD[:KIND]",
            help="Two outputs that are the mean and the log_variance (or variance, or deviation: KIND) of a target: "
            "they become one output of the task gaussian. May be repeated.",
            show_default=False,
        ),
    ] = None,
    expect: Annotated[
        Path | None,
        typer.Option(
            metavar="outputs.npz",
            help="Inputs and the outputs recorded for them, by name (or x and y): the model must answer the same, to "
            "1e-4 of the largest number.",
            show_default=False,
        ),
    ] = None,
    note: Annotated[
        str | None,
        typer.Option(help="A few words on this version, such as what it was trained on.", show_default=False),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Take the place of a version that takes or answers something else: other shapes, task, or labels.",
        ),
    ] = False,
) -> None:
    """Bring a Keras model into the store."""
    from thinned.models.storage.custom_layers import find_module
    from thinned.service.cli.data_files import SUFFIXES, read_rows
    from thinned.service.cli.model_tables import print_stored

    tasks, chosen = options.tasks(task), options.scales(scale or ())
    names, specs = options.labels(labels or ()), options.input_specs(input_shape or (), input_dtype or ())
    rates = options.dropout_rates(insert_dropout or ())
    columns, filled = options.columns(feature_names or ()), options.padding(padding or ())
    if data is not None and (data.suffix.lower() not in SUFFIXES or not data.is_file()):
        raise UsageError(f"--data expects a file that ends in {', '.join(SUFFIXES)}; {str(data)!r} is no such file")
    source = None if module is None else find_module(module)
    from thinned.models.storage.import_request import current_version
    from thinned.models.storage.importing import import_model
    from thinned.models.storage.stored_model import digest

    before = current_version(file.stem if name is None else name)
    began = datetime.now(UTC)
    with progress_line("Starting TensorFlow") as on_step:
        stored = import_model(
            file,
            name=file.stem if name is None else name,
            tasks=tasks,
            labels=names,
            scale=chosen,
            module=source,
            input_specs=specs,
            data=None if data is None else partial(read_rows, data),
            data_sha256=None if data is None else digest(data),
            expect=expect,
            columns=columns,
            padding=filled,
            image_resize=options.image_resize(image_resize or ()),
            insert=rates,
            gaussian=options.gaussian_heads(gaussian or ()),
            levels=options.levels(levels or ()),
            note=note,
            replace=replace,
            on_step=on_step,
        )
    if stored.card.created < began:
        typer.echo(
            f"The same file with the same options is {stored.tag} already, which is the latest version of "
            f"{stored.card.name}. Nothing was stored."
        )
        return
    print_stored(stored, before)
