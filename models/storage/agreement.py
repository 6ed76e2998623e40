"""Whether stored models can be one ensemble: what they take and answer must agree, and what does not is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from thinned.models.card import InputSpec, ModelCard, OutputSpec
from thinned.models.errors import UnsupportedModelError
from thinned.models.storage.stored_model import StoredModel

__all__ = ["Agreement", "agree"]

Spec = TypeVar("Spec", InputSpec, OutputSpec)
_INPUT = ("shape", "dtype")
_OUTPUT = ("shape", "dtype", "task", "scale", "levels")


@dataclass(frozen=True)
class Agreement:
    """What an ensemble takes and answers: as its first member does.

    For each member `inputs_of` and `outputs_of` say the places at which it has these.
    """

    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    inputs_of: tuple[tuple[int, ...], ...]
    outputs_of: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]
    """What a person should know."""


def agree(members: Sequence[StoredModel]) -> Agreement:
    """What several models take and answer, where it is the same.

    Inputs and outputs are matched by their names; a lone input by its place, whatever its name, and so are outputs
    whose names differ. What was calibrated, or fitted as the noise of the data, was so of one member, and is left out.

    Args:
        members: Two or more.

    Raises:
        UnsupportedModelError: It is not; the text says what differs in which member.
    """
    first = members[0]
    problems, notes = list(_alone(members)), list[str]()
    inputs_of, outputs_of = [], []
    for member in members:
        of_inputs = _places(first.card.inputs, member.card.inputs, by_order=len(first.card.inputs) == 1)
        of_outputs = _places(first.card.outputs, member.card.outputs, by_order=True)
        if of_inputs is None:
            problems.append(f"{member.tag} takes {_names(member.card.inputs)}, {_has(first, first.card.inputs)}")
        if of_outputs is None:
            problems.append(f"{member.tag} answers {_names(member.card.outputs)}, {_has(first, first.card.outputs)}")
        if of_inputs is None or of_outputs is None:
            continue
        inputs_of.append(of_inputs)
        outputs_of.append(of_outputs)
        pairs = zip(first.card.inputs, (member.card.inputs[i] for i in of_inputs), strict=True)
        for one, other in pairs:
            problems += _differing(first, member, "input", one, other, _INPUT)
            problems += _differing(first, member, "input", one, other, ("columns",), unless_none=True)
        for mine, theirs in zip(first.card.outputs, (member.card.outputs[i] for i in of_outputs), strict=True):
            problems += _differing(first, member, "output", mine, theirs, _OUTPUT)
            problems += _differing(first, member, "output", mine, theirs, ("labels",), unless_none=True)
            notes += _notes(first, member, mine, theirs)
    if problems:
        raise UnsupportedModelError(f"these models cannot be one ensemble: {'; '.join(dict.fromkeys(problems))}")
    cards = [member.card for member in members]
    return Agreement(
        tuple(
            _input([card.inputs[places[i]] for card, places in zip(cards, inputs_of, strict=True)])
            for i in inputs_of[0]
        ),
        tuple(
            _output([card.outputs[places[i]] for card, places in zip(cards, outputs_of, strict=True)])
            for i in outputs_of[0]
        ),
        tuple(inputs_of),
        tuple(outputs_of),
        tuple(notes),
    )


def _alone(members: Sequence[StoredModel]) -> Iterator[str]:
    """What a member must be, whatever the others are."""
    modules: dict[str, str] = {}
    for member in members:
        if member.card.members:
            own = " ".join(f"{one.name}:{one.version}" for one in member.card.members)
            yield f"{member.tag} is an ensemble itself; name its members in its place ({own})"
        for output in member.card.outputs:
            if "float" not in output.dtype:
                yield f"the output {output.name!r} of {member.tag} holds {output.dtype}, of which there is no mean"
        module = _module(member.card)
        if module is not None:
            modules.setdefault(module, member.tag)
    if len(modules) > 1:
        told = ", ".join(f"{tag} {module}" for module, tag in modules.items())
        yield (
            f"they bring different custom layers ({told}), and one model is loaded with one module; put the layers of "
            "all into one file, and import the members again with it (--module)"
        )


def _module(card: ModelCard) -> str | None:
    if card.package is not None:
        return f"the package {card.package}"
    return None if card.module_sha256 is None else f"a file of SHA-256 {card.module_sha256[:12]}…"


def _places(mine: Sequence[Spec], theirs: Sequence[Spec], *, by_order: bool) -> tuple[int, ...] | None:
    """Where another member has what the first has; None where it cannot be told."""
    names = [spec.name for spec in theirs]
    if len(mine) != len(theirs):
        return None
    if sorted(names) == sorted(spec.name for spec in mine):
        return tuple(names.index(spec.name) for spec in mine)
    return tuple(range(len(mine))) if by_order else None


def _differing(
    first: StoredModel,
    member: StoredModel,
    kind: str,
    mine: Spec,
    theirs: Spec,
    fields: Sequence[str],
    *,
    unless_none: bool = False,
) -> Iterator[str]:
    for field in fields:
        one, other = getattr(mine, field), getattr(theirs, field)
        if one == other or (unless_none and None in (one, other)):
            continue
        yield (
            f"the {field} of the {kind} {theirs.name!r} of {member.tag} is {_text(other)}, that of {first.tag} "
            f"{_text(one)}"
        )


def _notes(first: StoredModel, member: StoredModel, mine: OutputSpec, theirs: OutputSpec) -> Iterator[str]:
    if mine.name != theirs.name:
        yield (
            f"The output {theirs.name!r} of {member.tag} is taken for {mine.name!r} of {first.tag}: where names differ "
            "outputs are matched by their order."
        )
    if (mine.labels is None) != (theirs.labels is None):
        named, bare = (first, member) if theirs.labels is None else (member, first)
        yield f"The labels of {mine.name!r} are those of {named.tag}; {bare.tag} has none to compare them with."


def _input(specs: Sequence[InputSpec]) -> InputSpec:
    """What all members take as one input: what one of them does not know, or knows otherwise, is not promised."""
    known = [spec.table_size for spec in specs if spec.table_size is not None]
    same = {
        field: getattr(specs[0], field) if all(getattr(s, field) == getattr(specs[0], field) for s in specs) else None
        for field in ("missing", "padding", "image_resize")
    }
    columns = next((spec.columns for spec in specs if spec.columns is not None), None)
    return specs[0].model_copy(update={**same, "columns": columns, "table_size": min(known, default=None)})


def _output(specs: Sequence[OutputSpec]) -> OutputSpec:
    labels = next((spec.labels for spec in specs if spec.labels is not None), None)
    bare = {"noise": None, "calibration": None, "estimator": None, "estimator_note": None}
    return specs[0].model_copy(update={**bare, "labels": labels, "members": len(specs)})


def _names(specs: Sequence[Spec]) -> str:
    return ", ".join(repr(spec.name) for spec in specs)


def _has(first: StoredModel, specs: Sequence[Spec]) -> str:
    return f"where {first.tag} has {_names(specs)}"


def _text(value: object) -> str:
    text = str(value)
    if isinstance(value, tuple):
        text = f"({', '.join('?' if part is None else str(part) for part in value)})"
    return text if len(text) <= 80 else f"{text[:77]}…"
