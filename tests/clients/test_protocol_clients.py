"""The Open Inference Protocol by other hands: Triton's, KServe's and MLServer's clients, and schemathesis.

`make conformance` installs them in environments of their own, since their dependencies are not the locked ones,
and gets the file; docs/conformance.md holds what a run gave.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serving import ROOT, Service, free_port, start_service
from tests.test_readme import blocks
from thinned.service.http.tokens import new_token

TOOLS = os.environ.get("PROTOCOL_CLIENTS")
pytestmark = pytest.mark.skipif(TOOLS is None, reason="run by `make conformance`, which installs the clients")

IMAGE = np.array(json.loads((ROOT / "docs" / "eight.json").read_text()))
CALL = """
import asyncio, json, sys
import ml_dtypes
import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

url, name, version = sys.argv[1:4]
image = np.array(json.load(open(sys.argv[4])), np.float32)
client = triton.InferenceServerClient(url)
said = {
    "live": client.is_server_live(), "ready": client.is_server_ready(),
    "model": client.is_model_ready(name), "version": client.is_model_ready(name, version),
    "server": client.get_server_metadata(), "metadata": client.get_model_metadata(name, version),
    "other": client.is_model_ready("other"),
}
one, out = said["metadata"]["inputs"][0], said["metadata"]["outputs"][0]["name"]

def tensor(datatype, values, binary):
    found = triton.InferInput(one["name"], list(values.shape), datatype)
    found.set_data_from_numpy(values, binary_data=binary)
    return found

answers = {}
for datatype, kind in [("FP32", "f4"), ("FP64", "f8"), ("FP16", "f2")]:
    for binary in (True, False) if datatype != "FP16" else (True,):
        answer = client.infer(name, [tensor(datatype, image.astype(kind), binary)], request_id="7")
        answers[f"{datatype} {binary}"] = answer.as_numpy(out).tolist()
ones = np.ones_like(image)
for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
    values = ones.astype(kind)
    answer = client.infer(name, [tensor(np_to_triton_dtype(values.dtype), values, True)])
    answers["ones " + kind] = answer.as_numpy(out).tolist()
halves = tensor("BF16", ones.astype(ml_dtypes.bfloat16), True)
answers["ones BF16"] = client.infer(name, [halves]).as_numpy(out).tolist()
said["answers"] = answers
wanted = [triton.InferRequestedOutput(out, binary_data=False), triton.InferRequestedOutput(out + ".variance"),
          triton.InferRequestedOutput(out + ".mutual_information", binary_data=True)]
drawn = client.infer(name, [tensor("FP32", image, True)], outputs=wanted, request_id="abc",
                     parameters={"n_samples": 20, "seed": 7}, request_compression_algorithm="gzip")
said["drawn"] = {one.name(): drawn.as_numpy(one.name()).tolist() for one in wanted}
said["response"] = {k: v for k, v in drawn.get_response().items() if k != "outputs"}
future = client.async_infer(name, [tensor("FP32", image, True)])
said["async"] = future.get_result().as_numpy(out).tolist()

async def aio_answer():
    async with aio.InferenceServerClient(url) as client:
        return (await client.infer(name, [tensor("FP32", image, True)])).as_numpy(out).tolist()

said["aio"] = asyncio.run(aio_answer())
errors = {}
for what, call in {
    "shape": lambda: client.infer(name, [tensor("FP32", image[:, :-1], True)]),
    "model": lambda: client.infer("other", [tensor("FP32", image, True)]),
    "output": lambda: client.infer(name, [tensor("FP32", image, True)], outputs=[triton.InferRequestedOutput("z")]),
    "passes": lambda: client.infer(name, [tensor("FP32", image, True)], parameters={"n_samples": 1}),
    "config": lambda: client.get_model_config(name),
    "repository": lambda: client.get_model_repository_index(),
}.items():
    try:
        call()
    except InferenceServerException as error:
        errors[what] = [error.status(), error.message()]
said["errors"] = errors
print(json.dumps(said))
"""


GRPC = """
import json, sys, time
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

address, name, token = sys.argv[1:4]
image = np.array(json.load(open(sys.argv[4])), np.float32)
client = triton.InferenceServerClient(address)
bearer = {"authorization": f"Bearer {token}"}
metadata = client.get_model_metadata(name, headers=bearer, as_json=True)
said = {
    "live": client.is_server_live(), "ready": client.is_server_ready(),
    "model": client.is_model_ready(name, headers=bearer),
    "server": client.get_server_metadata(headers=bearer, as_json=True), "metadata": metadata,
}
one, out = metadata["inputs"][0]["name"], metadata["outputs"][0]["name"]

def tensor(datatype, values):
    found = triton.InferInput(one, list(values.shape), datatype)
    found.set_data_from_numpy(values)
    return found

answers = {}
for datatype, kind in [("FP32", "f4"), ("FP64", "f8"), ("FP16", "f2"), ("INT8", "i1"), ("UINT64", "u8")]:
    values = (image if kind[0] == "f" else np.ones_like(image)).astype(kind)
    answers[datatype] = client.infer(name, [tensor(datatype, values)], headers=bearer).as_numpy(out).tolist()
said["answers"] = answers
rows = tensor("FP32", image)
drawn = client.infer(name, [rows], request_id="abc", headers=bearer, parameters={"n_samples": 20, "seed": 7})
said["drawn"] = {part: drawn.as_numpy(out + part).tolist() for part in ("", ".variance", ".mutual_information")}
said["id"] = drawn.get_response().id
errors = {}
for what, options in {
    "token": {}, "model": {"model_name": "other", "headers": bearer},
    "passes": {"parameters": {"n_samples": 1}, "headers": bearer},
    "late": {"client_timeout": 0.0005, "headers": bearer},
}.items():
    try:
        client.infer(**{"model_name": name, "inputs": [rows], **options})
    except InferenceServerException as error:
        errors[what] = error.status()
said["errors"] = errors

many = tensor("FP32", np.repeat(image, 4, 0))
got = []
calls = [client.async_infer(name, [many], lambda result, error: got.append(error), headers=bearer,
                            parameters={"tolerance": 1e-9}) for _ in range(8)]
time.sleep(0.1)
for call in calls:
    call.cancel()
began = time.monotonic()
client.infer(name, [rows], headers=bearer)
said["after"] = time.monotonic() - began
print(json.dumps(said))
"""


KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

url, name = sys.argv[1:3]
image = np.array(json.load(open(sys.argv[3])), np.float32)

async def call():
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    said = {"health": [await client.is_server_live(url), await client.is_server_ready(url),
                       await client.is_model_ready(url, "digits")]}

    async def infer(binary, **parameters):
        tensor = InferInput(name, list(image.shape), "FP32")
        tensor.set_data_from_numpy(image, binary_data=binary)
        request = InferRequest("digits", [tensor], parameters={"binary_data_output": binary, **parameters})
        return (await client.infer(url, request, model_name="digits")).outputs

    for form, binary in (("bytes", True), ("json", False)):
        said[form] = (await infer(binary))[0].as_numpy().tolist()
    drawn = {output.name: output for output in await infer(True, n_samples=20, seed=7)}
    said["variance"] = next(o for n, o in drawn.items() if n.endswith(".variance")).as_numpy().tolist()
    try:
        await infer(True, n_sample=20)
    except Exception as error:
        said["error"] = str(error)
    return said

print(json.dumps(asyncio.run(call())))
"""


MLSERVER = """
import json, sys
from urllib.request import Request, urlopen

import grpc
import numpy as np
from mlserver.codecs import NumpyCodec, NumpyRequestCodec
from mlserver.grpc import converters, dataplane_pb2_grpc
from mlserver.types import InferenceRequest, InferenceResponse, MetadataModelResponse, Parameters, RequestOutput

url, address = sys.argv[1:3]
image = np.array(json.load(open(sys.argv[3])), np.float32)
metadata = MetadataModelResponse.model_validate_json(urlopen(f"{url}/v2/models/digits").read())
one, out = metadata.inputs[0].name, metadata.outputs[0].name

def request(rows, outputs=(), **parameters):
    made = NumpyRequestCodec.encode_request(rows)
    made.inputs[0].name, made.id = one, "abc"
    made.outputs = [RequestOutput(name=name) for name in outputs] or None
    made.parameters = Parameters(**made.parameters.model_dump(), **parameters)
    return made

def infer(made):
    posted = Request(f"{url}/v2/models/digits/infer", made.model_dump_json().encode(),
                     {"content-type": "application/json"})
    return InferenceResponse.model_validate_json(urlopen(posted).read())

stub = dataplane_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(address))

def infer_by_grpc(made):
    message = converters.ModelInferRequestConverter.from_types(made, model_name="digits", use_raw=made.id == "raw")
    return converters.ModelInferResponseConverter.to_types(stub.ModelInfer(message))

def arrays(answer):
    return {output.name: NumpyCodec.decode_output(output).tolist() for output in answer.outputs}

said = {"plain": {}, "drawn": {}}
for way, ask in (("rest", infer), ("grpc", infer_by_grpc)):
    for kind in ("f4", "f8", "i4"):
        rows = image if kind[0] == "f" else np.ones_like(image)
        said["plain"][f"{way} {kind}"] = arrays(ask(request(rows.astype(kind))))[out]
    wanted = [out, f"{out}.variance", f"{out}.mutual_information"]
    answer = ask(request(image, wanted, n_samples=20, seed=7))
    assert (answer.id, answer.parameters.n_samples, answer.parameters.seed) == ("abc", 20, 7)
    said["drawn"][way] = [arrays(answer)[name] for name in wanted]
raw = request(image)
raw.id = "raw"
said["plain"]["grpc f4 raw"] = arrays(infer_by_grpc(raw))[out]
print(json.dumps(said))
"""


def run(*command: Any, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    return done.stdout


def plain(service: Service, rows: Any) -> Any:
    answer = httpx.post(f"{service.url}/predict", json={"inputs": rows.tolist()}).json()
    return np.float32(answer["outputs"])


@pytest.fixture(scope="module")
def grpc_address() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def small(digits: str, grpc_address: str) -> Iterator[Service]:
    limits = {"THINNED_MAX_ROWS": "4", "THINNED_MAX_SAMPLES": "40"}
    with start_service(digits, {**limits, "THINNED_GRPC_ADDRESS": grpc_address}) as running:
        yield running


def test_tritons_client_gets_what_predict_and_predict_mc_answer(small: Service, tmp_path: Path) -> None:
    script = tmp_path / "call.py"
    script.write_text(CALL)
    version = httpx.get(f"{small.url}/model").json()["version"]
    address = small.url.removeprefix("http://")
    said = json.loads(
        run(f"{TOOLS}/bin/python", script, address, "digits", version, ROOT / "docs" / "eight.json", cwd=tmp_path)
    )
    assert all(said[name] for name in ("live", "ready", "model", "version"))
    assert not said["other"]
    assert said["metadata"]["versions"] == [version]
    assert said["server"]["extensions"] == ["binary_tensor_data"]

    out = said["metadata"]["outputs"][0]["name"]
    for name, answer in said["answers"].items():
        rows = np.ones_like(IMAGE) if name.startswith("ones") else IMAGE
        rows = rows.astype(np.float16).astype(float) if name.startswith("FP16") else rows
        np.testing.assert_array_equal(np.float32(answer), plain(small, rows), err_msg=name)
    for way in ("async", "aio"):
        np.testing.assert_array_equal(np.float32(said[way]), plain(small, IMAGE))
    body = {"inputs": IMAGE.tolist(), "n_samples": 20, "seed": 7}
    drawn = httpx.post(f"{small.url}/predict_mc", json=body).json()
    np.testing.assert_allclose(said["drawn"][out], drawn["mean"], rtol=1e-6)
    np.testing.assert_allclose(said["drawn"][f"{out}.variance"], drawn["variance"], rtol=1e-9)
    np.testing.assert_allclose(said["drawn"][f"{out}.mutual_information"], drawn["mutual_information"], rtol=1e-9)
    assert said["response"]["id"] == "abc"
    assert (said["response"]["parameters"]["n_samples"], said["response"]["parameters"]["seed"]) == (20, 7)
    statuses = {what: int(status) for what, (status, _) in said["errors"].items()}
    assert statuses == {"shape": 422, "model": 404, "output": 422, "passes": 422, "config": 404, "repository": 404}
    assert "expected shape" in said["errors"]["shape"][1]


def test_tritons_client_gets_the_same_by_grpc(digits: str, tmp_path: Path) -> None:
    script, tokens, port = tmp_path / "call.py", tmp_path / "tokens", free_port()
    script.write_text(GRPC)
    token, line = new_token("triton")
    tokens.write_text(f"{line}\n")
    env = {"THINNED_GRPC_ADDRESS": str(port), "THINNED_TOKENS": str(tokens), "THINNED_MAX_SAMPLES": "40"}
    with start_service(digits, env) as service:
        command = (f"{TOOLS}/bin/python", script, f"127.0.0.1:{port}", "digits", token, ROOT / "docs" / "eight.json")
        said = json.loads(run(*command, cwd=tmp_path))
        bearer = {"authorization": f"Bearer {token}"}

        def ask(path: str, rows: Any, **fields: Any) -> Any:
            body = {"inputs": rows.tolist(), **fields}
            return httpx.post(service.url + path, json=body, headers=bearer).json()

        assert all(said[name] for name in ("live", "ready", "model"))
        assert said["server"]["name"] == "thinned"
        for name, answer in said["answers"].items():
            rows = IMAGE if name.startswith("FP") else np.ones_like(IMAGE)
            rows = rows.astype(np.float16).astype(float) if name == "FP16" else rows
            np.testing.assert_array_equal(np.float32(answer), np.float32(ask("/predict", rows)["outputs"]), name)
        drawn = ask("/predict_mc", IMAGE, n_samples=20, seed=7)
        np.testing.assert_allclose(said["drawn"][""], drawn["mean"], rtol=1e-6)
        np.testing.assert_allclose(said["drawn"][".variance"], drawn["variance"], rtol=1e-9)
        np.testing.assert_allclose(said["drawn"][".mutual_information"], drawn["mutual_information"], rtol=1e-9)
        assert said["id"] == "abc"
        assert {what: status.removeprefix("StatusCode.") for what, status in said["errors"].items()} == {
            "token": "UNAUTHENTICATED",
            "model": "NOT_FOUND",
            "passes": "INVALID_ARGUMENT",
            "late": "DEADLINE_EXCEEDED",
        }
        assert said["after"] < 5  # Eight calls that were cancelled are not in its way.
        assert "Traceback" not in service.log()


def test_the_python_of_the_documents_runs_as_it_stands(small: Service, grpc_address: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    by_http, by_grpc = (block.text for block in blocks(page) if block.language == "python")
    image = f"import json, numpy as np\nimage = np.array(json.load(open({str(ROOT / 'docs' / 'eight.json')!r})))\n"
    address = small.url.removeprefix("http://")
    said = {}
    for text, meant in ((by_http, address), (by_grpc, grpc_address)):
        script = tmp_path / "page.py"
        asked = text.replace("127.0.0.1:3000", meant).replace("127.0.0.1:8001", meant).replace(": 100,", ": 40,")
        script.write_text(f"{image}{asked}print(json.dumps(mean.tolist()))\n")
        said[meant] = json.loads(run(f"{TOOLS}/bin/python", script, cwd=tmp_path))
    drawn = httpx.post(f"{small.url}/predict_mc", json={"inputs": IMAGE.tolist(), "n_samples": 40, "seed": 7}).json()
    for mean in said.values():
        np.testing.assert_allclose(mean, drawn["mean"], rtol=1e-6)


def test_kserves_client_gets_what_predict_answers(small: Service, tmp_path: Path) -> None:
    script = tmp_path / "call.py"
    script.write_text(KSERVE)
    name = httpx.get(f"{small.url}/v2/models/digits").json()["inputs"][0]["name"]
    said = json.loads(
        run(f"{TOOLS}/kserve/bin/python", script, small.url, name, ROOT / "docs" / "eight.json", cwd=tmp_path)
    )
    assert said["health"] == [True, True, True]
    for form in ("bytes", "json"):
        np.testing.assert_array_equal(np.float32(said[form]), plain(small, IMAGE), err_msg=form)
    drawn = httpx.post(f"{small.url}/predict_mc", json={"inputs": IMAGE.tolist(), "n_samples": 20, "seed": 7}).json()
    np.testing.assert_allclose(said["variance"], drawn["variance"], rtol=1e-9)
    assert "unknown parameter" in said["error"]


def test_mlservers_types_and_codecs_read_what_the_service_answers(
    small: Service, grpc_address: str, tmp_path: Path
) -> None:
    script = tmp_path / "call.py"
    script.write_text(MLSERVER)
    command = (f"{TOOLS}/mlserver/bin/python", script, small.url, grpc_address, ROOT / "docs" / "eight.json")
    said = json.loads(run(*command, cwd=tmp_path))
    for name, answer in said["plain"].items():
        rows = np.ones_like(IMAGE) if name.endswith("i4") else IMAGE
        np.testing.assert_array_equal(np.float32(answer), plain(small, rows), err_msg=name)
    drawn = httpx.post(f"{small.url}/predict_mc", json={"inputs": IMAGE.tolist(), "n_samples": 20, "seed": 7}).json()
    for way, found in said["drawn"].items():
        for one, field in zip(found, ("mean", "variance", "mutual_information"), strict=True):
            np.testing.assert_allclose(one, drawn[field], rtol=1e-6, err_msg=f"{way} {field}")


@pytest.mark.parametrize("form", [(), ("--binary-data",)])
def test_mlservers_infer_answers_a_file_of_requests(small: Service, form: tuple[str, ...], tmp_path: Path) -> None:
    """It joins the requests of a file to one of several rows, and cuts the answer again."""
    one = httpx.get(f"{small.url}/v2/models/digits").json()["inputs"][0]["name"]
    rows = [IMAGE * share for share in (1.0, 0.5, 0.25, 0.75, 0.125)]
    lines = [
        {"id": str(i), "inputs": [{"name": one, "shape": list(row.shape), "datatype": "FP32", "data": row.tolist()}]}
        for i, row in enumerate(rows)
    ]
    asked, answered = tmp_path / "asked.jsonl", tmp_path / "answered.jsonl"
    asked.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [f"{TOOLS}/mlserver/bin/mlserver", "infer", "--url", small.url.removeprefix("http://")]
    command += ["--model-name", "digits", "--batch-size", "2", "--workers", "2", *form]
    run(*command, "--input-data-path", asked, "--output-data-path", answered, cwd=tmp_path)
    found = {line["id"]: line["outputs"][0]["data"] for line in map(json.loads, answered.read_text().splitlines())}
    assert sorted(found) == ["0", "1", "2", "3", "4"]
    for name, answer in found.items():
        expected = plain(small, rows[int(name)].astype(np.float32).astype(float))
        # Rows in one graph call are rounded otherwise than each by itself.
        np.testing.assert_allclose(np.float32(answer), expected.ravel(), rtol=1e-5, atol=1e-8)


def test_schemathesis_finds_nothing_against_the_protocols_own_file(small: Service, tmp_path: Path) -> None:
    """The file writes a name in a path as `${MODEL_NAME}`, which OpenAPI reads as a dollar sign before it; it tells
    only the answers 200 and 400, so that other statuses are not held against it; and it cannot tell a model's own
    names, so that what it takes for a right request need not be one.
    """
    text = (Path(str(TOOLS)) / "open_inference_rest.yaml").read_text()
    version = httpx.get(f"{small.url}/model").json()["version"]
    named = text.replace("${MODEL_NAME}", "digits").replace("${MODEL_VERSION}", version)
    # What stood for a name is none any longer.
    named = re.sub(r"    parameters:\n(?:      - schema:\n(?:          .*\n|        .*\n)+)+", "", named)
    assert "name: MODEL_NAME" not in named
    (tmp_path / "protocol.yaml").write_text(named)
    command = [f"{TOOLS}/bin/st", "run", tmp_path / "protocol.yaml", "--url", small.url, "--seed", "1", "--no-color"]
    command += ["--checks", "not_a_server_error,response_schema_conformance,content_type_conformance"]
    said = run(*command, "--max-examples", "300", "--continue-on-failure", "--warnings", "off", cwd=tmp_path)
    print(said[-2000:])
    assert "Traceback" not in small.log()
