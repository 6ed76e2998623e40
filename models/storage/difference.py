"""What a new version of a model would take or answer otherwise than the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from thinned.models.card import InputSpec, ModelCard, OutputSpec
from thinned.models.errors import ModelDiffersError

__all__ = ["differences", "refuse_if_different"]

Spec = TypeVar("Spec", InputSpec, OutputSpec)


def differences(before: ModelCard, inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec]) -> list[str]:
    """What who asks for the name would notice, a phrase for each.

    The name of a lone input or output may change: Keras counts on in the names that it makes up.
    """
    found = _named("input", [spec.name for spec in before.inputs], [spec.name for spec in inputs])
    found += _named("output", [spec.name for spec in before.outputs], [spec.name for spec in outputs])
    if found:
        return found
    for old, new in _pairs(before.inputs, inputs):
        found += _changed(f"the input {new.name!r}", old, new, ("shape", "dtype"))
    for old_output, new_output in _pairs(before.outputs, outputs):
        fields = ["shape", "task", "scale", "levels"]
        if old_output.labels is not None and new_output.labels is not None:
            fields.append("labels")
        found += _changed(f"the output {new_output.name!r}", old_output, new_output, fields)
    return found


def refuse_if_different(
    before: ModelCard, tag: str, inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec]
) -> None:
    """Refuse a version that takes or answers something else than the one that it would take the place of.

    Raises:
        ModelDiffersError: It does.
    """
    found = differences(before, inputs, outputs)
    if found:
        raise ModelDiffersError(
            f"this model would take the place of {tag}, and takes or answers something else: {'; '.join(found)}. Pass "
            "--replace if that is meant, or another --name"
        )


def _pairs(before: Sequence[Spec], after: Sequence[Spec]) -> list[tuple[Spec, Spec]]:
    by_name = {spec.name: spec for spec in before}
    return [(by_name[spec.name] if len(after) > 1 else before[0], spec) for spec in after]


def _named(kind: str, before: Sequence[str], after: Sequence[str]) -> list[str]:
    if len(before) == len(after) and (len(after) == 1 or set(before) == set(after)):
        return []
    return [f"{kind}s {', '.join(map(repr, after))} where it had {', '.join(map(repr, before))}"]


def _changed(what: str, old: InputSpec | OutputSpec, new: InputSpec | OutputSpec, fields: Sequence[str]) -> list[str]:
    pairs = [(field, getattr(old, field), getattr(new, field)) for field in fields]
    return [
        f"{field} of {what} {_text(after)} where it was {_text(before)}"
        for field, before, after in pairs
        if before != after
    ]


def _text(value: object) -> str:
    text = ", ".join("?" if part is None else str(part) for part in value) if isinstance(value, tuple) else str(value)
    text = f"({text})" if isinstance(value, tuple) else text
    return text if len(text) <= 60 else f"{text[:57]}…"
