"""`thinned score`: every row of a data set answered over passes, and the answers written as Parquet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thinned.models.errors import UsageError
from thinned.models.sampling import SEEDS, Estimator, Sampling, draw_seed
from thinned.models.storage.model_store import find
from thinned.service.cli.options import StoredName, require_extra
from thinned.service.cli.output import console, row_bar

if TYPE_CHECKING:
    from thinned.service.cli.scoring.data_set import Part
    from thinned.service.cli.scoring.run import Run
    from thinned.service.cli.scoring.run_folder import RunFolder
    from thinned.service.cli.scoring.scorer import Scored

__all__ = ["REJECTED_STATUS", "register"]

REJECTED_STATUS = 3
"""Of a run that is done, but for rows that could not be answered."""

HELP = """Answer every row of a data set over passes, and write Parquet.

Each row has the answer that it has alone from /predict_mc with the same seed, up to float rounding, whatever the
engine, the number of workers and the place of the row: in a pass all rows see one network. A run that was ended goes
on where it was when the same command is given again. Rows that cannot be answered go to _rejects.csv, with the reason;
the exit status is then 3.

\b
Examples:
  thinned score house --input houses.parquet --output scored --n-samples 50 --seed 7
  thinned score house --input table.csv --columns rooms,area,year --key id --output scored
  thinned score digits --input images/ --output scored
  thinned score house --input s3://bucket/houses/ --output scored --engine ray --address 10.0.0.1:6379
"""


class Engine(StrEnum):
    """What scores parts."""

    local = "local"
    ray = "ray"


def register(app: typer.Typer) -> None:
    """Add the command to `thinned`."""
    app.command("score", help=HELP)(_score)


def _score(
    name: StoredName,
    data: Annotated[
        str,
        typer.Option(
            "--input",
            metavar="FILE|FOLDER|ADDRESS",
            help="Parquet, CSV, .npz, or PNG and JPEG images: a file, a folder of such, or an address as file:///data "
            "or s3://bucket/data.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the answers, new or of the same run.", show_default=False)
    ],
    n_samples: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Passes; by default as many as a request has that does not say (THINNED_DEFAULT_SAMPLES), with a "
            "coverage or a policy as many as were calibrated.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=SEEDS - 1, help="Of the passes. Drawn by default, and kept with the run."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Columns of the inputs, in the model's order, where their names do not tell. Others are kept.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column that names a row, for the rejected ones.", show_default=False),
    ] = None,
    sampling: Annotated[Sampling, typer.Option(help="How passes relate to each other.")] = "stratified",
    estimator: Annotated[
        Estimator | None,
        typer.Option(help="How mean and variance are made, as for thinned predict.", show_default=False),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(help="Of a calibrated model: adds intervals or sets of this coverage.", show_default=False),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Means and entropies without the fitted temperature.")] = False,
    policy: Annotated[bool, typer.Option("--policy", help="Of a model with a policy: which rows to accept.")] = False,
    ood: Annotated[
        bool, typer.Option("--ood", help="Of a model calibrated with --ood: how unlike known rows each row is.")
    ] = False,
    samples: Annotated[
        bool,
        typer.Option("--samples", help="Adds the passes themselves: what rows have in common is told by them."),
    ] = False,
    part_rows: Annotated[
        int | None,
        typer.Option(min=1, help="Rows of a part; by default some seconds of work.", show_default=False),
    ] = None,
    engine: Annotated[Engine, typer.Option(help="Here, or on a Ray cluster.")] = Engine.local,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Of the Ray cluster; the one here by default.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Actors on the cluster; one for each CPU by default.", show_default=False),
    ] = None,
) -> int:
    require_extra("data", "pyarrow", "fsspec")
    if engine is Engine.ray:
        require_extra("ray", "ray")
    elif address is not None or workers is not None:
        raise UsageError("--address and --workers are for a Ray cluster; add --engine ray")
    from thinned.service.cli.scoring.addresses import is_below
    from thinned.service.cli.scoring.run import Run, checked_request, rows_of_part
    from thinned.service.cli.scoring.run_folder import RunFolder
    from thinned.service.cli.scoring.sources import look_at

    stored, folder = find(name), RunFolder(output.absolute())
    if is_below(output, data):
        raise UsageError(f"--output {output} lies in --input {data}, of which it would be a part; name another folder")
    before = folder.asked_before() or {}
    given = {
        "n_samples": n_samples,
        "seed": seed if seed is not None else before.get("seed", draw_seed()),
        "sampling": sampling,
        "estimator": estimator,
        "coverage": coverage,
        "calibrated": False if plain else None,
    }
    asked = {field: value for field, value in given.items() if value is not None}
    asked |= {f: True for f, on in (("policy", policy), ("ood", ood), ("return_samples", samples)) if on}
    request = checked_request(stored, asked)
    most = part_rows or rows_of_part(stored.card, request)
    named = None if columns is None else [column.strip() for column in columns.split(",")]
    data_set = look_at(data, stored.card.inputs, columns=named, key=key, most=most)
    asked["n_samples"] = request.n_samples
    run = Run.of(stored, data_set, asked, folder.path, part_rows=most, key=key)
    with folder.held():
        folder.begin(run.identity)
        done = folder.done(data_set.parts)
        left = sorted({*data_set.parts} - {*done}, key=lambda part: part.number)
        if folder.was_finished and not left:
            print(f"All rows were scored before: {output}")
            return REJECTED_STATUS if folder.rejects.exists() else 0
        if engine is Engine.local:
            from thinned.service.cli.scoring.local_engine import score_here

            scored = score_here(run, left)
        else:
            from thinned.service.cli.scoring.ray_engine import score_on_ray

            scored = score_on_ray(run, left, address=address, workers=workers)
        return _follow(run, folder, done, scored if left else iter(()))


def _follow(run: Run, folder: RunFolder, done: Sequence[Part], scored: Iterator[Scored]) -> int:
    """Show what is done as it is, and say at the end what became of the rows."""
    before = sum(part.rows for part in done)
    rejected = sum(folder.rejected(part) for part in done)
    if done:
        print(f"Going on behind {before:,} of {run.data.rows:,} rows, which were scored before.")
    began, now = time.monotonic(), 0
    try:
        with row_bar(run.data.rows, before) as bar:
            for one in scored:
                now += one.rows
                rejected += one.rejected
                bar(one.rows)
    except OSError as error:
        error.add_note("free some of it, and give the same command again: it goes on where this ended")
        raise
    seconds = time.monotonic() - began
    n_samples, seed = run.asked["n_samples"], run.asked["seed"]
    folder.finish(run.data.parts, {"rows": run.data.rows, "rejected": rejected, "seed": seed, "n_samples": n_samples})
    speed = f" in {seconds:.1f} s, {now * n_samples / max(seconds, 1e-9):,.0f} row-passes a second" if now else ""
    out = console()
    out.print(
        f"{run.data.rows - rejected:,} rows scored{speed}; {n_samples} passes, seed {seed}: {run.folder}",
        soft_wrap=True,
        markup=False,
    )
    if rejected:
        out.print(f"{rejected:,} rows rejected, with the reason: {folder.rejects}", soft_wrap=True, markup=False)
    return REJECTED_STATUS if rejected else 0
