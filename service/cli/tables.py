"""What the command line prints of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from thinned.models.card import ModelCard, OutputSpec
from thinned.models.uncertainty import OutputAnswer, probabilities
from thinned.models.uncertainty.nearest_rows import OodScores
from thinned.service.cli.output import console, table

__all__ = [
    "MOST_ROWS",
    "AnswerTable",
    "number",
    "passes_in_words",
    "print_answers",
    "print_statistics",
    "shape",
    "tables_of_answers",
    "tables_of_outputs",
]

MOST_ROWS = 20
MOST_VALUES = 6


class AnswerTable(NamedTuple):
    """One output's answers, a line a row of the input."""

    head: list[str]
    rows: list[list[str]]
    title: str | None = None
    right: Sequence[str] = ()
    """Columns of numbers."""

    def print(self, out: Console | None = None) -> None:
        """Print it; by default where the command line prints."""
        table(*self.head, rows=self.rows, title=self.title, right=self.right, out=out)


def print_answers(outputs: Mapping[str, Any], card: ModelCard, *, ood: OodScores | None = None) -> None:
    """Deterministic answers, a line a row."""
    for found in tables_of_outputs(outputs, card, ood=ood):
        found.print()
    _print_rest(len(next(iter(outputs.values()))))


def tables_of_outputs(
    outputs: Mapping[str, Any], card: ModelCard, *, ood: OodScores | None = None
) -> list[AnswerTable]:
    """Deterministic answers to the first rows, a table for each output."""
    further = [] if ood is None else ["p-value"]
    found = []
    for spec in card.outputs:
        values = np.asarray(outputs[spec.name])
        if spec.task == "classification" and values.ndim == 2:
            probs = probabilities(values, _scale(spec))
            rows = [[str(i), *_top(row, spec), *_p_value(ood, i)] for i, row in enumerate(probs[:MOST_ROWS])]
            head, right = ["row", "label", "probability", *further], ["probability", *further]
            found.append(AnswerTable(head, rows, _title(spec, card), right))
        else:
            rows = [[str(i), _values(row), *_p_value(ood, i)] for i, row in enumerate(values[:MOST_ROWS])]
            found.append(AnswerTable(["row", "value", *further], rows, _title(spec, card), further))
    return found


def print_statistics(
    answers: Mapping[str, OutputAnswer],
    card: ModelCard,
    *,
    n_samples: int,
    seed: int,
    coverage: float | None = None,
    ood: OodScores | None = None,
) -> None:
    """Answers over passes, a line a row: mean and standard deviation, and for classes the entropies."""
    for found in tables_of_answers(answers, card, coverage=coverage, ood=ood):
        found.print()
    made = passes_in_words(answers, card, n_samples, f"seed {seed} (pass --seed {seed} for the same answer again)")
    console().print(made, soft_wrap=True)
    _print_rest(len(next(iter(answers.values())).mean))


def tables_of_answers(
    answers: Mapping[str, OutputAnswer],
    card: ModelCard,
    *,
    coverage: float | None = None,
    ood: OodScores | None = None,
) -> list[AnswerTable]:
    """Answers over passes to the first rows, a table for each output."""
    return [_statistics(answers[spec.name], spec, card, coverage, ood) for spec in card.outputs]


def _statistics(
    found: OutputAnswer, spec: OutputSpec, card: ModelCard, coverage: float | None, ood: OodScores | None
) -> AnswerTable:
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
            rows = [[*row, number(entropy[i])] for i, row in enumerate(rows)]
    if found.variance_between is not None:
        head.append("between members")
        rows = [[*row, _between(found, i)] for i, row in enumerate(rows)]
    if coverage is not None:
        head.append(f"{'set' if found.interval is None else 'interval'} of {100 * coverage:g} %")
        rows = [[*row, _promise(found, i, spec)] for i, row in enumerate(rows)]
    if found.decision is not None:
        head.append("decision")
        rows = [[*row, "accept" if found.decision.accepted[i] else "abstain"] for i, row in enumerate(rows)]
    if ood is not None:
        head.append("p-value")
        rows = [[*row, *_p_value(ood, i)] for i, row in enumerate(rows)]
    return AnswerTable(head, rows, _title(spec, card), head[2:])


def passes_in_words(answers: Mapping[str, OutputAnswer], card: ModelCard, n_samples: int, seed: str) -> str:
    """What the answers were made of; `seed` is told as it is."""
    if not n_samples:
        why = "mean and variance over the masks are closed forms" if card.sites else "the members draw no noise"
        return f"Exact: no pass was drawn, since {why}."
    told = {"closed_form": "without their last masks", "more_masks": "with several last masks each", "exact": "exact"}
    named = {name: told[answer.estimator] for name, answer in answers.items() if answer.estimator in told}
    how = [f"{name} {what}" if len(card.outputs) > 1 else what for name, what in named.items()]
    whose = f" of each of {len(card.members)} members" if card.members else ""
    said = f"{n_samples} passes{whose}, {seed}"
    return said + (f"; mean and variance: {', '.join(how)}" if how else "")


def _between(answer: OutputAnswer, i: int) -> str:
    """Which share of a row's variance, summed over its numbers, lies between the members of an ensemble."""
    whole = float(answer.variance[i].sum())
    if answer.variance_between is None or not whole > 0:
        return "-"
    return f"{float(answer.variance_between[i].sum()) / whole:.0%}"


def _p_value(ood: OodScores | None, i: int) -> list[str]:
    """How rare it is that a known row lies so far from others; nothing where it was not asked for."""
    return [] if ood is None else [number(ood.p_value[i])]


def _promise(answer: OutputAnswer, i: int, spec: OutputSpec) -> str:
    """The interval of a row, or the classes in its set."""
    if answer.interval is not None:
        lower, upper = (np.ravel(end[i]) for end in answer.interval)
        told = [f"{number(a)} to {number(b)}" for a, b in zip(lower[:MOST_VALUES], upper[:MOST_VALUES], strict=True)]
        return ", ".join(told) + (", …" if lower.size > MOST_VALUES else "")
    if answer.prediction_set is None or answer.prediction_set[i].ndim > 1:
        return "-"
    members = np.flatnonzero(answer.prediction_set[i]).tolist()
    return ", ".join(spec.labels[c] if spec.labels else f"class {c}" for c in members) or "none"


def shape(lengths: Sequence[int | None]) -> str:
    """A shape as text: "8×8×1", "?" for a length that varies, "number" for none."""
    return "×".join("?" if n is None else str(n) for n in lengths) or "number"


def _class_row(i: int, mean: Any, variance: Any, spec: OutputSpec) -> list[str]:
    probs = probabilities(mean, _scale(spec))
    # A single unit p stands for [1 - p, p], whose variances are the same.
    spread = float(np.sqrt(np.broadcast_to(variance, probs.shape))[int(np.argmax(probs))])
    return [str(i), *_top(probs, spec), number(spread)]


def _label(answer: OutputAnswer, i: int, spec: OutputSpec) -> list[str]:
    """The most probable class of a row that is one classification, in a column of its own; else no column."""
    if answer.likeliest is None or answer.likeliest.ndim != 1:
        return []
    best = int(answer.likeliest[i])
    return [spec.labels[best] if spec.labels else f"class {best}"]


def _top(probs: Any, spec: OutputSpec) -> tuple[str, str]:
    best = int(np.argmax(probs))
    return (spec.labels[best] if spec.labels else f"class {best}"), number(probs[best])


def _scale(spec: OutputSpec) -> Any:
    return spec.scale


def _title(spec: OutputSpec, card: ModelCard) -> str | None:
    return spec.name if len(card.outputs) > 1 else None


def _values(row: Any) -> str:
    flat = np.ravel(row)
    return ", ".join(map(number, flat[:MOST_VALUES])) + (f", … ({flat.size} in all)" if flat.size > MOST_VALUES else "")


def number(value: float) -> str:
    """A number as text, to four digits."""
    return f"{float(value):.4g}"


def _print_rest(rows: int) -> None:
    if rows > MOST_ROWS:
        console().print(f"The first {MOST_ROWS} of {rows} rows; pass --json for all of them.")
