"""The messages of the Open Inference Protocol over gRPC, as protobuf classes made from the table below.

A table in place of generated code: names and numbers are those of the protocol's `GRPCInferenceService`, and nothing
has to be made anew when protobuf changes what it generates.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["METHODS", "SERVICE", "message"]

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
"""Each takes the message of its name with `Request` behind it, and gives that with `Response`."""

_NAMED = "name 1 string, version 2 string"
_TENSOR = "name 1 string, datatype 2 string, shape 3 int64*"
_CONTENTS = "parameters 4 InferParameter%, contents 5 InferTensorContents"
_OF_MODEL = "model_name 1 string, model_version 2 string, id 3 string, parameters 4 InferParameter%"
# A field is its name, its number and its type; * is behind what is repeated, % behind the values of a map by name.
_MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live 1 bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready 1 bool",
    "ModelReadyRequest": _NAMED,
    "ModelReadyResponse": "ready 1 bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": f"{_NAMED}, extensions 3 string*",
    "ModelMetadataRequest": _NAMED,
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "ModelMetadataResponse": "name 1 string, versions 2 string*, platform 3 string, "
    "inputs 4 ModelMetadataResponse.TensorMetadata*, outputs 5 ModelMetadataResponse.TensorMetadata*",
    "InferParameter": "bool_param 1 bool, int64_param 2 int64, string_param 3 string, double_param 4 double, "
    "uint64_param 5 uint64",
    "InferTensorContents": "bool_contents 1 bool*, int_contents 2 int32*, int64_contents 3 int64*, "
    "uint_contents 4 uint32*, uint64_contents 5 uint64*, fp32_contents 6 float*, fp64_contents 7 double*, "
    "bytes_contents 8 bytes*",
    "ModelInferRequest.InferInputTensor": f"{_TENSOR}, {_CONTENTS}",
    "ModelInferRequest.InferRequestedOutputTensor": "name 1 string, parameters 2 InferParameter%",
    "ModelInferRequest": f"{_OF_MODEL}, inputs 5 ModelInferRequest.InferInputTensor*, "
    "outputs 6 ModelInferRequest.InferRequestedOutputTensor*, raw_input_contents 7 bytes*",
    "ModelInferResponse.InferOutputTensor": f"{_TENSOR}, {_CONTENTS}",
    "ModelInferResponse": f"{_OF_MODEL}, outputs 5 ModelInferResponse.InferOutputTensor*, raw_output_contents 6 bytes*",
}
_ONE_OF = {"InferParameter": "parameter_choice"}
"""Messages of which one field is set, and what the choice is called."""
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    name: getattr(_Field, f"TYPE_{name.upper()}")
    for name in ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32", "uint64")
}


def message(name: str) -> Any:
    """The class of a message, by its name without the package."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def _pool() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="open_inference_grpc.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for name in sorted(_MESSAGES, key=lambda name: name.count(".")):  # What holds others comes first.
        outer, _, own = name.rpartition(".")
        made[name] = made[outer].nested_type.add() if outer else file.message_type.add()
        made[name].name = own
        if name in _ONE_OF:
            made[name].oneof_decl.add(name=_ONE_OF[name])
        for text in filter(None, _MESSAGES[name].split(", ")):
            _add_field(made[name], name, text)
    pool = descriptor_pool.DescriptorPool()  # Of its own: clients in the same process may register the same names.
    pool.Add(file)
    return pool


def _add_field(holder: Any, holder_name: str, text: str) -> None:
    name, number, kind = text.split(" ")
    field = holder.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    own = kind.rstrip("*%")
    if kind.endswith("%"):
        entry = holder.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
        _typed(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), own)
        own = f"{holder_name}.{entry.name}"
    _typed(field, own)
    if kind != kind.rstrip("*%"):
        field.label = _Field.LABEL_REPEATED
    if holder_name in _ONE_OF:
        field.oneof_index = 0


def _typed(field: Any, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


_POOL = _pool()
