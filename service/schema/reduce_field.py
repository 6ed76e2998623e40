"""The field `reduce`: what a client may send, what it gets, and both as schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from thinned.models.card import ModelCard, OutputSpec
from thinned.models.errors import Problem
from thinned.models.uncertainty.reduction import MAPS, Box, Reduced, Reduction, has_positions
from thinned.service.schema.input_arrays import describe
from thinned.service.schema.json_schema import Schema, array, by_output, object_of

__all__ = ["read_reduction", "reduced_answer", "reduced_fields", "reduced_schema", "reduction_schema"]

_MEMBERS = ("by", "box", "labels")
_NOT_BESIDE = ("quantiles", "return_samples", "separate", "coverage", "policy")
"""Fields that answer with maps themselves."""


def read_reduction(document: Mapping[str, object], card: ModelCard, problems: list[Problem]) -> Reduction | None:
    """The reduction asked for; what is wrong with it is added to `problems`.

    Args:
        document: The body of the request.
        card: The model's.
        problems: What is wrong with the body so far.
    """
    asked = document.get("reduce")
    if asked is None:
        return None
    found: list[Problem] = []
    reduction = Reduction()
    if not isinstance(asked, dict):
        found.append(Problem(("reduce",), f"expected an object or null, received {describe(asked)}"))
    elif not any(map(has_positions, card.outputs)):
        found.append(Problem(("reduce",), "no output of this model has several positions in a row; leave it out"))
    else:
        found += [
            Problem(("reduce", name), f"unknown member; expected {', '.join(_MEMBERS)}")
            for name in asked
            if name not in _MEMBERS
        ]
        by, box, labels = asked.get("by", "mean"), asked.get("box"), asked.get("labels")
        found += _check_by(by)
        found += _check_box(box, card)
        classes, wrong = _classes(labels, card)
        found += wrong
        if not found:
            reduction = Reduction(
                by=by if isinstance(by, str) else float(by),  # type: ignore[arg-type]
                box=None if box is None else cast(Box, tuple(map(tuple, box))),
                classes=classes,
            )
    others = [name for name in _NOT_BESIDE if document.get(name)]
    if others:
        found.append(
            Problem(("reduce",), f"cannot stand beside {', '.join(others)}, which answer position by position")
        )
    problems += found
    return reduction


def _check_by(by: object) -> Iterator[Problem]:
    if by in ("mean", "maximum") and isinstance(by, str):
        return
    if type(by) not in (int, float) or not 0 < cast(float, by) < 1:
        expected = "expected mean, maximum, or the level of a quantile between 0 and 1"
        yield Problem(("reduce", "by"), f"{expected}, received {describe(by)}")


def _check_box(box: object, card: ModelCard) -> Iterator[Problem]:
    if box is None:
        return
    shapes = {output.shape[:-1] for output in card.outputs if has_positions(output)}
    if len(shapes) > 1:
        yield Problem(("reduce", "box"), "the outputs have different positions, so that no box fits all; leave it out")
        return
    shape = shapes.pop()
    if not isinstance(box, list) or len(box) != len(shape):
        expected = f"expected a pair [first, behind the last] for each of {len(shape)} axes"
        yield Problem(("reduce", "box"), f"{expected}, received {describe(box)}")
        return
    for axis, (pair, length) in enumerate(zip(box, shape, strict=True)):
        whole = isinstance(pair, list) and len(pair) == 2 and all(type(end) is int for end in pair)
        if not whole or not 0 <= pair[0] < pair[1] or (length is not None and pair[1] > length):
            most = "" if length is None else f", {length} at most"
            expected = f"expected [first, behind the last], two integers from 0 on that hold a position{most}"
            yield Problem(("reduce", "box", axis), f"{expected}, received {describe(pair)}")


def _classes(labels: object, card: ModelCard) -> tuple[tuple[int, ...] | None, list[Problem]]:
    if labels is None:
        return None, []
    place = ("reduce", "labels")
    maps = [output for output in card.outputs if has_positions(output)]
    if len(maps) != 1 or maps[0].task != "classification":
        return None, [
            Problem(place, "labels choose the positions of one map of classes; this model has none; leave it out")
        ]
    output = maps[0]
    count = max(2, output.shape[-1] or 2)
    known: Sequence[Any] = output.labels or range(count)
    if not isinstance(labels, list) or not labels:
        return None, [Problem(place, f"expected a list of classes, received {describe(labels)}")]
    wrong = [
        Problem((*place, i), f"expected one of {', '.join(map(str, known[:20]))}, received {describe(label)}")
        for i, label in enumerate(labels)
        if isinstance(label, bool) or label not in known
    ]
    return (None if wrong else tuple(known.index(label) for label in labels)), wrong


def reduced_answer(reduced: Mapping[str, Reduced], card: ModelCard) -> dict[str, Any]:
    """What an answer says in place of maps; null where a region has no positions."""
    found = {
        name: {
            "positions": one.positions.tolist(),
            "mean": _numbers(one.mean),
            "variance": _numbers(one.variance),
            "standard_error": _numbers(one.standard_error),
            "maps": {kind: _numbers(values) for kind, values in one.maps.items()},
        }
        for name, one in reduced.items()
    }
    return {"reduced": found if len(card.outputs) > 1 else next(iter(found.values()))}


def _numbers(values: npt.NDArray[Any]) -> Any:
    """Nested lists; None for NaN, which only a region without positions has."""
    numbers = values.astype(object)
    numbers[np.isnan(values)] = None
    return numbers.tolist()


def reduction_schema(card: ModelCard) -> dict[str, Schema]:
    """The field of a request; none where no output has positions."""
    if not any(map(has_positions, card.outputs)):
        return {}
    pair = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2}
    members: dict[str, Schema] = {
        "by": {
            "oneOf": [
                {"enum": ["mean", "maximum"]},
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            ],
            "default": "mean",
            "description": "What a region becomes: the mean or the maximum of its positions, or this quantile of them.",
        },
        "box": {
            "type": ["array", "null"],
            "items": pair,
            "default": None,
            "description": "For each axis of positions the first one and the one behind the last; all by default.",
        },
        "labels": {
            "type": ["array", "null"],
            "items": {"type": ["string", "integer"]},
            "minItems": 1,
            "default": None,
            "description": "Only the positions whose class, by the mean over passes, is one of these.",
        },
    }
    meaning = "Answer a few numbers for each row in place of maps. Passes come first: each is reduced by itself."
    return {"reduce": {"oneOf": [{"type": "null"}, object_of({}, members)], "default": None, "description": meaning}}


def reduced_fields(card: ModelCard) -> tuple[str, ...]:
    """Fields of an answer that hold maps, and are not there where these are reduced, or hold other outputs alone."""
    return (
        ("mean", *MAPS, "variance_within", "variance_between", "standard_error", "predicted_label")
        if reduction_schema(card)
        else ()
    )


def reduced_schema(card: ModelCard) -> dict[str, Schema]:
    """The field of an answer."""
    maps = [output for output in card.outputs if has_positions(output)]
    if not maps:
        return {}
    return {
        "reduced": {
            "description": "In place of maps, where reduce was asked for; null for a region without positions.",
            **by_output(maps, _of_output, named=len(card.outputs) > 1),
        }
    }


def _of_output(output: OutputSpec) -> Schema:
    number: Schema = {"type": ["number", "null"]}
    each, units = array(number), array(array(number, output.shape[-1]))
    kinds = dict.fromkeys(MAPS[:-1], each) if output.task == "classification" else {}
    return object_of(
        {
            "positions": array({"type": "integer", "minimum": 0}),
            "mean": {**units, "description": "Mean over passes of the reduced values."},
            "variance": {**units, "description": "Their variance over passes, ddof 1: of the region as a whole."},
            "standard_error": {**units, "description": "sqrt(variance / n_samples)."},
            "maps": object_of({"variance": units}, kinds),
        }
    )
