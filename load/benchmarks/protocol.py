"""`python -m thinned.loadtest.benchmarks.protocol URL`: what a row costs over the engine, in bytes and in JSON.

It asks a service that runs, of a model with one input of numbers whose lengths are fixed, one row at a time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import closing
from http.client import HTTPConnection
from math import prod
from typing import Any
from urllib.parse import urlsplit

import numpy as np

__all__ = ["main", "measure"]

CALLS = 200
_COMPUTE = "compute;dur="


def measure(client: HTTPConnection, path: str, body: bytes, headers: dict[str, str], calls: int) -> tuple[float, float]:
    """Median and 90th percentile, in ms, of the time of a call less that of its graph calls; a fifth warms up."""
    over: list[float] = []
    for _ in range(calls):
        began = time.perf_counter()
        client.request("POST", path, body, headers)
        answer = client.getresponse()
        said = answer.read()
        took_ms = 1e3 * (time.perf_counter() - began)
        if answer.status != 200:
            raise SystemExit(f"{path} answered {answer.status}: {said[:300]!r}")
        over.append(took_ms - float(answer.headers["server-timing"].partition(_COMPUTE)[2]))
    measured = over[calls // 5 :]
    return statistics.median(measured), statistics.quantiles(measured, n=10)[-1]


def requests(metadata: dict[str, Any]) -> dict[str, tuple[str, bytes, dict[str, str]]]:
    """One row of a model, by how it is sent: path, body and headers."""
    one = metadata["inputs"][0]
    shape = [1, *one["shape"][1:]]
    row = np.random.default_rng(0).random(prod(shape), np.float32).reshape(shape)
    found: dict[str, tuple[str, bytes, dict[str, str]]] = {}
    for datatype, array in (("FP32", row), ("UINT8", (255 * row).astype(np.uint8))):
        described = {"name": one["name"], "shape": shape, "datatype": datatype}
        described["parameters"] = {"binary_data_size": array.nbytes}
        head = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
        found[f"{datatype} in bytes"] = (f"/v2/models/{metadata['name']}/infer", head + array.tobytes(), headers)
    in_json = json.dumps({"inputs": row.tolist()}).encode()
    found["JSON to /predict"] = ("/predict", in_json, {"content-type": "application/json"})
    return found


def main() -> None:
    """Print a line for each way to send a row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of a service, such as http://127.0.0.1:3000")
    address = urlsplit(parser.parse_args().url).netloc
    with closing(HTTPConnection(address, timeout=60)) as client:
        metadata = _get(client, f"/v2/models/{_get(client, '/model')['name']}")
        for way, (path, body, headers) in requests(metadata).items():
            median, high = measure(client, path, body, headers, CALLS)
            print(f"{way}: {len(body) / 1e3:.0f} kB, {median:.2f} ms over the engine, 90 % within {high:.2f} ms")


def _get(client: HTTPConnection, path: str) -> Any:
    client.request("GET", path)
    return json.loads(client.getresponse().read())


if __name__ == "__main__":
    main()
