"""Every block of `docs/` is run by some test, or stands here with the reason why it is not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import bentoml
import httpx
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from tests.service.cards import IMAGE, card
from tests.serving import ROOT, Service, run_cli, start_service
from tests.test_documents import DECIDES
from tests.test_readme import Block, bash, blocks, path_with_thinned
from thinned.models.card import Calibration, OutputSpec
from thinned.models.storage.importing import import_model
from thinned.service.schema.comparison_fields import comparison_answer
from thinned.service.schema.openapi import describe_api
from thinned.service.settings import Settings

PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
ELSEWHERE = {
    "tutorial": "tests/test_pages.py",
    "howto": "tests/test_pages.py",
    "dropout": "tests/test_pages.py",
    "traps": "tests/test_pages.py",
    "python": "tests/service/notebook/test_document.py",
    "custom-layers": "tests/test_documents.py",
    "replicas": "tests/faults/replicas.py",
    "scaling": "tests/load/scaling/test_scaling.py",
}
"""Pages whose blocks another test runs, all of them."""
TRITON = "needs Triton's client: tests/clients/test_protocol_clients.py runs it, by `make conformance`"
EXCEPTED = {
    ("gpu", "python -m pytest tests/models/dropout tests/models/compat"): "needs a GPU",
    ("load", "thinned load mine --slo-ms p99=50 --tolerance 0.1"): "takes many minutes; tests/load/sweep/test_sweep.py "
    "runs the command for seconds",
    ("load", "locust -f load/locustfile.py,load/locustfile_open.py --class-picker --host http://127.0.0.1:3000"): "is "
    "a page of Locust's that waits for a person; tests/load/sweep/test_sweep.py runs the same users",
    (
        "load",
        "locust -f load/locustfile_open.py --host http://127.0.0.1:3000 --rate 25 -u 4 --master --expect-workers 2 "
        "Mc30Arrivals",
    ): "needs several machines, and waits for a person; tests/load/sweep/test_sweep.py runs such a leader and workers",
    ("protocol", "import numpy as np"): TRITON,
    ("protocol", "import tritonclient.grpc as triton"): TRITON,
}
EXCEPTED |= {
    (
        "score",
        'pip install "thinned[ray]"',
    ): "needs a Ray cluster: tests/service/cli/scoring/test_ray.py starts one, by `make score-ray`",
    (
        "score",
        "python -m thinned.loadtest.benchmarks.scoring --models diabetes --row-passes 12000000",
    ): "is a benchmark of minutes, which needs Ray",
}
EXCEPTED |= {
    (
        "kubernetes",
        "thinned build mine",
    ): "needs a builder of images; tests/service/http/test_bento.py builds what it is given, and serves that",
    (
        "kubernetes",
        "cp -r deploy/kubernetes mine",
    ): "needs a cluster; tests/test_deployment.py has kubectl build the same without one",
    (
        "kubernetes",
        "curl -s http://mine-predictor.default/v2/models/mine/infer --json @request.json",
    ): "needs KServe in a cluster; the same path is tried in tests/service/http/test_inference_protocol.py",
}
LANGUAGES = {"python", "bash", "json", "text"}
"""`text` is what a block or a command prints, or a measurement's result."""


def key(page: str, block: Block) -> tuple[str, str]:
    return page, block.text.splitlines()[0]


def of(page: str, language: str, but: str = "\0") -> list[Any]:
    """The blocks that are run here, as parameters of a test; without those that hold a text."""
    found = [block for block in blocks(PAGES[page]) if block.language == language and but not in block.text]
    return [pytest.param(block, id=f"{page}-{i}") for i, block in enumerate(found) if key(page, block) not in EXCEPTED]


RUN_HERE = {("api", "bash"), ("api", "python"), ("api", "json"), ("protocol", "bash"), ("several_models", "json")}
RUN_HERE |= {("ensembles", "bash"), ("load", "bash"), ("export", "bash"), ("export", "python"), ("score", "bash")}


@pytest.mark.parametrize("page", PAGES)
def test_a_block_is_run_or_excepted_by_name(page: str) -> None:
    found = blocks(PAGES[page])
    assert len(re.findall(r"^ *```", PAGES[page], re.MULTILINE)) == 2 * len(found), "a block without a language"
    for block in found:
        assert block.language in LANGUAGES, f"{block.language}: write python, bash, json or text"
        if block.language == "text" or (page in ELSEWHERE and block.language in ("python", "bash")):
            continue
        assert (page, block.language) in RUN_HERE or key(page, block) in EXCEPTED, f"no test runs\n{block.text}"


def test_what_is_excepted_is_there() -> None:
    assert set(EXCEPTED) <= {key(page, block) for page, text in PAGES.items() for block in blocks(text)}
    assert all((ROOT / file).exists() for file in ELSEWHERE.values())


# Calls of a service

MAP = "@street.png"


@pytest.fixture(scope="module")
def desk(digits: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages speak of."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "eight.json", folder / "docs")
    np.save(folder / "rows.npy", np.array(json.loads((folder / "docs" / "eight.json").read_text()), "float32"))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)).save(folder / "street.png")
    return folder


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose answer to an image is a map of classes."""
    import keras
    from keras import layers

    inputs = keras.Input((12, 16, 3), name="street")
    mask = layers.Conv2D(3, 1, activation="softmax")(layers.Dropout(0.5)(layers.Rescaling(1 / 255)(inputs)))
    path = tmp_path_factory.mktemp("street") / "street.keras"
    keras.Model(inputs, mask).save(path)
    import_model(path, name="blocks-street", tasks={None: "classification"})
    return "blocks-street"


def called(text: str, port: int) -> str:
    """A call of curl to a service on another port, whose refusal is an error."""
    assert "http://127.0.0.1:3000/" in text
    return text.replace(":3000/", f":{port}/").replace("curl -s", "curl --fail-with-body -s")


@pytest.mark.parametrize("block", [*of("api", "bash", MAP), *of("protocol", "bash")])
def test_a_call_is_answered(block: Block, service: Service, desk: Path) -> None:
    printed = bash(called(block.text, service.port), desk)
    assert "variance" in printed
    assert ("event: answer" in printed) is ("/stream" in block.text)


@pytest.mark.long
def test_a_map_is_answered_as_a_picture(desk: Path, street: str) -> None:
    (block,) = (block for block in blocks(PAGES["api"]) if MAP in block.text)
    with start_service(street) as maps:
        bash(called(block.text, maps.port), desk)
    with Image.open(desk / "unsure.png") as drawn:
        assert drawn.size == (16, 12)


@pytest.mark.parametrize("block", of("api", "python"))
def test_python_of_the_api_runs(block: Block, service: Service, desk: Path) -> None:
    names: dict[str, Any] = {"bentoml": bentoml, "rows": np.load(desk / "rows.npy").tolist()}
    assert block.text.startswith("with bentoml.SyncHTTPClient")
    text = block.text.replace(":3000", f":{service.port}").replace("client.p", "said = client.p")
    exec(compile(text, "api.md", "exec"), names)
    names["client"]._temp_dir.cleanup()  # BentoML leaves it to the garbage collector, which warns.
    assert np.shape(names["said"]) == (1, 10)


# Answers that are shown

FITTED = Calibration(rows=240, n_samples=32, scores=((0.5,),), policy=DECIDES)
DIGIT = OutputSpec(
    name="digit", shape=(10,), dtype="float32", task="classification", scale="probabilities", calibration=FITTED
)


@pytest.mark.parametrize("block", of("api", "json"))
def test_json_of_the_api_is_part_of_an_answer(block: Block) -> None:
    described = describe_api(card((IMAGE,), (DIGIT,)), "1", Settings())["components"]
    whole = {**described["schemas"]["PredictMcAnswer"], "required": [], "additionalProperties": False}
    Draft202012Validator({**whole, "components": described}).validate(json.loads(block.text))


@pytest.mark.parametrize("block", of("several_models", "json"))
def test_json_of_a_comparison_is_one(block: Block) -> None:
    Draft202012Validator(comparison_answer()).validate(json.loads(block.text))


# Commands


@pytest.mark.parametrize("block", of("load", "bash"))
def test_results_are_compared(block: Block, tmp_path: Path) -> None:
    results = pytest.importorskip("tests.load.sample_results").results
    from thinned.loadtest.sweep.results_document import write_results

    for folder in ("before", "after"):
        (tmp_path / folder).mkdir()
        write_results(results(), tmp_path / folder)
    assert "0 better, 0 worse" in bash(block.text, tmp_path, path_with_thinned(tmp_path))


@pytest.mark.long
@pytest.mark.parametrize("block", of("ensembles", "bash"))
def test_an_ensemble_is_made_and_served(block: Block, tmp_path: Path) -> None:
    import keras
    from keras import layers

    for i in (1, 2, 3):
        inputs = keras.Input((4,), name="house")
        answer = layers.Dense(1, name="price")(layers.Dropout(0.2)(layers.Dense(8, "relu")(inputs)))
        keras.Model(inputs, answer).save(tmp_path / f"house-{i}.keras")
        run_cli("import", str(tmp_path / f"house-{i}.keras"), "--task", "regression")
    *commands, last = block.text.splitlines()
    assert last == "thinned serve house"
    assert "ensemble of 3" in bash("\n".join(commands), tmp_path, path_with_thinned(tmp_path))
    with start_service("house") as service:
        body = {"inputs": [[1, 2, 3, 4]], "n_samples": 8}
        answer = httpx.post(f"{service.url}/predict_mc", json=body).json()
        assert np.shape(answer["variance_between"]) == (1, 1)


@pytest.mark.long
def test_an_exported_file_answers(digits: str, tmp_path: Path) -> None:
    (exported,), (loaded,) = of("export", "bash"), of("export", "python")
    assert "served/digits/1" in bash(exported.values[0].text, tmp_path, path_with_thinned(tmp_path))
    command = [sys.executable, "-c", loaded.values[0].text]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.count("tf.Tensor") == 3


@pytest.mark.long
def test_a_data_set_is_scored(tmp_path: Path) -> None:
    import keras
    import pandas
    from keras import layers

    inputs = keras.Input((2,), name="house")
    keras.Model(inputs, layers.Dense(1)(layers.Dropout(0.5)(layers.Dense(8)(inputs)))).save(tmp_path / "house.keras")
    run_cli("import", str(tmp_path / "house.keras"), "--task", "regression", "--feature-names", "area,rooms")
    pandas.DataFrame({"area": [50.0, 90.0], "rooms": [2.0, 4.0]}).to_parquet(tmp_path / "houses.parquet")
    (block,) = of("score", "bash")
    bash(block.values[0].text, tmp_path, path_with_thinned(tmp_path))
    assert {"row", "mean", "variance"} <= set(pandas.read_parquet(tmp_path / "scored").columns)
