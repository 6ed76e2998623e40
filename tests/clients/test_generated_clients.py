"""Clients made by openapi-python-client and openapi-typescript keep every model of the document, and work.

The generators have needs of their own that do not fit beside ours, so that `make clients` gives them an environment of
their own; without it nothing is run here.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving import Service

TOOLS = os.environ.get("OPENAPI_CLIENTS")
pytestmark = pytest.mark.skipif(TOOLS is None, reason="run by `make clients`, which installs the generators")

CALL = """
import json, sys
from made import Client, models
from made.api.default import model, predict, predict_mc
client = Client(sys.argv[1])
image = json.load(open(sys.argv[2]))
plain = predict.sync(client=client, body=models.PredictRequest(inputs=image))
asked = models.PredictMcRequest(inputs=image, n_samples=20, seed=7)
drawn = predict_mc.sync(client=client, body=asked)
refused = predict_mc.sync(client=client, body=models.PredictMcRequest(inputs=image, n_samples=1))
card = model.sync(client=client)
print(json.dumps([[type(x).__name__ for x in (plain, drawn, refused, card)], drawn.to_dict(), card.to_dict()]))
"""

USE = """
import type { components, paths } from "./schema";
type Body = paths["/predict_mc"]["post"]["requestBody"]["content"]["application/json"];
type Answer = paths["/predict_mc"]["post"]["responses"][200]["content"]["application/json"];
const body: Body = { inputs: [[[[0.5]]]], n_samples: 20 };
const means = (answer: Answer): number => answer.n_samples;
const card = (model: components["schemas"]["Model"]): string => model.name;
export { body, means, card };
"""


def run(*command: Any, cwd: Path) -> str:
    assert TOOLS is not None
    path = os.pathsep.join([f"{TOOLS}/bin", f"{TOOLS}/node_modules/.bin", os.environ["PATH"]])
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def document(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("clients") / "openapi.json"
    place.write_bytes(httpx.get(f"{service.url}/openapi.json").content)
    return place


def schemas(document: Path) -> list[str]:
    found = list(json.loads(document.read_text())["components"]["schemas"])
    assert {"Model", "PredictMcRequest", "PredictMcAnswer", "Problem"} <= set(found)
    return found


def test_the_python_client_keeps_every_model_and_calls(document: Path, service: Service) -> None:
    folder = document.parent
    said = run(
        "openapi-python-client", "generate", "--path", document, "--output-path", folder / "made", "--meta", "none",
        cwd=folder,
    )  # fmt: skip
    assert "warning" not in said.lower(), said
    exported = (folder / "made" / "models" / "__init__.py").read_text()
    # A type of union, which `Inputs` is, has no class of its own.
    missing = [name for name in schemas(document) if f'"{name}"' not in exported and name != "Inputs"]
    assert not missing
    image = Path(__file__).parents[2] / "docs" / "eight.json"
    (folder / "call.py").write_text(CALL)
    types, drawn, card = json.loads(run("python", "call.py", service.url, image, cwd=folder))
    assert types == ["PredictAnswer", "PredictMcAnswer", "Problem", "Model"]
    assert (drawn["n_samples"], drawn["seed"]) == (20, 7)
    told = httpx.get(f"{service.url}/model").json()
    assert {**card, "created": None} == {**told, "created": None}  # a time, which the client writes otherwise


def test_the_typescript_client_keeps_every_model_and_compiles(document: Path) -> None:
    folder = document.parent
    # Without the option every field that has a default would have to be sent.
    run("openapi-typescript", document, "-o", "schema.d.ts", "--default-non-nullable", "false", cwd=folder)
    kept = "".join(f'export type T{i} = components["schemas"]["{name}"];\n' for i, name in enumerate(schemas(document)))
    (folder / "use.ts").write_text(USE + kept)
    run("tsc", "--strict", "--noEmit", "--skipLibCheck", "false", "use.ts", cwd=folder)
