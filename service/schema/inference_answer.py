"""Answers of the Open Inference Protocol: a model's metadata, and tensors as JSON with or without bytes behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy.typing as npt
import orjson

from thinned.models.card import ModelCard
from thinned.service.schema.protocol_outputs import Offered, offered, tensor_shape
from thinned.service.schema.tensors import bytes_of_array, datatype_of, json_of_array

__all__ = ["EXTENSIONS", "PLATFORM", "encode_inference", "model_metadata"]

Array: TypeAlias = npt.NDArray[Any]

PLATFORM = "keras_tensorflow"
EXTENSIONS = ("binary_tensor_data",)
"""Extensions of the protocol that are there, by the names that Triton gives them."""


def model_metadata(card: ModelCard, version: str) -> dict[str, Any]:
    """What the protocol tells of a model. Outputs that only answers over passes have stand apart from its own."""
    known = offered(card)
    return {
        "name": card.name,
        "versions": [version],
        "platform": PLATFORM,
        "inputs": [
            {
                "name": spec.name,
                "datatype": datatype_of(spec.dtype),
                "shape": list(tensor_shape(spec.shape)),
            }
            for spec in card.inputs
        ],
        "outputs": [_metadata(name, one) for name, one in known.items() if one.part == ""],
        "further_outputs": [_metadata(name, one) for name, one in known.items() if one.part != ""],
    }


def _metadata(name: str, one: Offered) -> dict[str, Any]:
    return {"name": name, "datatype": one.datatype, "shape": list(one.shape)}


def encode_inference(
    arrays: Mapping[str, Array],
    binary: Mapping[str, bool],
    card: ModelCard,
    version: str,
    *,
    identity: str | None = None,
    parameters: Mapping[str, object] | None = None,
) -> tuple[bytes, int | None]:
    """Write an answer, all of whose numbers are finite.

    Args:
        arrays: The outputs, by name.
        binary: Which of them are written as bytes.
        card: Of the model.
        version: Its version.
        identity: The id of the request.
        parameters: What is said of the whole.

    Returns:
        The body, and the length of its JSON where bytes follow it, else None.
    """
    known = offered(card)
    tails: list[bytes] = []
    written: list[dict[str, Any]] = []
    for name, array in arrays.items():
        tensor: dict[str, Any] = {"name": name, "datatype": known[name].datatype, "shape": list(array.shape)}
        if binary[name]:
            tails.append(bytes_of_array(array))
            tensor["parameters"] = {"binary_data_size": len(tails[-1])}
        else:
            tensor["data"] = json_of_array(array)
        written.append(tensor)
    document: dict[str, Any] = {"model_name": card.name, "model_version": version}
    document |= {} if identity is None else {"id": identity}
    document |= {} if parameters is None else {"parameters": dict(parameters)}
    document["outputs"] = written
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([head, *tails]), len(head) if tails else None
