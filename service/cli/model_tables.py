"""What the command line prints of models: the table of the store, and a card."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from rich.text import Text

from thinned.models.card import InputSpec, ModelCard, OutputSpec, RowRecipe, SiteSpec, SplitSpec
from thinned.models.storage.footprint import loaded_bytes, weights_bytes
from thinned.models.uncertainty.nearest_rows import describe_ood
from thinned.models.uncertainty.policies import describe_policy
from thinned.models.uncertainty.promises import describe_promise
from thinned.service.cli.findings import print_short_audit
from thinned.service.cli.output import console, table
from thinned.service.cli.tables import number, shape

if TYPE_CHECKING:
    from thinned.models.storage.model_store import StoredModel
    from thinned.models.storage.survey import Entry

__all__ = ["entry_json", "print_model", "print_models", "print_scores", "print_stored"]

MOST_NAMES = 14


def entry_json(entry: Entry) -> dict[str, Any]:
    """A card and the version it is stored under, with what points to it and what is wrong with it."""
    card = {"name": entry.name} if entry.stored is None else entry.stored.card.summary()
    state = {"latest": entry.latest, "aliases": list(entry.aliases), "damage": entry.damage}
    return {"version": entry.version, **card, **state}


def print_stored(stored: StoredModel, before: StoredModel | None) -> None:
    """A version that was just stored, what the one before it had and it has not, and what to do next."""
    print_model(stored)
    if before is not None and any(output.calibration is not None for output in before.card.outputs):
        typer.echo(f"{before.tag} was calibrated, and this version is not: thinned calibrate {stored.card.name}")
    typer.echo(f"Stored as {stored.tag}. Next: thinned serve {stored.card.name}")


def print_models(entries: Sequence[Entry]) -> None:
    """One line for each version in the store; below them what is wrong with the damaged ones."""
    table(
        "model",
        "version",
        "is",
        "task",
        "inputs",
        "outputs",
        "sites",
        "calibrated",
        "made",
        "note",
        rows=[_model_row(entry) for entry in entries],
        right=("sites",),
        repeat=2,
    )
    for entry in entries:
        if entry.damage is not None:
            console().print(Text(f"Damaged: {entry.damage}", style="red"), soft_wrap=True)


def _model_row(entry: Entry) -> tuple[str, ...]:
    pointing = [*(["latest"] if entry.latest else []), *(f"@{alias}" for alias in entry.aliases)]
    state = ", ".join([*pointing, *(["DAMAGED"] if entry.damage else [])])
    if entry.stored is None:
        return entry.name, entry.version, state, *["?"] * 6, ""
    card = entry.stored.card
    return (
        entry.name,
        entry.version,
        state or "-",
        ", ".join(dict.fromkeys(output.task for output in card.outputs))
        + (f", {len(card.members)} members" if card.members else ""),
        ", ".join(f"{i.name} {shape(i.shape)}" for i in card.inputs),
        ", ".join(f"{o.name} {shape(o.shape)}" for o in card.outputs),
        str(len(card.sites)) if card.sites else "none",
        ", ".join(_calibrated(o, several=len(card.outputs) > 1) for o in card.outputs if o.calibration) or "-",
        f"{card.created.astimezone():%Y-%m-%d %H:%M}",
        card.note or "",
    )


def _calibrated(output: OutputSpec, *, several: bool) -> str:
    if output.calibration is None:
        return "-"
    name = f"{output.name}: " if several else ""
    return f"{name}{output.calibration.rows} rows, {output.calibration.n_samples} passes"


def print_model(stored: StoredModel, entry: Entry | None = None) -> None:
    """The card of one model: what it takes and answers, its sites, and how much of it runs once."""
    card = stored.card
    made = f"{card.created.astimezone():%Y-%m-%d %H:%M}"
    out = console()
    out.print(f"[bold]{card.name}[/bold] version {stored.version}, made {made} with Keras {card.keras_version}")
    if entry is not None:
        _print_state(entry)
    if card.note:
        out.print(Text(f"note: {card.note}"), soft_wrap=True)
    out.print(f"sha256 {card.sha256}", soft_wrap=True)
    if card.members:
        told = ", ".join(f"{member.name}:{member.version}" for member in card.members)
        out.print(Text(f"ensemble of {len(card.members)}: {told}"), soft_wrap=True)
    if card.module_sha256:
        out.print(f"custom layers: {stored.path / 'layers.py'}, sha256 {card.module_sha256}", soft_wrap=True)
    if card.package:
        out.print(f"custom layers: the installed package {card.package}")
    table("input", "shape of a row", "dtype", rows=[_input_row(i) for i in card.inputs])
    for spec in card.inputs:
        _print_input(spec)
    table("output", "shape of a row", "dtype", "task", "read as", "labels", rows=[_output_row(o) for o in card.outputs])
    for output in card.outputs:
        out.print(Text(_calibration(output)), soft_wrap=True)
        if output.calibration is not None:
            out.print(Text(describe_promise(output)), soft_wrap=True)
            policy = describe_policy(output)
            if policy is not None:
                out.print(Text(policy), soft_wrap=True)
        if output.estimator is not None:
            out.print(Text(f"Mean and variance of {output.name}: {_made(output)}"), soft_wrap=True)
    if card.ood is not None:
        out.print(Text(describe_ood(card.ood)), soft_wrap=True)
    if card.sites:
        table("site", "kind", "rate", "mask of a pass", "calls", "", rows=[_site_row(s) for s in card.sites])
        _print_split(card.split)
    if card.examples:
        out.print(Text(f"Checked on rows that were {_examples(card.examples)}"), soft_wrap=True)
    out.print(Text(_memory(stored)), soft_wrap=True)
    for warning in card.warnings:
        out.print(Text(f"Warning: {warning}", style="yellow"), soft_wrap=True)
    if card.audit is not None:
        print_short_audit(card.audit, card.name)
    print_scores(card)


def _print_state(entry: Entry) -> None:
    latest = [f"{entry.name}, the latest version"] if entry.latest else []
    pointing = [*latest, *(f"{entry.name}@{alias}" for alias in entry.aliases)]
    if pointing:
        console().print(Text(f"It is {', '.join(pointing)}"), soft_wrap=True)
    if entry.damage is not None:
        console().print(Text(f"Damaged: {entry.damage}", style="red"), soft_wrap=True)


def _calibration(output: OutputSpec) -> str:
    """One sentence on what was fitted for an output."""
    fitted = output.calibration
    if fitted is None:
        return f"Output {output.name} is not calibrated (thinned calibrate)"
    when = "" if fitted.created is None else f" on {fitted.created.astimezone():%Y-%m-%d %H:%M}"
    what = [
        *([] if fitted.temperature is None else [f"temperature {fitted.temperature:.4g}"]),
        *([] if fitted.variance_factor is None else [f"factor on the variances {fitted.variance_factor:.4g}"]),
        *([] if output.noise is None else ["observation noise"]),
        *(["conformal scores"] if fitted.scores else []),
    ]
    return (
        f"Output {output.name} was calibrated{when} on {fitted.rows} rows with {fitted.n_samples} passes: "
        f"{', '.join(what) or 'nothing'}"
    )


def _made(output: OutputSpec) -> str:
    """What mean and variance of an output are made of."""
    if output.estimator == "passes":
        return f"those of the passes, since {output.estimator_note}"
    if output.estimator == "exact":
        return "exact, whatever the number of passes; none is drawn where nothing else is asked for"
    if output.estimator == "more_masks":
        return "passes, each with several last masks"
    return "passes without their last masks, over which both are closed forms"


def _memory(stored: StoredModel) -> str:
    """What a process takes for a model."""
    weights, loaded = (f"{size / (1 << 20):,.0f} MiB" for size in (weights_bytes(stored), loaded_bytes(stored)))
    return f"Memory once it is served: about {loaded}, for weights of {weights}; calls and requests besides"


def _examples(recipes: Sequence[RowRecipe]) -> str:
    """What a card says of the rows on which its model was checked."""
    if any(recipe.values == "given" for recipe in recipes):
        return "given at import: " + ", ".join(f"{r.name} {shape(r.shape)}" for r in recipes)
    return "made up: " + ", ".join(f"{r.name} {shape(r.shape)} {r.describe()}" for r in recipes)


def print_scores(card: ModelCard) -> None:
    """Test scores of a model that was trained here: a line a score, with a column for each way to answer."""
    kinds = {"deterministic": "deterministic", "mc_mean": "mean over passes"}
    names = list(
        dict.fromkeys(key.removesuffix(f"_{k}") for key in card.scores for k in kinds if key.endswith(f"_{k}"))
    )
    if not names:
        return
    held_out = f" on {card.scores['test_rows']:.0f} rows held out" if "test_rows" in card.scores else ""
    written = {
        "accuracy": "accuracy",
        "nll": "negative log-likelihood (nats)",
        "rmse": "root mean squared error",
        "r2": "R²",
    }
    table(
        "score",
        *kinds.values(),
        rows=[(written.get(n, n), *(number(card.scores.get(f"{n}_{k}", np.nan)) for k in kinds)) for n in names],
        title=f"Test scores{held_out}",
        right=tuple(kinds.values()),
    )


def _input_row(spec: InputSpec) -> tuple[str, ...]:
    return spec.name, shape(spec.shape), spec.dtype


def _print_input(spec: InputSpec) -> None:
    """What a card says of an input beside its shape: the columns of tables, what is looked up, what fills rows up."""
    said = [f"columns {_some(spec.columns)}"] if spec.columns else []
    if spec.table_size is not None:
        said.append(f"integers from 0 to {spec.table_size - 1}")
    if spec.padding is not None:
        said.append(f"shorter rows are filled up with {spec.padding!r}")
    if spec.image_resize is not None:
        said.append(f"images of another size are resized, {spec.image_resize}")
    if said:
        console().print(Text(f"{spec.name}: {'; '.join(said)}"), soft_wrap=True)


def _output_row(spec: OutputSpec) -> tuple[str, ...]:
    labels = ", ".join(islice(spec.labels or (), 12)) + (", …" if len(spec.labels or ()) > 12 else "")
    return spec.name, shape(spec.shape), spec.dtype, spec.task, spec.scale, labels or "-"


def _site_row(site: SiteSpec) -> tuple[str, ...]:
    rate = f"{site.rate:g}" if site.rate is not None else f"stddev {site.stddev:g}" if site.stddev is not None else "-"
    mask = "known at run time" if site.shape is None else shape(site.shape)
    return site.path, site.kind, rate, mask, str(site.calls), "built with training=True" if site.forced else ""


def _print_split(split: SplitSpec) -> None:
    out = console()
    share = "" if split.prefix_share is None else f", {100 * split.prefix_share:.1f} % of the work of one pass"
    once = f"{_layers(split.prefix_layers)} once a request{share}" if split.prefix_layers else "No layer runs once"
    out.print(f"[bold]{once}; {_layers(split.suffix_layers)} in every pass.[/bold]")
    if split.prefix_layers:
        out.print(Text(f"  once:        {_some(split.prefix_layers)}"), soft_wrap=True)
        out.print(Text(f"  handed over: {_some(split.frontier)}"), soft_wrap=True)
    out.print(Text(f"  every pass:  {_some(split.suffix_layers)}"), soft_wrap=True)


def _some(names: Sequence[str]) -> str:
    """The names, or the first and the last of them where they are many."""
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: MOST_NAMES - 2])}, …, {names[-1]} (--json has all {len(names)})"


def _layers(names: Sequence[str]) -> str:
    return "1 layer runs" if len(names) == 1 else f"{len(names)} layers run"
