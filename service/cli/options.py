"""Option values of the command line that are more than a word: NAME=VALUE, label lists, shapes."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from thinned.models.card import ImageResize, InputSpec, ModelCard, OutputSpec, Scale, Task
from thinned.models.errors import UsageError
from thinned.models.gaussian_heads import SPREADS, GaussianHeads
from thinned.service.cli.completion import stored_names

__all__ = [
    "ModelName",
    "OutputName",
    "StoredName",
    "TargetName",
    "choose_output",
    "columns",
    "dropout_rates",
    "gaussian_heads",
    "image_resize",
    "input_specs",
    "labels",
    "levels",
    "padding",
    "require_extra",
    "scales",
    "tasks",
]

# What commands on labelled rows have in common.
ModelName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The model's name, NAME:VERSION or NAME@ALIAS.", autocompletion=stored_names),
]
TargetName = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN[,COLUMN]|ARRAY",
        help="Where the targets are: a column, several for an output of several numbers, or an array; y in a .npz by "
        "default.",
        show_default=False,
    ),
]
OutputName = Annotated[str | None, typer.Option(help="Which output, where the model has several.", show_default=False)]

StoredName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The model's name, NAME:VERSION or NAME@ALIAS. `thinned models` lists them.",
        autocompletion=stored_names,
    ),
]

MAX_LABEL_FILE_BYTES = 64 * 1024 * 1024

SCALES = ("probabilities", "logits", "values")


def require_extra(extra: str, *packages: str) -> None:
    """Refuse to begin what needs packages that are not installed.

    Raises:
        UsageError: One is missing; names what to install.
    """
    missing = [package for package in packages if not _is_installed(package)]
    if missing:
        names = {"sklearn": "scikit-learn"}
        raise UsageError(
            f"this needs {' and '.join(names.get(name, name) for name in missing)}, which is not installed; install it "
            f'with: pip install "thinned[{extra}]"'
        )


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def tasks(values: Sequence[str]) -> dict[str | None, Task]:
    """Read `--task TASK` and `--task OUTPUT=TASK`.

    Raises:
        UsageError: A value is no task, or one output is named twice.
    """
    chosen: dict[str | None, Task] = {}
    for output, task in _by_output("--task", values).items():
        if task not in get_args(Task):
            raise UsageError(
                f"--task expects classification or regression, multilabel, gaussian or quantile, received {task!r}"
            )
        chosen[output] = cast(Task, task)
    return chosen


def scales(values: Sequence[str]) -> dict[str | None, Scale]:
    """Read `--scale SCALE` and `--scale OUTPUT=SCALE`.

    Raises:
        UsageError: A value is no scale, or one output is named twice.
    """
    chosen: dict[str | None, Scale] = {}
    for output, scale in _by_output("--scale", values).items():
        if scale not in SCALES:
            raise UsageError(f"--scale expects probabilities, logits or values (or OUTPUT=...), received {scale!r}")
        chosen[output] = cast(Scale, scale)
    return chosen


def dropout_rates(values: Sequence[str]) -> dict[str, float]:
    """Read `--insert-dropout RATE:LAYER`.

    Raises:
        UsageError: A value has another form, a rate is not between 0 and 1, or one layer is named twice.
    """
    rates: dict[str, float] = {}
    for value in values:
        rate, _, layer = value.partition(":")
        try:
            number = float(rate)
        except ValueError:
            number = -1.0
        if not (0 < number < 1 and layer):
            raise UsageError(f"--insert-dropout expects RATE:LAYER with a rate between 0 and 1, received {value!r}")
        if layer in rates:
            raise UsageError(f"--insert-dropout names layer {layer!r} twice")
        rates[layer] = number
    return rates


def gaussian_heads(values: Sequence[str]) -> tuple[GaussianHeads, ...]:
    """Read `--gaussian MEAN:SPREAD` and `--gaussian MEAN:SPREAD:KIND`.

    Raises:
        UsageError: A value has another form.
    """
    found = []
    for value in values:
        mean, _, rest = value.partition(":")
        spread, _, told = rest.partition(":")
        kind = next((kind for kind in SPREADS if kind == (told or "log_variance")), None)
        if not mean or not spread or kind is None:
            raise UsageError(
                f"--gaussian expects MEAN:SPREAD or MEAN:SPREAD:KIND, two outputs and one of {', '.join(SPREADS)}, "
                f"received {value!r}"
            )
        found.append(GaussianHeads(mean, spread, kind))
    return tuple(found)


def labels(values: Sequence[str]) -> dict[str | None, tuple[str, ...]]:
    """Read `--labels a,b,c`, `--labels FILE` with one label a line, and either with `OUTPUT=` before it.

    Raises:
        UsageError: A file cannot be read, or one output is named twice.
    """
    return {output: _label_list("--labels", text) for output, text in _by_output("--labels", values).items()}


def levels(values: Sequence[str]) -> dict[str | None, tuple[float, ...]]:
    """Read `--levels 0.05,0.5,0.95` and `--levels OUTPUT=0.05,0.5,0.95`.

    Raises:
        UsageError: A level is no number, or one output is named twice.
    """
    chosen: dict[str | None, tuple[float, ...]] = {}
    for output, text in _by_output("--levels", values).items():
        try:
            chosen[output] = tuple(float(word) for word in text.split(","))
        except ValueError:
            raise UsageError(f"--levels expects numbers such as 0.05,0.5,0.95, received {text!r}") from None
    return chosen


def columns(values: Sequence[str]) -> dict[str | None, tuple[str, ...]]:
    """Read `--feature-names a,b,c` and `--feature-names FILE`, either with `INPUT=` before it.

    Raises:
        UsageError: A file cannot be read, or one input is named twice.
    """
    given = _by_output("--feature-names", values, each="input")
    return {name: _label_list("--feature-names", text) for name, text in given.items()}


def padding(values: Sequence[str]) -> dict[str | None, str]:
    """Read `--padding VALUE` and `--padding INPUT=VALUE`.

    Raises:
        UsageError: One input is named twice.
    """
    return _by_output("--padding", values, each="input")


def image_resize(values: Sequence[str]) -> dict[str | None, ImageResize]:
    """Read `--image-resize METHOD` and `--image-resize INPUT=METHOD`; `none` is none.

    Raises:
        UsageError: A value is no method, or one input is named twice.
    """
    chosen: dict[str | None, ImageResize] = {}
    for name, method in _by_output("--image-resize", values, each="input").items():
        if method == "none":
            continue
        if method not in get_args(ImageResize):
            raise UsageError(
                f"--image-resize expects {', '.join(get_args(ImageResize))} or none (or INPUT=...), received {method!r}"
            )
        chosen[name] = cast(ImageResize, method)
    return chosen


def input_specs(shapes: Sequence[str], dtypes: Sequence[str]) -> tuple[InputSpec, ...] | None:
    """Read `--input-shape 32,32,3` and `--input-dtype float32`, either with `INPUT=` before it.

    Returns:
        The inputs in the order of the shapes, dtype "" where none is named; None if no shape was given.

    Raises:
        UsageError: A shape is no list of lengths, or a dtype is given without a shape.
    """
    by_name = _by_output("--input-shape", shapes)
    kinds = _by_output("--input-dtype", dtypes)
    if None in by_name and len(by_name) > 1:
        raise UsageError("several --input-shape: name the input of each, as in --input-shape image=32,32,3")
    for name in kinds:
        if name not in by_name and not (name is None and by_name):
            raise UsageError(
                f"--input-dtype {name + '=' if name else ''}{kinds[name]} needs an --input-shape beside it"
            )
    return (
        tuple(
            InputSpec(name=name or "input", shape=_shape(text), dtype=_dtype(kinds.get(name, kinds.get(None, ""))))
            for name, text in by_name.items()
        )
        or None
    )


def _by_output(option: str, values: Sequence[str], *, each: str = "output") -> dict[str | None, str]:
    """Values by the name before "=", which counts as one only if no comma or blank is in it."""
    found: dict[str | None, str] = {}
    for value in values:
        name, sign, rest = value.partition("=")
        named = bool(sign) and bool(name) and not set(name) & set(", ")
        key, text = (name, rest) if named else (None, value)
        if key in found:
            raise UsageError(f"{option} was given twice{f' for {key!r}' if key else ''}; give it once for each {each}")
        found[key] = text.strip()
    return found


def _label_list(option: str, text: str) -> tuple[str, ...]:
    path = Path(text)
    if "," not in text and path.is_file():
        try:
            if path.stat().st_size > MAX_LABEL_FILE_BYTES:
                raise UsageError(f"{option} {text}: expected a text file with one name a line, this one is too large")
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{option} {text}: expected a text file in UTF-8 with one name a line ({error})"
            ) from error
        return tuple(line.strip() for line in lines if line.strip())
    return tuple(label.strip() for label in text.split(","))


def _shape(text: str) -> tuple[int | None, ...]:
    """Lengths as "32,32,3", "32x32x3" or "(32, 32, 3)"; no text at all is one number a row."""
    inside = text.strip("() ").removesuffix(",")
    lengths: list[int | None] = []
    for part in re.sub(r"(?<=[\d?])x(?=[\d?])", ",", inside).split(",") if inside else []:
        word = part.strip().lower()
        if word in ("none", "?"):
            lengths.append(None)
        elif re.fullmatch("[1-9][0-9]{0,8}", word):
            lengths.append(int(word))
        else:
            raise UsageError(
                f"--input-shape expects the lengths of one row such as 32,32,3 (? where it varies), received {text!r}"
            )
    return tuple(lengths)


def _dtype(text: str) -> str:
    if not text:
        return text
    from thinned.service.schema.input_arrays import numpy_dtype

    try:
        kind = numpy_dtype(text)
    except (TypeError, AttributeError):
        kind = None
    if text != "string" and (kind is None or kind.kind not in "fiubV"):
        raise UsageError(f"--input-dtype expects a dtype such as float32, int32 or string, received {text!r}")
    return text


def choose_output(card: ModelCard, name: str | None) -> OutputSpec:
    """The output of that name, or the only one.

    Raises:
        UsageError: There is none of that name, or there are several and none is named.
    """
    names = [spec.name for spec in card.outputs]
    if name is None and len(names) == 1:
        return card.outputs[0]
    if name not in names:
        received = "none was named" if name is None else f"received {name!r}"
        raise UsageError(f"--output expects one of {', '.join(names)}; {received}")
    return card.outputs[names.index(name)]
