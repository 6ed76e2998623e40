"""One import name: what a wheel holds, what `thinned` exports, every command beside a user's own `models`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest

import thinned
from tests.serving import ROOT, code_of_commands, free_port
from thinned.loadtest.service_process import serving

LAYERS = """
import keras
from thinned import register_noise


@keras.saving.register_keras_serializable("mine")
class Noisy(keras.layers.Layer):
    def call(self, x, training=None):
        return x + 0.1 * keras.random.normal(keras.ops.shape(x)) if training else x


register_noise(Noisy, armed=lambda layer, draw, x: draw.normal(x, lambda a, z: a + 0.1 * z))
"""


def test_the_public_names_are_these() -> None:
    assert thinned.__all__ == [
        "Answer",
        "Draw",
        "LoadedModel",
        "StochasticModel",
        "ThinnedError",
        "__version__",
        "enable_mc_dropout",
        "load",
        "register_noise",
    ]
    for name in thinned.__all__:
        assert getattr(thinned, name) is not None
    assert dir(thinned) == sorted(thinned.__all__)
    with pytest.raises(AttributeError, match="register_noise"):
        _ = thinned.registr_noise  # type: ignore[attr-defined]


def test_importing_the_package_loads_no_library_that_takes_seconds() -> None:
    code = "import sys, thinned; print(sorted({'tensorflow', 'keras', 'bentoml', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    source = tmp_path_factory.mktemp("source")  # a build leaves folders beside what it builds
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    tracked = files.stdout.split() if files.returncode == 0 else []
    for name in tracked or [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if ".venv" not in p.parts]:
        path, copy = ROOT / name, source / name
        if path.is_symlink() or path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(path.readlink()) if path.is_symlink() else copy.write_bytes(path.read_bytes())
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], check=True, timeout=120)
    (made,) = folder.glob("*.whl")
    return made


def test_a_wheel_puts_one_name_into_site_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"thinned", f"thinned-{thinned.__version__}.dist-info"}
    held = {name for name in names if name.startswith("thinned/")}
    for folder in ("models", "service", "loadtest"):
        own = {f"thinned/{folder}/{p.relative_to(ROOT / 'thinned' / folder)}" for p in sources(folder)}
        assert own <= held
    assert {"thinned/py.typed", "thinned/loadtest/sweep/results.schema.json"} <= held
    page = {path.name for path in (ROOT / "service/http/ui").iterdir()}
    assert {f"thinned/service/http/ui/{name}" for name in page} <= held
    assert not [name for name in held if "results/" in name or "tests" in name]


def sources(folder: str) -> list[Path]:
    top = ROOT / "thinned" / folder
    return [p for p in top.rglob("*.py") if "__pycache__" not in p.parts] or list(top.resolve().rglob("*.py"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment that holds the wheel; its dependencies are those of the tests' own environment."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, timeout=120)
    (site,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file is added as it is: the editable install beside the dependencies is not seen.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own folder: names that are ours in the checkout are theirs here, and none may be imported."""
    import keras

    folder = tmp_path_factory.mktemp("project")
    for name in ("models", "service", "load", "tests"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('a package of the user was imported')")
    for name in ("service", "load"):
        (folder / f"{name}.py").write_text("raise RuntimeError('a module of the user was imported')")
    (folder / "models.py").write_text(LAYERS)
    x = keras.Input((3,), name="x")
    hidden = keras.layers.Dropout(0.5)(keras.layers.Dense(8, "relu")(x))
    keras.Model(x, keras.layers.Dense(1, name="y")(hidden)).save(folder / "plain.keras")
    from thinned.models.storage.custom_layers import run_module

    noisy = run_module(folder / "models.py").Noisy
    keras.Model(x, keras.layers.Dense(1, name="y")(noisy()(x))).save(folder / "noisy.keras")
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(40, 3)).astype("float32")
    np.savez(folder / "rows.npz", x=rows, y=rows.sum(axis=1))
    np.save(folder / "rows.npy", rows[:3])
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a user of the wheel: a store of their own, and no way to the checkout."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "THINNED"))}
    return {**variables, "BENTOML_HOME": str(tmp_path_factory.mktemp("home"))}


@pytest.mark.long
def test_every_command_works_beside_a_users_own_modules(environment: Path, project: Path, home: dict[str, str]) -> None:
    """The commands of a session, from a folder whose `models`, `service`, `load` and `tests` are the user's."""

    def run(*arguments: str, module: bool = False) -> str:
        start = [str(environment / "bin" / "python"), "-m", "thinned"] if module else [str(environment / "bin/thinned")]
        done = subprocess.run(
            [*start, *arguments], cwd=project, env=home, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def in_one_process(*commands: list[str]) -> list[str]:
        start = [str(environment / "bin" / "python"), "-c", code_of_commands(*commands)]
        done = subprocess.run(start, cwd=project, env=home, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout.split("--\n")

    assert run("--version") == run("--version", module=True) == f"thinned {thinned.__version__}\n"
    where = [str(environment / "bin" / "python"), "-c", "import thinned; print(thinned.__file__)"]
    found = subprocess.run(where, cwd=project, env=home, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(environment))
    run("import", "plain.keras", "--task", "regression")
    run("import", "noisy.keras", "--task", "regression", "--module", "models.py")
    answer = json.loads(run("predict", "noisy", "--input", "rows.npy", "--n-samples", "40", "--seed", "1", "--json"))
    assert np.sqrt(answer["variance"]).max() > 0.01
    # The others in one process, to which the user's modules are as near: its first path is their folder.
    listed, shown, *_ = in_one_process(
        ["models", "--json"],
        ["show", "noisy", "--json"],
        ["audit", "plain", "--data", "rows.npz"],
        ["calibrate", "plain", "--data", "rows.npz", "--n-samples", "8"],
        ["evaluate", "plain", "--data", "rows.npz", "--n-samples", "1,8", "--out", "report"],
        ["serve", "plain", "--show-settings"],
        *[[command, "--help"] for command in ("train", "load", "compare")],
        ["delete", "noisy", "--yes"],
    )
    assert {"plain", "noisy"} <= {card["name"] for card in json.loads(listed)}
    assert json.loads(shown)["sites"][0]["kind"] == "Noisy"
    assert (project / "report" / "index.html").is_file()


@pytest.mark.long
def test_the_service_of_a_wheel_serves_beside_a_users_own_modules(
    environment: Path, project: Path, home: dict[str, str]
) -> None:
    port = free_port()
    done = subprocess.run(
        [str(environment / "bin/thinned"), "import", "plain.keras", "--name", "served", "--task", "regression"],
        cwd=project,
        env=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    command = [str(environment / "bin/thinned"), "serve", "served", "--port", str(port)]
    without = {name: "" for name in os.environ if name.startswith("PYTHON")}
    with serving(command, port, {**home, **without}, cwd=project) as service:
        answer = httpx.post(service.url + "/predict_mc", json={"inputs": [[1, 2, 3]], "n_samples": 8}).json()
        assert answer["model"]["name"] == "served"
        assert len(answer["variance"]) == 1
        assert httpx.get(service.url + "/ui/main.js").status_code == 200
