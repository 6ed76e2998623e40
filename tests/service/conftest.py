"""Small models in the run's store, and the HTTP application over each without a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from starlette.applications import Starlette

from thinned.models.storage.importing import import_model
from thinned.service.http.routes import create_app
from thinned.service.inference.catalogue import Catalogue
from thinned.service.inference.model_manager import ModelManager
from thinned.service.settings import Settings

Run = Callable[[Any], "Future[Any]"]


@dataclass(frozen=True)
class Served:
    """The application over its models, asked as a client would ask it."""

    models: Catalogue
    run: Run

    @property
    def manager(self) -> ModelManager:
        """The first model."""
        return self.models.first

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self.begin(method, path, **request).result(60)

    def begin(self, method: str, path: str, **request: Any) -> Future[httpx.Response]:
        return self.run(_send(create_app(self.models), method, path, **request))

    def ask_of(self, app: Starlette, method: str, path: str, **request: Any) -> httpx.Response:
        response: httpx.Response = self.run(_send(app, method, path, **request)).result(60)
        return response

    def fits(self, answer: Any, name: str) -> None:
        """Check an answer against the component of this name in the application's own OpenAPI document."""
        components = self.ask("GET", "/docs.json").json()["components"]
        schema = {"$ref": f"#/components/schemas/{name}", "components": components}
        Draft202012Validator(schema).validate(answer)


async def _send(app: Starlette, method: str, path: str, **request: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        return await client.request(method, path, timeout=60, **request)


@pytest.fixture(scope="session")
def run() -> Iterator[Run]:
    """Runs coroutines in one event loop, as a server does, for tests that are plain functions."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="session")
def serve(run: Run) -> Iterator[Callable[..., Served]]:
    """Makes the application over stored models, loaded unless told otherwise."""
    made: list[Catalogue] = []

    def make(name: str, *, load: bool = True, **settings: Any) -> Served:
        models = Catalogue.of(Settings(model=name, **settings))
        made.append(models)
        if load:
            assert models.load()
        return Served(models, run)

    yield make
    for models in made:
        models.close()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Names in the store of small models of the kinds that the service must tell apart."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    folder = tmp_path_factory.mktemp("models")
    x, y = keras.Input((3,), name="x"), keras.Input((None,), name="tokens", dtype="int32")
    hidden = layers.Dropout(0.5)(layers.Dense(16, "relu")(x))
    words = layers.GlobalAveragePooling1D()(layers.Embedding(10, 4)(y))
    joined = layers.Dropout(0.3)(layers.Concatenate()([layers.Dense(8)(x), words]))
    kind, amount = layers.Dense(4, "softmax", name="kind")(joined), layers.Dense(1, name="amount")(joined)
    stored = {
        "classes": keras.Model(x, layers.Dense(4, "softmax", name="y")(hidden)),
        "several": keras.Model([x, y], [kind, amount]),
        "fixed": keras.Model(x, layers.Dense(2)(x)),
        "wild": keras.Model(x, layers.Activation("exponential")(layers.Dropout(0.5)(x))),
        "words": keras.Model(y, layers.Dense(1)(layers.Dropout(0.5)(words))),
    }
    tasks: dict[str, Any] = {
        "classes": {None: "classification"},
        "several": {"kind": "classification", "amount": "regression"},
    }
    for name, model in stored.items():
        path = folder / f"{name}.keras"
        model.save(path)
        import_model(path, name=name, tasks=tasks.get(name, {None: "regression"}))
    return {name: name for name in stored}


@pytest.fixture(scope="session")
def classes(serve: Callable[..., Served], models: dict[str, str]) -> Served:
    return serve(models["classes"])


@pytest.fixture(scope="session")
def several(serve: Callable[..., Served], models: dict[str, str]) -> Served:
    return serve(models["several"])


@pytest.fixture
def loading(serve: Callable[..., Served], models: dict[str, str]) -> Served:
    """A service whose model has not been loaded."""
    return serve(models["classes"], load=False)
