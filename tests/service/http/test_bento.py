"""The built bento holds all that it needs, and serves the model that it was built with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import bentoml
import httpx
import pytest
import yaml
from bentoml._internal.container import construct_containerfile

from tests.serving import ROOT, free_port, run_cli
from thinned.loadtest.service_process import serving
from thinned.models.storage import model_store
from thinned.models.storage.importing import import_model
from thinned.service.settings import Settings, models_of_bento


def test_the_bento_of_the_example_holds_what_serving_needs(digits: str) -> None:
    build = [sys.executable, "-m", "bentoml", "build", str(ROOT), "--version", "tested", "--output", "tag"]
    done = subprocess.run(build, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "thinned:tested" in done.stdout

    bento = bentoml.get("thinned:tested")
    assert [model.tag.name for model in bento.info.models] == ["digits"]
    requirements = Path(bento.path, "env", "python", "requirements.txt").read_text()
    assert "keras==3" in requirements
    assert "--hash=sha256:" in requirements
    for tool in ("pytest", "hypothesis", "locust", "matplotlib", "scikit-learn", "mypy"):
        assert f"\n{tool}==" not in requirements
    assert models_of_bento(Path(bento.path, "src")) == model_store.find(digits).tag

    image = Path(bento.path, "env", "docker", "Dockerfile").read_text()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"FROM python:{python}-slim" in image
    assert f"uv venv --python {python} " in image
    assert "apt-get" not in image


@pytest.mark.long
def test_a_bento_serves_the_models_that_it_was_built_with(digits: str, tmp_path: Path) -> None:
    """Whatever else is in the store: the example, and a newer version of the same name."""
    import keras

    x = keras.Input((2,), name="x")
    keras.Model(x, keras.layers.Dense(3, name="y")(keras.layers.Dropout(0.5)(x))).save(tmp_path / "packed.keras")
    packed = import_model(tmp_path / "packed.keras", name="packed", tasks={None: "regression"})
    built = run_cli("build", "packed", "packed@shadow", digits).stdout
    served = f"{packed.tag} {packed.tag}@shadow {model_store.find(digits).tag}"
    assert f"which serves {served}. Next: bentoml serve thinned-packed:" in built
    newer = model_store.store(packed.path / "model.keras", packed.card)
    assert model_store.find("packed") == newer

    # From a folder that is not the repository: what is served is the bento's own copy of the code.
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", "thinned-packed:latest", "--host", "127.0.0.1"]
    with serving([*command, "--port", str(port)], port, {}, cwd=tmp_path) as service:
        answer = httpx.post(service.url + "/predict_mc", json={"inputs": [[1, 2]], "n_samples": 5}).json()
        assert answer["model"] == {"name": "packed", "version": packed.version}
        assert (len(answer["mean"][0]), answer["estimator"]) == (3, "exact")
        assert httpx.get(service.url + "/model").json()["sha256"] == packed.card.sha256
        models = httpx.get(service.url + "/models").json()["models"]
        assert [(one["name"], one["shadow"]) for one in models] == [("packed", packed.tag), (digits, None)]
        assert {httpx.get(service.url + path).status_code for path in ("/ui", "/ui/main.js", "/ui/style.css")} == {200}


@pytest.mark.long
def test_an_image_serves_the_model_that_it_holds(digits: str, tmp_path: Path) -> None:
    """The folder that `bentoml containerize` makes an image of, by its entry point, with no store but its own."""
    tag = run_cli("build", digits).stdout.split()[1].rstrip(",")
    with construct_containerfile(bentoml.get(tag)) as (folder, _):
        bento = shutil.copytree(folder, tmp_path / "bento")
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "bentoml").write_text(f'#!/bin/sh\nexec {sys.executable} -m bentoml "$@"\n')
    (bin / "bentoml").chmod(0o755)
    port = free_port()
    image = {
        "BENTO_PATH": str(bento),
        "BENTOML_HOME": str(tmp_path / "home"),
        "BENTOML_CONTAINERIZED": "true",
        "BENTOML_PORT": str(port),
        "PATH": f"{bin}:{os.environ['PATH']}",
    }
    with serving(["bash", str(bento / "env/docker/entrypoint.sh")], port, image, cwd=bento) as service:
        tag = httpx.post(service.url + "/predict", json={"inputs": [[[[0.0]] * 8] * 8]}).json()["model"]
        assert f"{tag['name']}:{tag['version']}" == model_store.find(digits).tag
    assert list((tmp_path / "home/models").iterdir()) == []


def test_what_a_bento_says_of_its_models(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    assert models_of_bento(source) is None
    theirs = {"tag": "theirs:1", "module": "bentoml.sklearn"}
    ours = {"tag": "ours:1", "module": "thinned.models.storage.model_store"}
    for number, (described, expected) in enumerate(
        [
            ({"models": [theirs, ours]}, "ours:1"),
            ({"models": [theirs]}, None),
            ({}, None),
            ([], None),
            ("a: [", None),
            (
                {"models": [theirs, ours], "envs": [{"name": "THINNED_MODEL", "value": "b:2 ours:1@shadow"}]},
                "b:2 ours:1@shadow",
            ),
            ({"models": [ours], "envs": [{"name": "OTHER", "value": "x"}, "?"]}, "ours:1"),
        ]
    ):
        source = tmp_path / str(number) / "src"
        source.mkdir(parents=True)
        text = described if isinstance(described, str) else yaml.safe_dump(described)
        (source.parent / "bento.yaml").write_text(text)
        assert models_of_bento(source) == expected
    assert Settings().model == "digits"
