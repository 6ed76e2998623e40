"""A request of the Open Inference Protocol: its JSON and the bytes behind it, checked as those of /predict are.

What it holds is put into the fields of `/predict` or `/predict_mc`, with arrays in place of lists, for the same checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias, cast

import numpy.typing as npt

from thinned.models.card import InputSpec, ModelCard
from thinned.models.errors import InputError, MalformedBodyError, Problem
from thinned.service.schema.input_arrays import MAX_PROBLEMS, check_shape, describe
from thinned.service.schema.protocol_outputs import OF_COVERAGE, OF_POLICY, SAMPLES, Offered, offered
from thinned.service.schema.request_body import parse
from thinned.service.schema.request_fields import PredictRequest, SampleRequest, read_predict, read_predict_mc
from thinned.service.schema.response_body import PARTS
from thinned.service.schema.tensors import DATATYPES, array_of_bytes, array_of_json, datatype_of, takes
from thinned.service.settings import Settings

__all__ = ["FOR_PASSES", "PARAMETERS", "Inference", "read_inference", "split_body"]

Array: TypeAlias = npt.NDArray[Any]

FOR_PASSES = ("n_samples", "tolerance", "budget_ms", "coverage", "policy")
"""Parameters of which one asks for an answer over passes."""
PARAMETERS = (*FOR_PASSES, "seed", "sampling", "estimator", "calibrated", "timeout_ms")
"""Parameters that are fields of our own requests."""
_BINARY_OUTPUT, _BINARY, _SIZE = "binary_data_output", "binary_data", "binary_data_size"
_HINTS = ("content_type", "headers")
"""Parameters by which other clients describe what they send; nothing here depends on them."""
_MOST_AXES = 32
_MOST_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Inference:
    """A checked request. `outputs` says by the name of each output asked for whether it is wanted as bytes."""

    request: PredictRequest | SampleRequest
    id: str | None
    outputs: dict[str, bool] | None
    binary: bool
    """Whether outputs are wanted as bytes where it names none."""


def split_body(body: bytes, length: str | None) -> tuple[bytes, memoryview]:
    """The JSON of a body, and the bytes behind it.

    Args:
        body: The whole.
        length: What the header Inference-Header-Content-Length says; None where there is none.

    Raises:
        MalformedBodyError: The header is no length of a part of the body.
    """
    if length is None:
        return body, memoryview(b"")
    size = int(length) if length.isascii() and length.isdigit() and len(length) <= _MOST_DIGITS else -1
    if not 0 <= size <= len(body):
        raise MalformedBodyError(
            "expected the header Inference-Header-Content-Length to be the length of the JSON, "
            f"from 0 to the {len(body)} bytes of the body, received {length[:40]!r}"
        )
    return body[:size], memoryview(body)[size:]


def read_inference(head: bytes, tail: memoryview, card: ModelCard, settings: Settings) -> Inference:
    """Check a request.

    Args:
        head: Its JSON.
        tail: The bytes of its binary tensors, in the order of its inputs.
        card: Of the model.
        settings: The limits.

    Raises:
        MalformedBodyError: It is no JSON object.
        InputError: With everything that is wrong with it.
        CalibrationError: As for `read_predict_mc`.
    """
    document = parse(head, strings=_strings)
    problems: list[Problem] = []
    identity = document.get("id")
    if identity is not None and not isinstance(identity, str):
        problems.append(Problem(("id",), f"expected a string, received {describe(identity)}"))
    parameters = _parameters(document, (), (*PARAMETERS, _BINARY_OUTPUT), problems)
    binary = _flag(parameters.pop(_BINARY_OUTPUT, False), (_BINARY_OUTPUT,), problems)
    outputs = _outputs(document, card, binary, problems)
    inputs = _inputs(document, tail, card, settings, problems)
    passes = any(name in parameters for name in FOR_PASSES)
    chosen = {name: one for name, one in offered(card).items() if name in (outputs or ())}
    problems += (_without_promise if passes else _without_passes)(parameters, chosen)
    if problems:
        raise InputError(problems[:MAX_PROBLEMS])
    fields: dict[str, object] = {"inputs": inputs, **parameters}
    if any(one.part in PARTS for one in chosen.values()):
        fields["separate"] = True
    if any(one.part == SAMPLES for one in chosen.values()):
        fields["return_samples"] = True
    request = read_predict_mc(fields, card, settings) if passes else read_predict(fields, card, settings)
    return Inference(request, cast("str | None", identity), outputs, binary)


def _strings(document: Mapping[str, object]) -> int:
    """Members and strings of a request, but for strings where numbers should stand."""
    known = {**document}
    inputs = known.pop("inputs", None)
    count = _count(known) + int("inputs" in document)
    if type(inputs) is not list:
        return count + _count(inputs)
    for tensor in inputs:
        if type(tensor) is not dict:
            count += _count(tensor)
            continue
        data = tensor.get("data")
        count += _count({name: value for name, value in tensor.items() if name != "data"}) + int("data" in tensor)
        count += _count(data) if tensor.get("datatype") in ("BYTES", None) else 0
    return count


def _count(value: object) -> int:
    if type(value) is str:
        return 1
    if type(value) is dict:
        return len(value) + sum(map(_count, value.values()))
    return sum(map(_count, value)) if type(value) is list else 0


def _parameters(
    holder: Mapping[str, object], loc: tuple[str | int, ...], known: tuple[str, ...], problems: list[Problem]
) -> dict[str, object]:
    """The parameters of a request or a tensor that stands at `loc`, without those that are mere hints."""
    found = holder.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        problems.append(Problem((*loc, "parameters"), f"expected an object, received {describe(found)}"))
        return {}
    kept = {name: value for name, value in found.items() if name not in _HINTS}
    for name in islice((name for name in kept if name not in known), MAX_PROBLEMS):
        expected = f"unknown parameter; expected {', '.join(known)}"
        problems.append(Problem((*loc, "parameters", name), expected))
    return {name: value for name, value in kept.items() if name in known}


def _flag(value: object, loc: tuple[str | int, ...], problems: list[Problem]) -> bool:
    if not isinstance(value, bool):
        problems.append(Problem(loc, f"expected true or false, received {describe(value)}"))
    return value is True


def _outputs(
    document: Mapping[str, object], card: ModelCard, binary: bool, problems: list[Problem]
) -> dict[str, bool] | None:
    """The outputs that are asked for, and whether as bytes; None where none are named."""
    listed = document.get("outputs")
    if listed is None or listed == []:
        return None
    if not isinstance(listed, list):
        problems.append(Problem(("outputs",), f"expected a list of objects, received {describe(listed)}"))
        return None
    known = offered(card)
    found: dict[str, bool] = {}
    for i, one in enumerate(listed):
        if len(problems) >= MAX_PROBLEMS:
            break
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str):
            problems.append(Problem(("outputs", i), f"expected an object with a name, received {describe(one)}"))
        elif name not in known:
            problems.append(Problem(("outputs", name[:100]), f"unknown output; expected {', '.join(known)}"))
        elif name in found:
            problems.append(Problem(("outputs", name), "expected every output once, received it twice"))
        else:
            loc = ("outputs", name, _BINARY)
            given = _parameters(one, ("outputs", name), (_BINARY,), problems)
            found[name] = _flag(given.get(_BINARY, binary), loc, problems)
    return found


def _inputs(
    document: Mapping[str, object], tail: memoryview, card: ModelCard, settings: Settings, problems: list[Problem]
) -> dict[str, Array]:
    """The tensors of the inputs; what is wrong with them is added to `problems`."""
    listed = document.get("inputs")
    if not isinstance(listed, list) or not listed:
        received = "nothing" if "inputs" not in document else describe(listed)
        problems.append(Problem(("inputs",), f"expected a list of tensors, received {received}"))
        return {}
    specs = {spec.name: spec for spec in card.inputs}
    found: dict[str, Array] = {}
    seen: set[str] = set()
    for i, one in enumerate(listed):
        if len(problems) >= MAX_PROBLEMS:
            break
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str):
            problems.append(Problem(("inputs", i), f"expected an object with a name, received {describe(one)}"))
        elif name not in specs:
            expected = ", ".join(map(repr, specs))
            problems.append(Problem(("inputs", name[:100]), f"unknown input; expected {expected}"))
        elif name in seen:
            problems.append(Problem(("inputs", name), "expected every input once, received it twice"))
        else:
            seen.add(name)
            try:
                found[name], tail = _tensor(one, tail, specs[name], settings)
            except InputError as error:
                problems += error.problems
                return {}  # Where the next begins in the bytes cannot be told.
    problems += [Problem(("inputs", name), "this input is missing") for name in specs if name not in seen]
    if len(tail) and not problems:
        text = f"expected no bytes behind the tensors, received {len(tail)} that none of them counts as {_SIZE}"
        problems.append(Problem(("inputs",), text))
    return found


def _tensor(
    tensor: Mapping[str, object], tail: memoryview, spec: InputSpec, settings: Settings
) -> tuple[Array, memoryview]:
    """One input, and the bytes that are left behind it.

    Raises:
        InputError: It is none that this input takes.
    """
    loc = ("inputs", spec.name)
    problems: list[Problem] = []
    size = _parameters(tensor, loc, (_SIZE,), problems).get(_SIZE)
    datatype, shape = tensor.get("datatype"), tensor.get("shape")
    allowed = takes(spec.dtype)
    if not isinstance(datatype, str) or datatype not in allowed:
        others = "" if len(allowed) == 1 else f" or another of {', '.join(n for n in DATATYPES if n in allowed)}"
        received = datatype[:20] if isinstance(datatype, str) else describe(datatype)
        text = f"expected the datatype {datatype_of(spec.dtype)}{others}, received {received}"
        problems.append(Problem(loc, text))
    if not isinstance(shape, list) or len(shape) > _MOST_AXES or not all(type(n) is int and n >= 0 for n in shape):
        text = f"expected a shape, a list of at most {_MOST_AXES} lengths, received {describe(shape)}"
        problems.append(Problem(loc, text))
    if size is None and "data" not in tensor:
        problems.append(Problem(loc, f"expected data, or the parameter {_SIZE}"))
    if size is not None and "data" in tensor:
        problems.append(Problem(loc, f"expected either data or the parameter {_SIZE}, received both"))
    if size is not None and (type(size) is not int or not 0 <= size <= len(tail)):
        text = f"expected {_SIZE} from 0 to the {len(tail)} bytes left behind the JSON, received {describe(size)}"
        problems.append(Problem(loc, text))
    if problems:
        raise InputError(problems)
    axes = tuple(cast("list[int]", shape))
    check_shape(axes, spec, loc, settings.max_rows, settings.max_length)
    if size is None:
        return array_of_json(tensor["data"], cast(str, datatype), axes, (*loc, "data")), tail
    taken = cast(int, size)
    return array_of_bytes(tail[:taken], cast(str, datatype), axes, loc), tail[taken:]


def _without_passes(parameters: Mapping[str, object], chosen: Mapping[str, Offered]) -> Iterator[Problem]:
    """What is asked for that only an answer over passes has."""
    needed = f"expected one of the parameters {', '.join(FOR_PASSES)} beside it: without, the answer has no passes"
    yield from (Problem(("parameters", name), needed) for name in parameters if name != "timeout_ms")
    yield from (Problem(("outputs", name), needed) for name, one in chosen.items() if not one.plain)


def _without_promise(parameters: Mapping[str, object], chosen: Mapping[str, Offered]) -> Iterator[Problem]:
    """What is asked for that only an answer with a coverage or a policy has."""
    for name, one in chosen.items():
        if one.part in OF_COVERAGE and parameters.get("coverage") is None:
            yield Problem(("outputs", name), "expected the parameter coverage beside it")
        if one.part in OF_POLICY and not parameters.get("policy"):
            yield Problem(("outputs", name), "expected the parameter policy, true, beside it")
