"""The Open Inference Protocol over gRPC, by a client that knows the messages alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from tests.service.conftest import Run, Served
from tests.serving import free_port
from thinned.service.http.grpc_messages import METHODS, SERVICE, message
from thinned.service.http.grpc_server import GrpcServer
from thinned.service.http.routes import create_app

ROWS = np.array([[1, 2, 3], [0.5, -1, 2]], np.float32)
Code = grpc.StatusCode


class Client:
    """Calls methods by their names, in the event loop of the server."""

    def __init__(self, run: Run, port: int) -> None:
        self.run, self.address = run, f"127.0.0.1:{port}"

    def __call__(self, name: str, request: Any, **options: Any) -> Any:
        return self.run(self.call(name, request, **options)).result(60)

    async def call(self, name: str, request: Any, **options: Any) -> Any:
        async with grpc.aio.insecure_channel(self.address) as channel:
            return await self.method(channel, name)(request, **options)

    @staticmethod
    def method(channel: Any, name: str) -> Any:
        return channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=message(f"{name}Request").SerializeToString,
            response_deserializer=message(f"{name}Response").FromString,
        )

    def refused(self, request: Any, **options: Any) -> tuple[Any, str]:
        with pytest.raises(grpc.aio.AioRpcError) as told:
            self("ModelInfer", request, **options)
        return told.value.code(), told.value.details() or ""


@pytest.fixture(scope="module")
def client(classes: Served) -> Iterator[Client]:
    port = free_port()

    async def begin() -> GrpcServer:
        server = GrpcServer(create_app(classes.models), ("127.0.0.1", port), classes.manager.settings, 1 << 30)
        await server.start()
        return server

    server = classes.run(begin()).result(60)
    yield Client(classes.run, port)
    classes.run(server.stop(5)).result(60)


def asked(rows: np.ndarray = ROWS, datatype: str = "FP32", **parameters: Any) -> Any:
    request = message("ModelInferRequest")(model_name="classes")
    request.inputs.add(name="x", datatype=datatype, shape=rows.shape)
    request.raw_input_contents.append(rows.tobytes())
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for name, value in parameters.items():
        setattr(request.parameters[name], kinds[type(value)], value)
    return request


def arrays(answer: Any) -> dict[str, np.ndarray]:
    kinds = {"FP32": "<f4", "FP64": "<f8"}
    return {
        output.name: np.frombuffer(raw, kinds[output.datatype]).reshape(output.shape)
        for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        if output.datatype in kinds
    }


def test_server_and_model_are_told(client: Client, classes: Served) -> None:
    version = classes.manager.stored.version
    assert client("ServerLive", message("ServerLiveRequest")()).live
    assert client("ServerReady", message("ServerReadyRequest")()).ready
    assert client("ModelReady", message("ModelReadyRequest")(name="classes", version=version)).ready
    assert client("ServerMetadata", message("ServerMetadataRequest")()).name == "thinned"
    told = client("ModelMetadata", message("ModelMetadataRequest")(name="classes"))
    assert (list(told.versions), told.platform) == ([version], "keras_tensorflow")
    assert [(one.name, one.datatype, list(one.shape)) for one in told.inputs] == [("x", "FP32", [-1, 3])]
    for name in ("ModelReady", "ModelMetadata"):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            client(name, message(f"{name}Request")(name="nobody"))
        assert error.value.code() == Code.NOT_FOUND


@pytest.mark.parametrize("parameters", [{}, {"n_samples": 40, "seed": 7}])
def test_the_answer_is_that_of_http(client: Client, classes: Served, parameters: dict[str, Any]) -> None:
    request = asked(**parameters)
    request.id = "mine"
    answer = client("ModelInfer", request)
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": ROWS.ravel().tolist()}
    body = {"inputs": [tensor], "parameters": parameters}
    by_http = classes.ask("POST", "/v2/models/classes/infer", json=body).json()
    assert (answer.model_name, answer.id) == ("classes", "mine")
    assert [output.name for output in answer.outputs] == [output["name"] for output in by_http["outputs"]]
    for name, array in arrays(answer).items():
        (other,) = [output["data"] for output in by_http["outputs"] if output["name"] == name]
        np.testing.assert_allclose(array.ravel(), other, rtol=1e-5, atol=1e-8)
    if parameters:
        assert answer.parameters["n_samples"].int64_param == 40
        assert answer.parameters["seed"].int64_param == 7


@pytest.mark.parametrize(
    ("datatype", "place", "values"),
    [
        ("FP32", "fp32_contents", [1.5, 2, 3]),
        ("FP64", "fp64_contents", [1.5, 2, 3]),
        ("INT8", "int_contents", [1, 2, 3]),
    ],
)
def test_elements_need_not_be_raw(client: Client, datatype: str, place: str, values: list[float]) -> None:
    request = message("ModelInferRequest")(model_name="classes")
    tensor = request.inputs.add(name="x", datatype=datatype, shape=[1, 3])
    getattr(tensor.contents, place).extend(values)
    request.outputs.add(name="y")
    request_of_raw = asked(np.array([values], np.float32))
    request_of_raw.inputs[0].contents.SetInParent()  # Some clients set contents that hold nothing.
    raw = client("ModelInfer", request_of_raw)
    np.testing.assert_array_equal(arrays(client("ModelInfer", request))["y"], arrays(raw)["y"])


def test_what_is_wrong_is_the_clients_mistake(client: Client) -> None:
    assert client.refused(message("ModelInferRequest")(model_name="nobody"))[0] == Code.NOT_FOUND
    wrong = {
        "finite": asked(np.array([[1, np.nan, 2]], np.float32)),
        "12 bytes": asked(np.ones((1, 2), np.float32)),
        "unknown parameter": asked(colour="red"),
        "n_samples": asked(n_samples=10**9),
        "expected none or 1": asked(),
        "received both": asked(),
        "in int_contents": asked(),
        "unknown input": asked(),
        "unknown output": asked(),
    }
    wrong["12 bytes"].inputs[0].shape[:] = [1, 3]
    wrong["expected none or 1"].raw_input_contents.append(b"")
    wrong["received both"].inputs[0].contents.fp32_contents.append(1)
    del wrong["in int_contents"].raw_input_contents[:]
    wrong["in int_contents"].inputs[0].datatype = "INT16"
    wrong["in int_contents"].inputs[0].contents.fp32_contents.append(1)
    wrong["unknown input"].inputs[0].name = "z"
    wrong["unknown output"].outputs.add(name="z")
    for said, request in wrong.items():
        code, details = client.refused(request)
        assert code == Code.INVALID_ARGUMENT, details
        assert said in details
    outside = message("ModelInferRequest")(model_name="classes")
    outside.inputs.add(name="x", datatype="INT8", shape=[1, 3]).contents.int_contents.extend([1, 2, 300])
    assert client.refused(outside)[0] == Code.INVALID_ARGUMENT


def test_a_message_over_the_limit_is_refused_before_it_is_read(client: Client, classes: Served) -> None:
    rows = np.zeros((classes.manager.settings.max_body_bytes // 12 + 10_000, 3), np.float32)
    assert client.refused(asked(rows))[0] == Code.RESOURCE_EXHAUSTED


def test_a_call_that_is_cancelled_or_late_frees_its_place(client: Client, classes: Served) -> None:
    long = asked(np.zeros((600, 3), np.float32), n_samples=100, tolerance=1e-12)
    engine = classes.manager.served

    async def leave() -> None:
        async with grpc.aio.insecure_channel(client.address) as channel:
            calls = [client.method(channel, "ModelInfer")(long) for _ in range(20)]
            await asyncio.sleep(0.05)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            for _ in range(400):
                if engine.admitted == 0:
                    return
                await asyncio.sleep(0.05)
            raise AssertionError(f"{engine.admitted} are still there")

    classes.run(leave()).result(60)
    assert client.refused(asked(np.zeros((600, 3), np.float32), n_samples=100), timeout=0.001)[0] == (
        Code.DEADLINE_EXCEEDED
    )
    assert client.refused(asked(n_samples=1000, timeout_ms=10**9))[0] == Code.INVALID_ARGUMENT


def test_the_messages_are_those_of_the_protocol() -> None:
    """Field numbers by hand, as they stand on the wire: a name is field 1, raw contents are field 7 or 6."""
    assert message("ModelInferRequest")(model_name="m", raw_input_contents=[b"ab"]).SerializeToString() == (
        b"\x0a\x01m" + b"\x3a\x02ab"
    )
    assert message("ModelInferResponse")(id="i", raw_output_contents=[b"ab"]).SerializeToString() == (
        b"\x1a\x01i" + b"\x32\x02ab"
    )
    parameter = message("InferParameter")(double_param=1.0)
    assert parameter.WhichOneof("parameter_choice") == "double_param"
    assert parameter.SerializeToString() == b"\x21\x00\x00\x00\x00\x00\x00\xf0\x3f"
    assert set(METHODS) >= {"ModelInfer", "ModelMetadata"}
