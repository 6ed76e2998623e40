"""The Open Inference Protocol over real engines, without a server."""

from __future__ import annotations

import gzip
import json
import re
import struct
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.conftest import Served
from tests.service.schema.test_input_arrays import ANY_JSON
from thinned.models.card import Calibration
from thinned.models.storage.importing import import_model
from thinned.service.schema.protocol_outputs import offered
from thinned.service.schema.tensors import DATATYPES

ROWS = [[0.5, -1, 2], [1, 0, 0.25]]
X = {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": ROWS}
INFER = "/v2/models/classes/infer"
Serve = Callable[..., Served]
NUMBERS = [name for name in DATATYPES if name not in ("BOOL", "BYTES")]


def dtype_of(datatype: str) -> Any:
    return ml_dtypes.bfloat16 if datatype == "BF16" else np.dtype(DATATYPES[datatype])


def binary(document: dict[str, Any], *tails: bytes, length: int | str | None = None) -> dict[str, Any]:
    """A request with bytes behind its JSON."""
    head = json.dumps(document).encode()
    headers = {"inference-header-content-length": str(len(head) if length is None else length)}
    return {"content": head + b"".join(tails), "headers": {**headers, "content-type": "application/octet-stream"}}


def tensor(array: Any, datatype: str, name: str = "x", shape: list[int] | None = None) -> tuple[dict[str, Any], bytes]:
    data = texts(array) if datatype == "BYTES" else np.asarray(array).astype(dtype_of(datatype)).tobytes()
    size = {"binary_data_size": len(data)}
    return {"name": name, "shape": shape or list(np.shape(array)), "datatype": datatype, "parameters": size}, data


def texts(array: Any) -> bytes:
    words = [word.encode() for word in np.asarray(array, object).ravel()]
    return b"".join(struct.pack("<I", len(word)) + word for word in words)


def outputs(response: Any) -> dict[str, np.ndarray]:
    """The tensors of an answer, however they are written."""
    assert response.status_code == 200, response.text
    length = response.headers.get("inference-header-content-length")
    content = response.content
    head, tail = (content, b"") if length is None else (content[: int(length)], content[int(length) :])
    assert response.headers["content-type"] == "application/json" if length is None else "application/octet-stream"
    found = {}
    for one in json.loads(head)["outputs"]:
        size = one.get("parameters", {}).get("binary_data_size")
        if size is None:
            flat = np.array(one["data"], object if one["datatype"] == "BYTES" else dtype_of(one["datatype"]))
        else:
            flat, tail = np.frombuffer(tail[:size], dtype_of(one["datatype"])), tail[size:]
        found[one["name"]] = flat.reshape(one["shape"])
    assert tail == b""
    return found


def head(response: Any) -> Any:
    return json.loads(response.content[: int(response.headers.get("inference-header-content-length", 1 << 30))])


def refused(response: Any, status: int, *said: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    for words in said:
        assert words in response.json()["error"]


def plain(served: Served, rows: Any = ROWS) -> Any:
    return served.ask("POST", "/predict", json={"inputs": rows}).json()["outputs"]


# Metadata


def test_the_server_and_the_model_say_that_they_live_and_are_ready(classes: Served) -> None:
    version = classes.manager.stored.version
    for path in ("health/live", "health/ready", "models/classes/ready", f"models/classes/versions/{version}/ready"):
        assert classes.ask("GET", f"/v2/{path}").status_code == 200
    for path in ("/v2", "/v2/"):
        answer = classes.ask("GET", path).json()
        assert (answer["name"], answer["extensions"]) == ("thinned", ["binary_tensor_data"])


def test_a_model_that_is_not_loaded_is_not_ready(loading: Served) -> None:
    assert loading.ask("GET", "/v2/health/live").status_code == 200
    assert loading.ask("GET", "/v2/models/classes").status_code == 200
    for path in ("/v2/health/ready", "/v2/models/classes/ready"):
        refused(loading.ask("GET", path), 503)
    response = loading.ask("POST", INFER, json={"inputs": [X]})
    refused(response, 503)
    assert response.headers["retry-after"] == "2"


def test_metadata_names_inputs_outputs_and_what_passes_add(several: Served) -> None:
    answer = several.ask("GET", "/v2/models/several").json()
    assert answer["versions"] == [several.manager.stored.version]
    assert answer["platform"] == "keras_tensorflow"
    assert answer["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "tokens", "datatype": "INT32", "shape": [-1, -1]},
    ]
    assert answer["outputs"] == [
        {"name": "kind", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "amount", "datatype": "FP32", "shape": [-1, 1]},
    ]
    further = {one["name"] for one in answer["further_outputs"]}
    assert {"kind.variance", "kind.mutual_information", "amount.standard_error"} <= further
    assert "amount.mutual_information" not in further


@pytest.mark.parametrize("path", ["/v2/models/others", "/v2/models/classes/versions/none", "/v2/models/%2e%2e"])
@pytest.mark.parametrize("rest", ["", "/ready", "/infer"])
def test_another_name_or_version_is_not_there(classes: Served, path: str, rest: str) -> None:
    request: dict[str, Any] = {"json": {"inputs": [X]}} if rest == "/infer" else {}
    refused(classes.ask("POST" if request else "GET", path + rest, **request), 404, "classes")


@pytest.mark.parametrize("path", ["/v2/nothing", "/v2/models", "/v2/models/classes/config", "/v2/repository/index"])
def test_what_is_not_there_is_said_in_the_form_of_the_protocol(classes: Served, path: str) -> None:
    refused(classes.ask("GET", path), 404)


def test_a_wrong_method_names_the_right_one(classes: Served) -> None:
    response = classes.ask("GET", INFER)
    refused(response, 405, "POST")
    assert response.headers["allow"] == "POST"


# Inference


@pytest.mark.parametrize("datatype", NUMBERS)
@pytest.mark.parametrize("form", ["nested", "flat", "bytes"])
def test_numbers_of_any_datatype_are_read_as_predict_reads_them(classes: Served, datatype: str, form: str) -> None:
    rows = np.array([[1, 2, 3], [4, 5, 6]]) if "INT" in datatype else np.array(ROWS)
    if form == "bytes":
        described, tail = tensor(rows, datatype)
        request = binary({"inputs": [described]}, tail)
    else:
        data = rows.tolist() if form == "nested" else rows.ravel().tolist()
        request = {"json": {"inputs": [{"name": "x", "shape": [2, 3], "datatype": datatype, "data": data}]}}
    found = outputs(classes.ask("POST", INFER, **request))
    assert list(found) == ["y"]
    assert found["y"].dtype == np.float32
    assert np.array_equal(found["y"], np.float32(plain(classes, rows.tolist())))


def test_several_inputs_and_outputs_in_any_order_and_mixed_forms(several: Served) -> None:
    tokens = [[1, 2, 3], [0, 9, 4]]
    described, tail = tensor(tokens, "INT64", "tokens")
    wanted = [{"name": "amount", "parameters": {"binary_data": False}}, {"name": "kind"}]
    document = {"inputs": [described, X], "outputs": wanted, "parameters": {"binary_data_output": True}, "id": "é-42"}
    version = several.manager.stored.version
    response = several.ask("POST", f"/v2/models/several/versions/{version}/infer", **binary(document, tail))
    assert head(response)["id"] == "é-42"
    assert (head(response)["model_name"], head(response)["model_version"]) == ("several", version)
    assert [("data" in one, one["name"]) for one in head(response)["outputs"]] == [(True, "amount"), (False, "kind")]
    expected = plain(several, {"x": ROWS, "tokens": tokens})
    for name, array in outputs(response).items():
        assert np.array_equal(array, np.float32(expected[name]))


def test_passes_are_those_of_predict_mc(classes: Served) -> None:
    parameters = {"n_samples": 40, "seed": 7, "sampling": "independent"}
    response = classes.ask("POST", INFER, json={"inputs": [X], "parameters": parameters})
    found = outputs(response)
    expected = classes.ask("POST", "/predict_mc", json={"inputs": ROWS, **parameters}).json()
    assert list(found) == ["y", "y.variance", "y.standard_error", "y.predictive_entropy", "y.mutual_information"]
    for part in ("variance", "standard_error", "predictive_entropy", "mutual_information"):
        np.testing.assert_allclose(found[f"y.{part}"], expected[part], rtol=1e-9)
    np.testing.assert_allclose(found["y"], expected["mean"], rtol=1e-6)
    said = response.json()["parameters"]
    assert {name: said[name] for name in parameters} == parameters
    assert said["standard_error_from"] == expected["standard_error_from"]


def test_a_seed_that_was_chosen_is_told_and_repeats_the_answer(classes: Served) -> None:
    first = classes.ask("POST", INFER, json={"inputs": [X], "parameters": {"n_samples": 8}}).json()
    parameters = {"n_samples": 8, "seed": first["parameters"]["seed"]}
    assert classes.ask("POST", INFER, json={"inputs": [X], "parameters": parameters}).json() == first


def test_every_output_that_is_offered_has_the_datatype_and_shape_of_the_metadata(several: Served) -> None:
    metadata = several.ask("GET", "/v2/models/several").json()
    known = {one["name"]: one for one in (*metadata["outputs"], *metadata["further_outputs"])}
    del known["amount.aleatoric"], known["amount.total"]  # The noise of the data is not on the card.
    tokens = {"name": "tokens", "shape": [2, 3], "datatype": "INT32", "data": [1, 2, 3, 0, 9, 4]}
    document = {"inputs": [X, tokens], "parameters": {"n_samples": 5, "estimator": "passes"}}
    document["parameters"]["binary_data_output"] = True
    document["outputs"] = [{"name": name} for name in known]
    response = several.ask("POST", "/v2/models/several/infer", json=document)
    found = outputs(response)
    assert list(found) == list(known)
    for one in head(response)["outputs"]:
        assert one["datatype"] == known[one["name"]]["datatype"], one["name"]
        described = known[one["name"]]["shape"]
        assert len(described) == len(one["shape"]), one["name"]
        assert all(a in (-1, b) for a, b in zip(described, one["shape"], strict=True)), one["name"]
    np.testing.assert_allclose(found["kind.samples"].mean(0), found["kind.mean"], rtol=1e-5)
    missing = {**document, "outputs": [{"name": "amount.total"}]}
    refused(several.ask("POST", "/v2/models/several/infer", json=missing), 422, "amount.total", "calibrate")


def test_a_request_that_is_packed_is_unpacked_first(classes: Served) -> None:
    described, tail = tensor(ROWS, "FP32")
    request = binary({"inputs": [described]}, tail)
    request["content"] = gzip.compress(request["content"])
    request["headers"]["content-encoding"] = "gzip"
    assert np.array_equal(outputs(classes.ask("POST", INFER, **request))["y"], np.float32(plain(classes)))


def test_hints_of_other_clients_change_nothing(classes: Served) -> None:
    hint = {"parameters": {"content_type": "np"}}
    response = classes.ask("POST", INFER, json={"inputs": [{**X, **hint}], **hint, "model_name": "classes"})
    assert np.array_equal(outputs(response)["y"], np.float32(plain(classes)))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"datatype": "BOOL"}, ("inputs.x", "FP32", "BOOL")),
        ({"datatype": "BYTES"}, ("inputs.x", "FP32", "BYTES")),
        ({"datatype": "float32"}, ("inputs.x", "FP32", "float32")),
        ({"datatype": 7}, ("inputs.x", "7")),
        ({"datatype": "UINT8"}, ("inputs.x.data.0", "0 to 255")),
        ({"shape": [3, 2]}, ("(rows, 3)", "(3, 2)")),
        ({"shape": [6]}, ("(rows, 3)", "(6,)")),
        ({"shape": [-2, -3]}, ("a list of at most",)),
        ({"shape": [2.0, 3]}, ("a list of at most",)),
        ({"shape": [True, 3]}, ("a list of at most",)),
        ({"shape": "2,3"}, ("a list of at most", "2,3")),
        ({"shape": [2**62, 3]}, ("at most 1024 rows",)),
        ({"shape": [2**64, 2**64]}, ("a list of at most 32",)),
        ({"shape": [0, 3], "data": []}, ("at least one row",)),
        ({"shape": [1] * 40}, ("a list of at most 32",)),
        ({"shape": [1, 3]}, ("a list of 3",)),
        ({"data": [1, 2, 3, 4, 5]}, ("a list of 6", "a list of 5")),
        ({"data": [[1, 2, 3], [4, 5]]}, ("shape [2, 3]",)),
        ({"data": 1.5}, ("a list, received 1.5",)),
        ({"data": [[1, 2, 3], [4, 5, None]]}, ("inputs.x.data.5", "null")),
        ({"data": [[1, 2, 3], [4, 5, "6"]]}, ("inputs.x.data.5", "string")),
        ({"data": [[1, 2, 3], [4, 5, float("nan")]]}, ("inputs.x.data.5", "NaN")),
        ({"data": [[1, 2, 3], [4, 5, 1e300]]}, ("inputs.x.data.5", "1e+300")),
        ({"parameters": {"binary_data_size": 0}}, ("received both",)),
        ({"parameters": {"shared_memory_region": "a"}}, ("shared_memory_region",)),
        ({"parameters": []}, ("expected an object",)),
        ({"name": "y"}, ("inputs.y", "unknown input", "inputs.x", "missing")),
        ({"name": None}, ("inputs.0", "a name")),
    ],
)
def test_a_wrong_tensor_is_refused_by_name(classes: Served, changed: dict[str, Any], said: tuple[str, ...]) -> None:
    content = json.dumps({"inputs": [{**X, **changed}]}).encode()  # as many clients do, NaN included
    refused(classes.ask("POST", INFER, content=content, headers={"content-type": "application/json"}), 422, *said)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, ("inputs", "nothing")),
        ({"inputs": []}, ("a list of tensors",)),
        ({"inputs": ROWS}, ("an object with a name",)),
        ({"inputs": [X, X]}, ("received it twice",)),
        ({"inputs": [X], "id": 42}, ("id", "42")),
        ({"inputs": [X], "outputs": [{"name": "z"}]}, ("outputs.z", "unknown output", "y.variance")),
        ({"inputs": [X], "outputs": [{"name": "y"}, {"name": "y"}]}, ("outputs.y", "twice")),
        ({"inputs": [X], "outputs": ["y"]}, ("outputs.0",)),
        ({"inputs": [X], "outputs": {"name": "y"}}, ("expected a list",)),
        ({"inputs": [X], "outputs": [{"name": "y.variance"}]}, ("outputs.y.variance", "n_samples")),
        ({"inputs": [X], "outputs": [{"name": "y", "parameters": {"classification": 2}}]}, ("classification",)),
        ({"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, ("true or false",)),
        ({"inputs": [X], "parameters": {"n_sample": 3}}, ("n_sample", "unknown parameter")),
        ({"inputs": [X], "parameters": {"inputs": 3}}, ("unknown parameter",)),
        ({"inputs": [X], "parameters": {"sequence_id": 3}}, ("sequence_id",)),
        ({"inputs": [X], "parameters": {"seed": 3}}, ("parameters.seed", "n_samples")),
        ({"inputs": [X], "parameters": {"n_samples": 1}}, ("n_samples", "from 2")),
        ({"inputs": [X], "parameters": {"n_samples": "20"}}, ("n_samples", "'20'")),
        ({"inputs": [X], "parameters": {"n_samples": 10**6}}, ("n_samples",)),
        ({"inputs": [X], "parameters": {"n_samples": 5, "seed": -1}}, ("seed",)),
        ({"inputs": [X], "parameters": {"timeout_ms": 0}}, ("timeout_ms",)),
        ({"inputs": [X], "parameters": {"binary_data_output": "yes"}}, ("binary_data_output",)),
        ({"inputs": [X], "parameters": 5}, ("parameters",)),
    ],
)
def test_a_wrong_request_is_refused_with_its_place(
    classes: Served, document: dict[str, Any], said: tuple[str, ...]
) -> None:
    refused(classes.ask("POST", INFER, json=document), 422, *said)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"\xff{}", 400),
        (b"[" * 10**6, 400),
        (b'{"inputs": [], "inputs": []}', 400),
        (b'{"inputs": [{"name": "x", "name": "x"}]}', 400),
    ],
)
def test_what_is_no_json_object_is_refused(classes: Served, content: bytes, status: int) -> None:
    refused(classes.ask("POST", INFER, content=content), status)


def test_a_body_of_another_kind_is_refused(classes: Served) -> None:
    refused(classes.ask("POST", INFER, content=b"1,2", headers={"content-type": "text/csv"}), 415, "octet-stream")


# Bytes


@pytest.mark.parametrize("length", ["-1", "1e3", "", "9" * 30, "100000", "٣"])
def test_a_header_that_is_no_length_is_refused(classes: Served, length: str) -> None:
    request = binary({"inputs": [X]}, length="0")
    request["headers"]["inference-header-content-length"] = length.encode()
    refused(classes.ask("POST", INFER, **request), 400, "Inference-Header-Content-Length")


@pytest.mark.parametrize("size", [-1, 0, 23, 25, 2**63, 24.0, "24", True, None])
def test_a_size_that_is_not_that_of_the_tensor_is_refused(classes: Served, size: Any) -> None:
    described, tail = tensor(ROWS, "FP32")
    described["parameters"]["binary_data_size"] = size
    refused(classes.ask("POST", INFER, **binary({"inputs": [described]}, tail)), 422, "inputs.x")


def test_bytes_that_belong_to_no_tensor_are_refused(classes: Served) -> None:
    described, tail = tensor(ROWS, "FP32")
    refused(classes.ask("POST", INFER, **binary({"inputs": [described]}, tail, b"more")), 422, "4")
    refused(classes.ask("POST", INFER, **binary({"inputs": [X]}, b"more")), 422, "4")
    refused(classes.ask("POST", INFER, **binary({"inputs": [described]}, tail[:-1])), 422, "23")
    refused(classes.ask("POST", INFER, content=json.dumps({"inputs": [described]}).encode()), 422, "0 bytes")


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "FP64"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bytes_that_are_no_finite_number_are_refused_with_their_place(
    classes: Served, datatype: str, value: float
) -> None:
    described, tail = tensor([[1, 2, 3], [4, value, 6]], datatype)
    refused(classes.ask("POST", INFER, **binary({"inputs": [described]}, tail)), 422, "inputs.x.1.1", "finite")


def test_integers_of_a_table_are_checked_in_bytes_too(serve: Serve, models: dict[str, str]) -> None:
    words = serve(models["words"])
    for datatype, values, fits in [
        ("INT32", [[1, 9]], True), ("UINT8", [[0]], True), ("FP32", [[3, 4]], True), ("INT32", [[10]], False),
        ("INT64", [[-1]], False), ("UINT64", [[2**63]], False), ("FP32", [[1.5]], False), ("FP64", [[1e300]], False),
    ]:  # fmt: skip
        described, tail = tensor(values, datatype, "tokens")
        response = words.ask("POST", "/v2/models/words/infer", **binary({"inputs": [described]}, tail))
        if fits:
            (found,) = outputs(response).values()
            assert np.array_equal(found, np.float32(plain(words, values)))
        else:
            refused(response, 422, "inputs.tokens.0.0", "table of 10")


@pytest.fixture(scope="module")
def flags(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A model that takes truth values and text."""
    import keras
    from keras import layers

    yes, word = keras.Input((2,), name="yes", dtype="bool"), keras.Input((1,), name="word", dtype="string")
    number = layers.StringLookup(vocabulary=["red", "grün"], output_mode="one_hot")(word)
    both = layers.Concatenate()([keras.ops.cast(yes, "float32"), keras.ops.cast(number, "float32")])
    path = Path(tmp_path_factory.mktemp("flags")) / "flags.keras"
    keras.Model([yes, word], layers.Dense(3, "softmax", name="y")(layers.Dropout(0.5)(both))).save(path)
    import_model(path, name="protocol-flags", tasks={None: "classification"})
    return serve("protocol-flags")


def test_truth_values_and_text_come_in_json_and_bytes(flags: Served) -> None:
    expected = plain(flags, {"yes": [[True, False], [False, False]], "word": [["grün"], ["red"]]})
    first, bools = tensor([[1, 0], [0, 0]], "BOOL", "yes")
    second, words = tensor([["grün"], ["red"]], "BYTES", "word")
    in_json = [
        {"name": "yes", "shape": [2, 2], "datatype": "BOOL", "data": [True, False, False, False]},
        {"name": "word", "shape": [2, 1], "datatype": "BYTES", "data": ["grün", "red"]},
    ]
    path = "/v2/models/protocol-flags/infer"
    for request in (binary({"inputs": [second, first]}, words, bools), {"json": {"inputs": in_json}}):
        assert np.array_equal(outputs(flags.ask("POST", path, **request))["y"], np.float32(expected))


@pytest.mark.parametrize(
    ("word", "yes", "said"),
    [
        (b"", b"\1\0", "BYTES"),
        (b"\1\0\0", b"\1\0", "BYTES"),
        (b"\4\0\0\0red", b"\1\0", "BYTES"),
        (b"\xff\xff\xff\xffred", b"\1\0", "BYTES"),
        (b"\3\0\0\0redx", b"\1\0", "1 bytes more"),
        (b"\1\0\0\0\xff", b"\1\0", "UTF-8"),
        (b"\3\0\0\0red", b"\1\2", "0 or 1"),
        (b"\3\0\0\0red", b"\1", "2 bytes"),
    ],
)
def test_bytes_that_are_no_text_or_truth_value_are_refused(flags: Served, word: bytes, yes: bytes, said: str) -> None:
    first = {"name": "word", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(word)}}
    second = {"name": "yes", "shape": [1, 2], "datatype": "BOOL", "parameters": {"binary_data_size": len(yes)}}
    request = binary({"inputs": [first, second]}, word, yes)
    refused(flags.ask("POST", "/v2/models/protocol-flags/infer", **request), 422, said)


# Limits


def test_the_limits_are_those_of_json(serve: Serve, models: dict[str, str]) -> None:
    small = serve(models["classes"], max_rows=4, max_body_bytes=2000, max_row_passes=100, max_returned_numbers=64)
    described, tail = tensor(np.zeros((5, 3)), "FP32")
    refused(small.ask("POST", INFER, **binary({"inputs": [described]}, tail)), 422, "at most 4 rows")
    described, tail = tensor(np.zeros((200, 3)), "FP32")
    refused(small.ask("POST", INFER, **binary({"inputs": [described]}, tail)), 413)
    many = {"inputs": [X], "parameters": {"n_samples": 51}}
    refused(small.ask("POST", INFER, json=many), 422, "n_samples")
    samples = {"inputs": [X], "parameters": {"n_samples": 20}, "outputs": [{"name": "y.samples"}]}
    refused(small.ask("POST", INFER, json=samples), 422, "64 numbers")


def test_a_model_without_sites_answers_and_refuses_passes(serve: Serve, models: dict[str, str]) -> None:
    fixed = serve(models["fixed"])
    assert fixed.ask("POST", "/v2/models/fixed/infer", json={"inputs": [X]}).status_code == 200
    asked = {"inputs": [X], "parameters": {"n_samples": 5}}
    refused(fixed.ask("POST", "/v2/models/fixed/infer", json=asked), 422)


@pytest.mark.parametrize("parameters", [{}, {"n_samples": 5, "seed": 0}])
def test_an_answer_that_is_not_finite_is_said_so(serve: Serve, models: dict[str, str], parameters: Any) -> None:
    wild = serve(models["wild"])
    rows = {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [0, 0, 0, 1000, 0, 0]}
    for form in (False, True):
        document = {"inputs": [rows], "parameters": {**parameters, "binary_data_output": form}}
        refused(wild.ask("POST", "/v2/models/wild/infer", json=document), 502, "rows [1]")


def test_an_answer_not_there_in_time_is_given_up(classes: Served) -> None:
    rows = {"name": "x", "shape": [64, 3], "datatype": "FP32", "data": [0.5] * 192}
    asked = {"inputs": [rows], "parameters": {"n_samples": 1000, "timeout_ms": 1}}
    refused(classes.ask("POST", INFER, json=asked), 504, "timeout_ms")


def test_a_large_tensor_is_read_in_either_form(classes: Served) -> None:
    rows = np.random.default_rng(1).normal(size=(1024, 3)).astype(np.float32)
    described, tail = tensor(rows, "FP32")
    found = outputs(classes.ask("POST", INFER, **binary({"inputs": [described]}, tail)))["y"]
    in_json = {"name": "x", "shape": [1024, 3], "datatype": "FP32", "data": rows.tolist()}
    assert np.array_equal(found, outputs(classes.ask("POST", INFER, json={"inputs": [in_json]}))["y"])


def test_an_output_that_has_the_name_of_a_part_is_meant_itself(classes: Served) -> None:
    card = classes.manager.stored.card
    own = card.outputs[0]
    two = card.model_copy(update={"outputs": (own, own.model_copy(update={"name": "y.variance"}))})
    known = offered(two)
    assert known["y.variance"].part == ""
    assert known["y.variance.variance"].part == "variance"
    fitted = Calibration(rows=20, n_samples=32, temperature=1.1, scores=((0.5,),))
    tempered = card.model_copy(update={"outputs": (own.model_copy(update={"calibration": fitted}),)})
    assert {"y.plain_mean", "y.prediction_set"} <= offered(tempered).keys()


# Anything


TENSOR_PARTS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "y", ""]) | ANY_JSON,
        "shape": st.lists(st.integers(-2, 4) | st.integers(), max_size=4) | st.just([2, 3]) | ANY_JSON,
        "datatype": st.sampled_from([*DATATYPES, "FP8"]) | ANY_JSON,
        "data": ANY_JSON | st.just(ROWS),
        "parameters": ANY_JSON
        | st.fixed_dictionaries({"binary_data_size": st.integers(-1, 40) | st.just(24) | st.integers()}),
    },
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR_PARTS, max_size=2) | ANY_JSON},
    optional={
        "id": ANY_JSON,
        "outputs": ANY_JSON | st.lists(st.fixed_dictionaries({"name": st.sampled_from(["y", "y.samples", "z"])})),
        "parameters": ANY_JSON
        | st.dictionaries(st.sampled_from(["n_samples", "seed", "tolerance", "coverage", "policy"]), ANY_JSON),
    },
)


@given(document=REQUESTS, tail=st.binary(max_size=40), length=st.none() | st.integers(-1, 200))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_request_is_an_error_of_the_service(classes: Served, document: Any, tail: bytes, length: int | None) -> None:
    for shift in ({}, {"length": length}) if length is not None else ({},):
        response = classes.ask("POST", INFER, **binary(document, tail, **shift))  # type: ignore[arg-type]
        assert response.status_code in (200, 400, 404, 409, 413, 422), response.text
        if response.status_code != 200:
            assert re.fullmatch(r'\{"error":".+"\}', response.text, re.DOTALL)


@given(values=st.lists(st.floats(width=32), min_size=6, max_size=6), datatype=st.sampled_from(["FP16", "FP32", "FP64"]))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_are_taken_or_refused_as_the_same_numbers_in_json(
    classes: Served, values: list[float], datatype: str
) -> None:
    with np.errstate(over="ignore"):
        array = np.array(values, dtype_of(datatype)).reshape(2, 3)
    described, tail = tensor(array, datatype)
    ours = classes.ask("POST", INFER, **binary({"inputs": [described]}, tail))
    content = json.dumps({"inputs": array.tolist()}).encode()
    theirs = classes.ask("POST", "/predict", content=content, headers={"content-type": "application/json"})
    assert ours.status_code == theirs.status_code
    if ours.status_code == 200:
        assert prod(outputs(ours)["y"].shape) == 8
        assert np.array_equal(outputs(ours)["y"], np.float32(theirs.json()["outputs"]))
