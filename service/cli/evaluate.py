"""`thinned evaluate`: scores of a model on rows whose answers are known, with drawings and a page."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thinned.models.errors import UsageError
from thinned.service.cli.options import ModelName, OutputName, TargetName, require_extra
from thinned.service.cli.output import console, print_json, progress_line, table
from thinned.service.cli.report_folder import check_folder, write_whole

if TYPE_CHECKING:
    from thinned.models.evaluation import Evaluation, Series
    from thinned.models.evaluation.by_group import ByGroup
    from thinned.models.evaluation.gathering import Inputs
    from thinned.models.evaluation.unlike import UnlikeRows
    from thinned.service.cli.labelled import Labelled

__all__ = ["register"]

HELP = """Score a model on rows whose answers are known.

The deterministic answer and the mean over passes stand side by side, for each number of passes; a calibrated model is
scored as it is served too. Each score has an interval from a bootstrap over rows, and says which way is better. With
--out the drawings and one HTML page are written.

\b
Scores of a regression: RMSE, log-likelihood (nats), CRPS, coverage and width of intervals.
Scores of a classification: accuracy, NLL (nats), Brier, ECE, and how well entropy and mutual information tell errors
(and rows of --ood) from the rest, as areas under ROC curves; of a segmentation also IoU by image.

\b
Examples:
  thinned evaluate digits --data test.npz --out report
  thinned evaluate house --data test.csv --target price --n-samples 1,10,100
  thinned evaluate digits --data test.npz --ood letters.npz --json
  thinned evaluate house --data test.csv --target price --by district
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
    by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|ARRAY",
            help="Score the coverage of each group of rows, by the values of this.",
            show_default=False,
        ),
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
    if out is not None:
        check_folder(out)
    other = None if ood is None else read_rows(ood, find(model).card.inputs)  # before the model, which takes seconds
    with progress_line("reading the rows and the model") as tell:
        labelled = load_labelled(model, data, target=target, output=output, group=by)
        from thinned.models.evaluation import evaluate

        card = labelled.stored.card
        tell("asking the model")
        found = evaluate(
            labelled.model,
            labelled.spec,
            labelled.inputs,
            labelled.targets,
            counts=counts,
            seed=seed,
            ood=other,
            on_rows=lambda done, total: tell(f"passes of {done} of {total} rows are drawn; scoring comes after"),
            by=None if by is None or labelled.groups is None else (by, labelled.groups),
            name=card.name,
            version=labelled.stored.version,
        )
        found = dataclasses.replace(found, about=_about(data, ood), unlike=_unlike(labelled, other, seed))
        if out is not None:
            tell("drawing")
            write_report(found, out)
    if as_json:
        print_json(found.to_json())
        return
    print_evaluation(found)
    if out is not None:
        console().print(f"Written to {out / 'index.html'}", markup=False, soft_wrap=True)


def _unlike(labelled: Labelled, other: Inputs | None, seed: int) -> UnlikeRows | None:
    """How well rows from elsewhere are told by their distance, where the model was calibrated for that."""
    from thinned.models.evaluation.unlike import unlike_rows
    from thinned.models.loading import load_scorer

    model, scorer = labelled.model, None if other is None else load_scorer(labelled.stored, labelled.model)
    if other is None or scorer is None:
        return None
    told = (scorer.of_rows(model, rows) for rows in (labelled.inputs, other))
    return unlike_rows(*told, units=scorer.nearest.units, seed=seed)


def _about(data: Path, ood: Path | None) -> dict[str, str]:
    """What was run, on what, where and when."""
    from thinned.models.run_facts import date, machine, versions

    return {
        "data": str(data),
        **({} if ood is None else {"ood": str(ood)}),
        "date": date(),
        "command": shlex.join(["thinned", *sys.argv[1:]]),
        "versions": versions(("tensorflow", "keras", "numpy", "scipy", "scikit-learn")),
        "machine": machine(),
    }


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
    calibrated = [series for series in found.series if series.is_calibrated]
    _print_series([series for series in found.series if series not in calibrated], found.title, found)
    if calibrated:
        _print_series(calibrated, "Calibrated, as served", found)
    if found.policy is not None:
        console().print(found.policy.told, soft_wrap=True, markup=False)
    if found.unlike is not None:
        console().print(found.unlike.told, soft_wrap=True, markup=False)
    if found.by is not None:
        _print_groups(found.by)
    out = console()
    if found.replicates:
        out.print(
            f"In brackets: where a score lies in 95 % of {found.replicates:,} draws of as many {found.unit}s with "
            "replacement. --out writes what each score means.",
            soft_wrap=True,
        )
    if calibrated and found.calibrated_with is not None:
        out.print("*: the number of passes that was calibrated, and that `coverage` draws.", soft_wrap=True)
    for note in found.notes:
        out.print(note, soft_wrap=True, markup=False)


def _print_series(series: Sequence[Series], title: str, found: Evaluation) -> None:
    from thinned.models.evaluation.meanings import meaning_of

    columns = [(item, place) for item in series for place in range(len(item.n_samples))]
    names = dict.fromkeys(name for item, place in columns for name in item.scores[place])
    heads = [_head(item.n_samples[place], item, found) for item, place in columns]
    table(
        "score",
        "better",
        *heads,
        rows=[
            (
                meaning_of(name).words,
                meaning_of(name).short,
                *(_cell(item, place, name) for item, place in columns),
            )
            for name in names
        ],
        title=title,
        right=heads,
    )


def _print_groups(by: ByGroup) -> None:
    from thinned.models.evaluation.meanings import meaning_of

    names = list(by.groups[0].scores)
    heads = ["rows", *(meaning_of(name).words for name in names)]
    rows = [
        (
            f"{group.group} *" if group.group == by.worst else group.group,
            str(group.rows),
            *("{:.4g}\n[{:.3g}, {:.3g}]".format(group.scores[name], *group.intervals[name]) for name in names),
        )
        for group in by.groups
    ]
    table(by.column, *heads, rows=rows, title=f"By {by.column}, * the lowest", right=heads)
    console().print(by.told, soft_wrap=True, markup=False)


def _head(count: int, series: Series, found: Evaluation) -> str:
    if count == 0:
        return "plain"
    return f"N={count}{' *' if series.is_calibrated and count == found.calibrated_with else ''}"


def _cell(series: Series, place: int, name: str) -> str:
    """A score, and below it its interval."""
    value, ends = series.scores[place].get(name), series.intervals[place].get(name)
    if value is None:
        return "-"
    return f"{value:.4g}" if ends is None else f"{value:.4g}\n[{ends[0]:.3g}, {ends[1]:.3g}]"


def write_report(found: Evaluation, folder: Path) -> None:
    """Write the page, its drawings and the numbers behind them, all or none."""
    from thinned.models.evaluation.page import page
    from thinned.models.evaluation.plots import drawings

    drawn = list(drawings(found))
    text = json.dumps(found.to_json(), allow_nan=False, indent=1) + "\n"
    write_whole(
        folder,
        {
            **{f"{drawing.name}.png": drawing.light for drawing in drawn},
            "evaluation.json": text.encode(),
            "index.html": page(found, drawn).encode(),
        },
    )
