"""Inference requests of gRPC as the protocol's HTTP has them, and its answers as gRPC has them.

So whatever is asked by gRPC is read, checked, limited, counted and answered by the code that answers HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson

from thinned.models.errors import InputError, Problem
from thinned.service.http.grpc_messages import message
from thinned.service.schema.input_arrays import numpy_dtype
from thinned.service.schema.tensors import DATATYPES, bytes_of_array, bytes_of_elements

__all__ = ["inference_answer", "inference_body", "metadata_answer"]

_BINARY = {"binary_data": True}
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where a tensor's elements stand that are not raw. The protocol has no place for FP16 and BF16."""


def inference_body(request: Any, left_ms: float | None) -> tuple[bytes, int]:
    """The body of a request, its tensors as bytes behind the JSON, and the length of the JSON.

    Args:
        request: A `ModelInferRequest`.
        left_ms: How long its client waits; None where that is not said. A `timeout_ms` that is shorter counts.

    Raises:
        InputError: What only gRPC has is wrong: where elements stand, and how many raw tensors there are.
    """
    raws = request.raw_input_contents
    if raws and len(raws) != len(request.inputs):
        counts = f"{len(request.inputs)}, one for each input, received {len(raws)}"
        raise InputError([Problem(("raw_input_contents",), f"expected none or {counts}")])
    inputs: list[dict[str, object]] = []
    tail: list[bytes] = []
    for i, tensor in enumerate(request.inputs):
        given: dict[str, object] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        parameters = _values(tensor.parameters)
        # A message of contents that holds nothing is set by some clients whatever they send.
        if raws and tensor.contents.ListFields():
            raise InputError([Problem(("inputs", tensor.name), "expected contents or raw contents, received both")])
        found = raws[i] if raws else _elements(tensor)
        if isinstance(found, bytes):
            tail.append(found)
            parameters["binary_data_size"] = len(found)
        else:
            given["data"] = found
        inputs.append(given | ({"parameters": parameters} if parameters else {}))
    parameters = _values(request.parameters)
    if left_ms is not None:
        asked = parameters.get("timeout_ms")
        shorter = isinstance(asked, int | float) and not isinstance(asked, bool) and asked <= left_ms
        parameters["timeout_ms"] = asked if shorter else max(1, int(left_ms))
    outputs = [{"name": one.name, "parameters": _values(one.parameters) | _BINARY} for one in request.outputs]
    document: dict[str, object] = {"inputs": inputs, "outputs": outputs}
    document["parameters"] = parameters | {"binary_data_output": True}
    if request.id:
        document["id"] = request.id
    head = orjson.dumps(document)
    return b"".join([head, *tail]), len(head)


def inference_answer(body: bytes, json_length: int | None) -> Any:
    """A `ModelInferResponse` from the answer over HTTP; all tensors are raw."""
    head = json.loads(body if json_length is None else body[:json_length])
    answer = message("ModelInferResponse")(
        model_name=head["model_name"], model_version=head["model_version"], id=head.get("id", "")
    )
    _fill(answer.parameters, head.get("parameters", {}))
    at = json_length or 0
    for output in head["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size", 0)
        answer.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
        answer.raw_output_contents.append(body[at : at + size])
        at += size
    return answer


def metadata_answer(name: str, document: Mapping[str, Any]) -> Any:
    """The message of this name from a document over HTTP; what the message has no field for is left out."""
    answer = message(name)()
    for field in answer.DESCRIPTOR.fields:
        value = document.get(field.name)
        if field.name in ("inputs", "outputs"):
            for one in value or ():
                getattr(answer, field.name).add(**one)
        elif isinstance(value, list):
            getattr(answer, field.name).extend(value)
        elif value is not None:
            setattr(answer, field.name, value)
    return answer


def _elements(tensor: Any) -> list[Any] | bytes:
    """The elements of a tensor that are not raw: as JSON's, where ranges are checked, or as bytes, which hold NaN too.

    Raises:
        InputError: They stand where elements of another datatype do.
    """
    place = _CONTENTS.get(tensor.datatype)
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    if tensor.datatype in DATATYPES and (place is None or set(filled) - {place}):
        expected = f"elements of {tensor.datatype} in {place or 'raw_input_contents'}"
        raise InputError([Problem(("inputs", tensor.name), f"expected {expected}, received {', '.join(filled) or 0}")])
    if place is None:
        return []  # The datatype is refused where it is read.
    values = list(getattr(tensor.contents, place))
    if tensor.datatype == "BYTES":
        return bytes_of_elements(values)
    if tensor.datatype in ("FP32", "FP64"):
        return bytes_of_array(np.array(values, numpy_dtype(DATATYPES[tensor.datatype])))
    return values


def _values(parameters: Mapping[str, Any]) -> dict[str, object]:
    """Parameters as JSON has them; one that is not set is null."""
    found: dict[str, object] = {}
    for name, value in parameters.items():
        chosen = value.WhichOneof("parameter_choice")
        found[name] = None if chosen is None else getattr(value, chosen)
    return found


def _fill(parameters: Any, values: Mapping[str, object]) -> None:
    fields: Iterable[tuple[type, str]] = (
        (bool, "bool_param"),
        (int, "int64_param"),
        (float, "double_param"),
        (str, "string_param"),
    )
    for name, value in values.items():
        place = next((field for kind, field in fields if isinstance(value, kind)), None)
        if place is not None:
            setattr(parameters[name], place, value)
