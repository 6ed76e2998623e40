"""`thinned evaluate`: scores of a model on rows whose answers are known, with drawings and a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thinned.models.errors import UsageError
from thinned.service.cli.options import ModelName, OutputName, TargetName, require_extra
from thinned.service.cli.output import console, print_json, table

if TYPE_CHECKING:
    from thinned.models.evaluation import Evaluation, Series

__all__ = ["register"]

HELP = """Score a model on rows whose answers are known.

The deterministic answer and the mean over passes stand side by side, for each number of passes; a calibrated model is
scored with its calibration too. With --out the drawings and one HTML page are written.

\b
Scores of a regression: RMSE, log-likelihood (nats), CRPS, coverage and width of intervals.
Scores of a classification: accuracy, NLL (nats), Brier, ECE, and how well entropy and mutual information tell errors
(and rows of --ood) from the rest, as areas under ROC curves.

\b
Examples:
  thinned evaluate digits --data test.npz --out report
  thinned evaluate house --data test.csv --target price --n-samples 1,10,100
  thinned evaluate digits --data test.npz --ood letters.npz --json
"""
DEFAULT_COUNTS = "1,10,30,100,300"
MOST_PASSES = 100_000


def register(app: typer.Typer) -> None:
    """Add the command to `thinned`."""
    app.command("evaluate", help=HELP)(_evaluate)


def _evaluate(
    model: ModelName,
    data: Annotated[
        Path,
        typer.Option(
            metavar="test.npz|test.csv|test.parquet|test.json",
            help="Rows and targets: arrays x and y, or columns.",
            show_default=False,
        ),
    ],
    target: TargetName = None,
    output: OutputName = None,
    ood: Annotated[
        Path | None,
        typer.Option(metavar="other.npz", help="Rows from elsewhere, to be told from the others.", show_default=False),
    ] = None,
    n_samples: Annotated[str, typer.Option(metavar="N,N,...", help="Numbers of passes.")] = DEFAULT_COUNTS,
    seed: Annotated[int, typer.Option(min=0, max=2**53 - 1, help="Seed of the passes.")] = 20160604,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write index.html, the drawings and evaluation.json here.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores and curves as JSON.")] = False,
) -> None:
    from thinned.models.storage.model_store import find
    from thinned.service.cli.data_files import read_rows
    from thinned.service.cli.labelled import load_labelled

    counts = read_counts(n_samples)
    require_extra("report", "sklearn", "matplotlib")
    other = None if ood is None else read_rows(ood, find(model).card.inputs)  # before the model, which takes seconds
    labelled = load_labelled(model, data, target=target, output=output)
    card = labelled.stored.card
    from thinned.models.evaluation import evaluate

    found = evaluate(
        labelled.model,
        labelled.spec,
        labelled.inputs,
        labelled.targets,
        counts=counts,
        seed=seed,
        ood=other,
        name=card.name,
        version=labelled.stored.version,
    )
    if as_json:
        print_json(found.to_json())
    else:
        print_evaluation(found)
    if out is not None:
        write_report(found, out)
        if not as_json:
            console().print(f"Written to {out / 'index.html'}")


def read_counts(text: str) -> list[int]:
    """Read "1,10,100".

    Raises:
        UsageError: It is something else.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and 1 <= int(word) <= MOST_PASSES for word in words):
        raise UsageError(
            f"--n-samples expects numbers of passes from 1 to {MOST_PASSES} such as 1,10,100, not {text!r}"
        )
    return [int(word) for word in words]


def print_evaluation(found: Evaluation) -> None:
    """A line a score, a column for each way to answer; in a table of its own what calibration makes of them."""
    calibrated = [series for series in found.series if series.name.startswith("calibrated")]
    _print_series([series for series in found.series if series not in calibrated], _title(found))
    if calibrated:
        _print_series(calibrated, "Calibrated")
    for note in found.notes:
        console().print(note, soft_wrap=True)


def _title(found: Evaluation) -> str:
    return f"{found.model}, output {found.output}: {found.rows} rows"


def _print_series(series: Sequence[Series], title: str) -> None:
    columns = [(item, place) for item in series for place in range(len(item.n_samples))]
    names = dict.fromkeys(name for item, place in columns for name in item.scores[place])
    heads = ["plain" if item.n_samples[place] == 0 else f"N={item.n_samples[place]}" for item, place in columns]
    table(
        "score",
        *heads,
        rows=[
            (name.replace("_", " "), *(_number(item.scores[place].get(name)) for item, place in columns))
            for name in names
        ],
        title=title,
        right=heads,
    )


def write_report(found: Evaluation, folder: Path) -> None:
    """Write the page, its drawings and the numbers behind them."""
    from thinned.models.evaluation.page import page
    from thinned.models.evaluation.plots import drawings

    folder.mkdir(parents=True, exist_ok=True)
    drawn = list(drawings(found))
    for name, _, png in drawn:
        (folder / f"{name}.png").write_bytes(png)
    text = json.dumps(found.to_json(), allow_nan=False, indent=1) + "\n"
    (folder / "evaluation.json").write_text(text, encoding="utf-8")
    (folder / "index.html").write_text(page(found, drawn), encoding="utf-8")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
