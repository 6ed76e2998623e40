"""What the command line prints: tables of models, a model's card, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.text import Text

from thinned.models.card import InputSpec, ModelCard, OutputSpec, RowRecipe, SiteSpec, SplitSpec
from thinned.models.uncertainty import OutputAnswer, probabilities
from thinned.service.cli.findings import print_short_audit
from thinned.service.cli.output import console, table

if TYPE_CHECKING:
    from thinned.models.storage.model_store import StoredModel

__all__ = [
    "card_json",
    "print_answers",
    "print_model",
    "print_models",
    "print_scores",
    "print_statistics",
]

MOST_ROWS = 20
MOST_VALUES = 6
MOST_NAMES = 14


def card_json(stored: StoredModel) -> dict[str, Any]:
    """A card and the version it is stored under."""
    return {"version": stored.version, **stored.card.model_dump(mode="json")}


def print_models(stored: Sequence[StoredModel]) -> None:
    """One line for each model in the store."""
    table(
        "model",
        "version",
        "task",
        "inputs",
        "outputs",
        "sites",
        "made",
        rows=[
            (
                item.card.name,
                item.version,
                ", ".join(dict.fromkeys(output.task for output in item.card.outputs)),
                ", ".join(f"{i.name} {shape(i.shape)}" for i in item.card.inputs),
                ", ".join(f"{o.name} {shape(o.shape)}" for o in item.card.outputs),
                str(len(item.card.sites)) if item.card.sites else "none",
                f"{item.card.created.astimezone():%Y-%m-%d %H:%M}",
            )
            for item in stored
        ],
        right=("sites",),
    )


def print_model(stored: StoredModel) -> None:
    """The card of one model: what it takes and answers, its sites, and how much of it runs once."""
    card = stored.card
    made = f"{card.created.astimezone():%Y-%m-%d %H:%M}"
    out = console()
    out.print(f"[bold]{card.name}[/bold] version {stored.version}, made {made} with Keras {card.keras_version}")
    out.print(f"sha256 {card.sha256}", soft_wrap=True)
    if card.module_sha256:
        out.print(f"custom layers: {stored.path / 'layers.py'}, sha256 {card.module_sha256}", soft_wrap=True)
    if card.package:
        out.print(f"custom layers: the installed package {card.package}")
    table("input", "shape of a row", "dtype", rows=[_input_row(i) for i in card.inputs])
    for spec in card.inputs:
        _print_input(spec)
    table("output", "shape of a row", "dtype", "task", "read as", "labels", rows=[_output_row(o) for o in card.outputs])
    if card.sites:
        table("site", "kind", "rate", "mask of a pass", "calls", "", rows=[_site_row(s) for s in card.sites])
        _print_split(card.split)
    if card.examples:
        out.print(Text(f"Checked on rows that were {_examples(card.examples)}"), soft_wrap=True)
    for warning in card.warnings:
        out.print(Text(f"Warning: {warning}", style="yellow"), soft_wrap=True)
    if card.audit is not None:
        print_short_audit(card.audit, card.name)
    print_scores(card)


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
        rows=[(written.get(n, n), *(_number(card.scores.get(f"{n}_{k}", np.nan)) for k in kinds)) for n in names],
        title=f"Test scores{held_out}",
        right=tuple(kinds.values()),
    )


def print_answers(outputs: Mapping[str, Any], card: ModelCard) -> None:
    """Deterministic answers, a line a row."""
    for spec in card.outputs:
        values = np.asarray(outputs[spec.name])
        rows: list[tuple[str, ...]]
        if spec.task == "classification" and values.ndim == 2:
            probs = probabilities(values, _scale(spec))
            rows = [(str(i), *_top(row, spec)) for i, row in enumerate(probs[:MOST_ROWS])]
            table("row", "label", "probability", rows=rows, title=_title(spec, card), right=("probability",))
        else:
            rows = [(str(i), _values(row)) for i, row in enumerate(values[:MOST_ROWS])]
            table("row", "value", rows=rows, title=_title(spec, card))
    _print_rest(len(next(iter(outputs.values()))))


def print_statistics(
    answers: Mapping[str, OutputAnswer], card: ModelCard, *, n_samples: int, seed: int, coverage: float | None = None
) -> None:
    """Answers over passes, a line a row: mean and standard deviation, and for classes the entropies."""
    for spec in card.outputs:
        found = answers[spec.name]
        entropies = (found.predictive_entropy, found.expected_entropy, found.mutual_information)
        if spec.task == "classification" and found.mean.ndim == 2 and spec.scale == "probabilities":
            head = ["row", "label", "mean probability", "standard deviation"]
            rows = [_class_row(i, found.mean[i], found.variance[i], spec) for i in range(len(found.mean[:MOST_ROWS]))]
        else:
            labels = [_label(found, i, spec) for i in range(len(found.mean[:MOST_ROWS]))]
            head = ["row", *(["label"] if any(labels) else []), "mean", "standard deviation"]
            rows = [
                [str(i), *label, _values(found.mean[i]), _values(np.sqrt(found.variance[i]))]
                for i, label in enumerate(labels)
            ]
        for name, entropy in zip(("entropy (nats)", "of it: noise", "of it: network"), entropies, strict=True):
            if entropy is not None and entropy.ndim == 1:
                head.append(name)
                rows = [[*row, _number(entropy[i])] for i, row in enumerate(rows)]
        if coverage is not None:
            head.append(f"{'set' if found.interval is None else 'interval'} of {100 * coverage:g} %")
            rows = [[*row, _promise(found, i, spec)] for i, row in enumerate(rows)]
        table(*head, rows=rows, title=_title(spec, card), right=head[2:])
    console().print(f"{n_samples} passes, seed {seed} (pass --seed {seed} for the same answer again)")
    _print_rest(len(next(iter(answers.values())).mean))


def _promise(answer: OutputAnswer, i: int, spec: OutputSpec) -> str:
    """The interval of a row, or the classes in its set."""
    if answer.interval is not None:
        lower, upper = (np.ravel(end[i]) for end in answer.interval)
        told = [f"{_number(a)} to {_number(b)}" for a, b in zip(lower[:MOST_VALUES], upper[:MOST_VALUES], strict=True)]
        return ", ".join(told) + (", …" if lower.size > MOST_VALUES else "")
    if answer.prediction_set is None or answer.prediction_set[i].ndim > 1:
        return "-"
    members = np.flatnonzero(answer.prediction_set[i]).tolist()
    return ", ".join(spec.labels[c] if spec.labels else f"class {c}" for c in members) or "none"


def shape(lengths: Sequence[int | None]) -> str:
    """A shape as text: "8×8×1", "?" for a length that varies, "number" for none."""
    return "×".join("?" if n is None else str(n) for n in lengths) or "number"


def _input_row(spec: InputSpec) -> tuple[str, ...]:
    return spec.name, shape(spec.shape), spec.dtype


def _print_input(spec: InputSpec) -> None:
    """What a card says of an input beside its shape: the columns of tables, what is looked up, what fills rows up."""
    said = [f"columns {_some(spec.columns)}"] if spec.columns else []
    if spec.table_size is not None:
        said.append(f"integers from 0 to {spec.table_size - 1}")
    if spec.padding is not None:
        said.append(f"shorter rows are filled up with {spec.padding!r}")
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


def _class_row(i: int, mean: Any, variance: Any, spec: OutputSpec) -> list[str]:
    probs = probabilities(mean, _scale(spec))
    # A single unit p stands for [1 - p, p], whose variances are the same.
    spread = float(np.sqrt(np.broadcast_to(variance, probs.shape))[int(np.argmax(probs))])
    return [str(i), *_top(probs, spec), _number(spread)]


def _label(answer: OutputAnswer, i: int, spec: OutputSpec) -> list[str]:
    """The most probable class of a row that is one classification, in a column of its own; else no column."""
    if answer.likeliest is None or answer.likeliest.ndim != 1:
        return []
    best = int(answer.likeliest[i])
    return [spec.labels[best] if spec.labels else f"class {best}"]


def _top(probs: Any, spec: OutputSpec) -> tuple[str, str]:
    best = int(np.argmax(probs))
    return (spec.labels[best] if spec.labels else f"class {best}"), _number(probs[best])


def _scale(spec: OutputSpec) -> Any:
    return spec.scale


def _title(spec: OutputSpec, card: ModelCard) -> str | None:
    return spec.name if len(card.outputs) > 1 else None


def _values(row: Any) -> str:
    flat = np.ravel(row)
    return ", ".join(map(_number, flat[:MOST_VALUES])) + (
        f", … ({flat.size} in all)" if flat.size > MOST_VALUES else ""
    )


def _number(value: float) -> str:
    return f"{float(value):.4g}"


def _print_rest(rows: int) -> None:
    if rows > MOST_ROWS:
        console().print(f"The first {MOST_ROWS} of {rows} rows; pass --json for all of them.")
