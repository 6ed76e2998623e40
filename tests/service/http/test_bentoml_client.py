"""BentoML's own clients ask the real service by the names of its endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bentoml
import httpx
import numpy as np
import pytest
from bentoml.exceptions import BentoMLException
from jsonschema import Draft202012Validator

from tests.serving import Service

IMAGE = [[[0.0]] * 8] * 8


@contextmanager
def connected(service: Service) -> Iterator[bentoml.SyncHTTPClient]:
    with bentoml.SyncHTTPClient(service.url) as client:
        yield client
    client._temp_dir.cleanup()  # BentoML leaves it to the garbage collector, which warns.


def test_the_sync_client_gets_what_http_gets(service: Service) -> None:
    with connected(service) as client:
        assert set(client.endpoints) == {"predict", "predict_mc"}
        plain = client.predict(inputs=[IMAGE])
        passes = client.predict_mc(inputs=[IMAGE], n_samples=10, seed=3)
        assert client.predict([IMAGE]) == plain
        everything = {"quantiles": [0.1, 0.9], "separate": True, "tolerance": 0.5, "return_samples": True}
        asked = client.predict_mc(inputs={"image": [IMAGE]}, seed=3, **everything)
        with pytest.raises(BentoMLException, match="expected an integer from 2 to 1000, received 1"):
            client.predict_mc(inputs=[IMAGE], n_samples=1)
        with pytest.raises(TypeError, match="samples"):
            client.predict_mc(inputs=[IMAGE], samples=1)
        with pytest.raises(TypeError, match="inputs"):
            client.predict()
    for path, body, received in (
        ("predict", {"inputs": [IMAGE]}, plain),
        ("predict_mc", {"inputs": [IMAGE], "n_samples": 10, "seed": 3}, passes),
        ("predict_mc", {"inputs": {"image": [IMAGE]}, "seed": 3, **everything}, asked),
    ):
        expected = httpx.post(f"{service.url}/{path}", json=body).json()
        assert set(received) == set(expected)
        assert received["model"] == expected["model"]
        first = "outputs" if path == "predict" else "mean"
        np.testing.assert_allclose(received[first], expected[first], atol=1e-6)


def test_the_async_client_gets_the_same(service: Service) -> None:
    async def ask() -> list[Any]:
        async with bentoml.AsyncHTTPClient(service.url) as client:
            answers = await asyncio.gather(
                client.predict(inputs=[IMAGE]), client.predict_mc(inputs=[IMAGE], n_samples=10, seed=3)
            )
        client._temp_dir.cleanup()
        return answers

    plain, passes = asyncio.run(ask())
    with connected(service) as client:
        assert client.predict(inputs=[IMAGE]).keys() == plain.keys()
        again = client.predict_mc(inputs=[IMAGE], n_samples=10, seed=3)
    assert passes["mean"][0] == pytest.approx(again["mean"][0], abs=1e-6)


def test_its_schema_is_that_of_the_document(service: Service) -> None:
    schema = httpx.get(service.url + "/schema.json").json()
    assert "$ref" not in str(schema)
    routes = {route["name"]: route for route in schema["routes"]}
    for name, route in routes.items():
        body = {"inputs": [IMAGE]}
        Draft202012Validator(route["input"]).validate(body)
        answer = httpx.post(service.url + route["route"], json=body).json()
        Draft202012Validator(route["output"]).validate(answer)
        assert not Draft202012Validator(route["input"]).is_valid({}), name
